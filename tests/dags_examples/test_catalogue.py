"""The catalogue example over real stores and databases, each behind its Airflow connection."""

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


class Files:
    """Pictures in local folders."""

    def __init__(self, folder: Path, images: Path) -> None:
        self.out = folder / "out"
        self.parameters = {"source": images.as_uri(), "destination": self.out.as_uri()}

    def read(self, uri: str) -> bytes:
        return path_of(uri).read_bytes()

    def state(self) -> Any:
        """What differs once anything is written."""
        return {path: path.stat().st_mtime_ns for path in self.out.rglob("*")}


class Objects:
    """The same in a bucket."""

    def __init__(self, bucket: Bucket, images: Path) -> None:
        self.bucket = bucket
        for path in images.iterdir():
            bucket.client.put_object(Bucket=BUCKET, Key=f"in/{path.name}", Body=path.read_bytes())
        self.parameters = {"source": f"s3://{CONN}@{BUCKET}/in/", "destination": f"s3://{CONN}@{BUCKET}/out"}

    def read(self, uri: str) -> bytes:
        return self.bucket.read(uri.removeprefix(f"s3://{CONN}@{BUCKET}/"))

    def state(self) -> Any:
        """What differs once anything is written, or written anew."""
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
def files(tmp_path: Path, images: Path) -> Files:
    return Files(tmp_path, images)


@pytest.fixture
def objects(bucket: Bucket, images: Path) -> Objects:
    return Objects(bucket, images)


@pytest.mark.parametrize(
    ("store", "database"),
    [("files", "sqlite"), pytest.param("objects", "postgresql", marks=pytest.mark.e2e)],  # a server beside the tests
)
def test_catalogue(
    run_example: Callable[..., Run],
    segmind_emulator: Emulator,
    request: pytest.FixtureRequest,
    store: str,
    database: str,
) -> None:
    place: Files | Objects = request.getfixturevalue(store)
    rows: Rows = request.getfixturevalue(database)

    run = run_example("upscale_catalogue", **place.parameters, scale=2)
    assert run.states() == {
        "create_table": ["success"],
        "list_images": ["success"],
        "picture.record": ["success"] * 2,
        "picture.store": ["success"] * 2,
        "picture.upscale": ["success"] * 2,
    }
    first = rows()
    assert len(first) == 2
    for index, (row, (width, height)) in enumerate(zip(first, [(300, 200), (256, 256)], strict=True)):
        result = run.xcom("picture.store", index)
        check_result(result, segmind_emulator, model="esrgan", stored=True)
        [stored] = result["stored"]
        check_content(place.read(stored["uri"]), stored, size=(2 * width, 2 * height), kind="image/png")
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
        assert run.xcom("picture.record", index) == row["request_id"]

    stored_before = place.state()
    again = run.again("create_table", "picture.store", "picture.record")
    assert again.state == "success"
    assert again.task("picture.record", 1).try_number == 2
    second = rows()
    for row in second:
        row.pop("recorded_at")
    assert second == first
    assert place.state() == stored_before
    stats = segmind_emulator.stats
    assert stats.submits_attempted == stats.billed == 2

    # A new run is a new purchase, and new rows.
    run_example("upscale_catalogue", **place.parameters, scale=2)
    assert len(rows()) == 4
