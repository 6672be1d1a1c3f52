"""The catalogue example with real storage and real databases, each used through its Airflow connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.airflow_versions import needs_airflow_sdk
from tests.buckets import BUCKET, CONN
from tests.dags_examples.checks import check_content, check_result, path_of
from tests.databases import postgres, postgres_binaries

if TYPE_CHECKING:
    from airflow_provider_segmind.emulator import Emulator
    from tests.airflow_env import Run
    from tests.buckets import Bucket

pytestmark = needs_airflow_sdk

QUERY = "SELECT * FROM segmind_catalogue ORDER BY source"
Rows = Callable[[], list[dict[str, Any]]]


class LocalStorage:
    """Images in local folders."""

    def __init__(self, folder: Path, image_folder: Path) -> None:
        self.out = folder / "out"
        self.parameters = {"source": image_folder.as_uri(), "destination": self.out.as_uri()}

    def read(self, uri: str) -> bytes:
        return path_of(uri).read_bytes()

    def state(self) -> Any:
        """Return a value that changes with every write."""
        return {path: path.stat().st_mtime_ns for path in self.out.rglob("*")}


class BucketStorage:
    """Images in an S3 bucket."""

    def __init__(self, bucket: Bucket, image_folder: Path) -> None:
        self.bucket = bucket
        for path in image_folder.iterdir():
            bucket.client.put_object(Bucket=BUCKET, Key=f"in/{path.name}", Body=path.read_bytes())
        self.parameters = {"source": f"s3://{CONN}@{BUCKET}/in/", "destination": f"s3://{CONN}@{BUCKET}/out"}

    def read(self, uri: str) -> bytes:
        return self.bucket.read(uri.removeprefix(f"s3://{CONN}@{BUCKET}/"))

    def state(self) -> Any:
        """Return a value that changes with every write, of the same content too."""
        return self.bucket.objects(), self.bucket.writes()


@pytest.fixture
def sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    database = tmp_path / "catalogue.db"
    monkeypatch.setenv("AIRFLOW_CONN_SEGMIND_CATALOGUE", f"sqlite://{database}")

    def rows() -> list[dict[str, Any]]:
        connection = sqlite3.connect(database)
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(QUERY)]
        finally:
            connection.close()

    return rows


@pytest.fixture
def postgresql(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rows]:
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian and Ubuntu: apt-get install postgresql)")
    with postgres(binaries) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SEGMIND_CATALOGUE", server.connection)
        yield lambda: server.rows(QUERY)


@pytest.fixture
def local_storage(tmp_path: Path, image_folder: Path) -> LocalStorage:
    return LocalStorage(tmp_path, image_folder)


@pytest.fixture
def bucket_storage(bucket: Bucket, image_folder: Path) -> BucketStorage:
    return BucketStorage(bucket, image_folder)


@pytest.mark.parametrize(
    ("storage_fixture", "database_fixture"),
    [
        ("local_storage", "sqlite"),
        pytest.param("bucket_storage", "postgresql", marks=pytest.mark.e2e),  # it starts a database server
    ],
)
def test_each_stored_image_has_one_row_in_the_catalogue(
    run_example: Callable[..., Run],
    segmind_emulator: Emulator,
    request: pytest.FixtureRequest,
    storage_fixture: str,
    database_fixture: str,
) -> None:
    storage: LocalStorage | BucketStorage = request.getfixturevalue(storage_fixture)
    rows: Rows = request.getfixturevalue(database_fixture)

    run = run_example("upscale_catalogue", **storage.parameters, scale=2)
    assert run.states() == {
        "create_table": ["success"],
        "list_images": ["success"],
        "image.record": ["success"] * 2,
        "image.store": ["success"] * 2,
        "image.upscale": ["success"] * 2,
    }
    first = rows()
    assert len(first) == 2
    for index, (row, (width, height)) in enumerate(zip(first, [(300, 200), (256, 256)], strict=True)):
        result = run.xcom("image.store", index)
        check_result(result, segmind_emulator, model="esrgan", stored=True)
        [stored] = result["stored"]
        check_content(storage.read(stored["uri"]), stored, size=(2 * width, 2 * height), kind="image/png")
        metrics = result["metrics"]
        assert str(row.pop("recorded_at")).startswith("20")
        assert row == {
            "request_id": result["request_id"],
            "model": "esrgan",
            "source": run.xcom("list_images")[index],
            "source_width": width,
            "source_height": height,
            "uri": stored["uri"],
            "width": 2 * width,
            "height": 2 * height,
            "bytes": stored["bytes"],
            "sha256": stored["sha256"],
            "cost_credits": metrics["cost"],
            "inference_seconds": metrics["inference_time"],
            "queue_seconds": metrics["queue_time"],
            "total_seconds": metrics["total_time"],
        }
        assert run.xcom("image.record", index) == row["request_id"]

    stored_before = storage.state()
    again = run.again("create_table", "image.store", "image.record")
    assert again.state == "success"
    assert again.task("image.record", 1).try_number == 2
    second = rows()
    for row in second:
        row.pop("recorded_at")
    assert second == first
    assert storage.state() == stored_before
    stats = segmind_emulator.stats
    assert stats.submits_attempted == stats.billed == 2

    # A new run submits again, and adds its own rows.
    run_example("upscale_catalogue", **storage.parameters, scale=2)
    assert len(rows()) == 4
