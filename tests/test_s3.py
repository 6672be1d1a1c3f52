"""
Storage over the real S3 protocol: moto's server on a free port, reached through an Airflow connection.

The amazon provider's filesystem reads of the connection: login and password (the key pair), ``endpoint_url`` (for
S3 alone: ``service_config.s3.endpoint_url``), ``region_name``, ``config_kwargs`` and ``service_config.s3``. Where
no connection is named, it takes the machine's own credentials and not ``aws_default``.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.airflow_versions import forget_stores
from tests.buckets import BUCKET, CONN, Bucket
from tests.task_runner import AnyRun, run_tasks

if TYPE_CHECKING:
    from airflow_provider_segmind.emulator import Emulator


@pytest.fixture
def upscale(airflow_db: Path, segmind_emulator: Emulator, quick_polls: None, photos: Path) -> Callable[..., AnyRun]:
    """Runs one ESRGAN task with these arguments, and a transfer of its result where one is asked for."""

    def run(transfer: dict[str, Any] | None = None, **arguments: Any) -> AnyRun:
        from airflow.providers.common.compat.sdk import DAG

        from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator
        from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator

        arguments = {"image": segmind_emulator.add_image(photos / "cat.jpg"), "output_format": "png"} | arguments
        with DAG("s3", schedule=None) as dag:
            task = SegmindEsrganOperator(task_id="upscale", **arguments)
            if transfer is not None:
                SegmindToObjectStorageOperator(task_id="store", result=task.output, **transfer)
        return run_tasks(dag)

    return run


def check(bucket: Bucket, stored: dict[str, Any], key: str, conn: str = f"{CONN}@") -> None:
    """The object is whole, matches the XCom, and is the only one."""
    content = bucket.read(key)
    assert set(bucket.objects()) == {key}
    with Image.open(io.BytesIO(content)) as photo:
        photo.load()
        assert photo.size == (600, 400)
    assert stored == {
        "uri": f"s3://{conn}{BUCKET}/{key}",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "content_type": "image/png",
        "width": 600,
        "height": 400,
    }


@pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])
def test_destination(upscale: Callable[..., AnyRun], bucket: Bucket, deferrable: bool) -> None:
    run = upscale(destination=f"s3://{CONN}@{BUCKET}/some/folder/", deferrable=deferrable)
    assert run.state == "success"
    check(bucket, run.xcom("upscale")["stored"][0], "some/folder/upscale.png")


def test_connection_as_an_argument(upscale: Callable[..., AnyRun], bucket: Bucket) -> None:
    run = upscale(destination=f"s3://{BUCKET}/a.png", destination_conn_id="other_s3")
    assert run.state == "success"
    check(bucket, run.xcom("upscale")["stored"][0], "a.png", conn="other_s3@")


def test_credentials_of_the_machine(
    upscale: Callable[..., AnyRun], bucket: Bucket, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with an instance's role: no connection at all."""
    forget_stores(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    run = upscale(destination=f"s3://{BUCKET}/role/")
    assert run.state == "success"
    check(bucket, run.xcom("upscale")["stored"][0], "role/upscale.png", conn="")


def test_input_from_a_bucket(
    upscale: Callable[..., AnyRun], bucket: Bucket, photos: Path, segmind_emulator: Emulator
) -> None:
    bucket.client.put_object(Bucket=BUCKET, Key="in/cat.jpg", Body=(photos / "cat.jpg").read_bytes())
    run = upscale(
        image=None,
        input_path=f"s3://{BUCKET}/in/cat.jpg",
        input_conn_id="other_s3",
        destination=f"s3://{CONN}@{BUCKET}/out/",
    )
    assert run.state == "success"
    assert set(bucket.objects()) == {"in/cat.jpg", "out/upscale.png"}
    assert segmind_emulator.stats.uploads == 1


def test_transfer_writes_once(upscale: Callable[..., AnyRun], bucket: Bucket, segmind_emulator: Emulator) -> None:
    run = upscale(transfer={"destination": f"s3://{CONN}@{BUCKET}/deep/er/cat.png"})
    assert run.state == "success"
    result = run.xcom("store")
    check(bucket, result["stored"][0], "deep/er/cat.png")

    before = bucket.objects(), bucket.writes()
    again = run.again("store")
    assert again.state == "success"
    assert again.xcom("store") == result
    assert (bucket.objects(), bucket.writes()) == before  # the same bytes are left alone

    bucket.client.put_object(Bucket=BUCKET, Key="deep/er/cat.png", Body=b"something else")
    assert run.again("store").state == "success"
    check(bucket, result["stored"][0], "deep/er/cat.png")  # other bytes are replaced
    assert segmind_emulator.stats.billed == 1


def test_missing_bucket(upscale: Callable[..., AnyRun], bucket: Bucket, segmind_emulator: Emulator) -> None:
    destination = f"s3://{CONN}@no-such-bucket/folder/cat.png"
    run = upscale(transfer={"destination": destination})
    assert run.states() == {"store": ["failed"], "upscale": ["success"]}
    assert "SegmindStorageError" in run.log
    assert destination in run.log
    assert "NoSuchBucket" in run.log or "bucket does not exist" in run.log
    assert segmind_emulator.stats.billed == 1

    # The bucket is made, the task cleared: stored, and not paid again.
    bucket.client.create_bucket(Bucket="no-such-bucket")
    assert run.again("store").state == "success"
    assert segmind_emulator.stats.submits_attempted == 1


def test_the_error_of_a_missing_bucket(bucket: Bucket, photos: Path) -> None:
    """The error itself, which the task's log only quotes."""
    from airflow_provider_segmind.exceptions import SegmindStorageError
    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.protocol.wire import Result
    from airflow_provider_segmind.storage import store_result

    inline = base64.b64encode((photos / "cat.jpg").read_bytes()).decode()
    result = Result(request_id="00000000-0000-0000-0000-000000000001", model="esrgan", inline=inline)
    with pytest.raises(SegmindStorageError, match=r"no-such-bucket/cat\.jpg") as caught:
        store_result(SegmindHook(None), result, "s3://no-such-bucket/cat.jpg", conn_id=CONN, name="cat")
    assert caught.value.request_id == result.request_id
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        ("nowhere://bucket/folder/", "nowhere"),
        ("{{ '/data/out.png' }}", "is not a URI"),  # as a literal it is refused when the DAG is parsed
        ("gs://bucket/folder/", "airflow-provider-segmind[gcs]"),
    ],
    ids=["unknown scheme", "no scheme", "provider not installed"],
)
def test_wrong_scheme_costs_nothing(
    upscale: Callable[..., AnyRun], segmind_emulator: Emulator, destination: str, message: str
) -> None:
    run = upscale(destination=destination)
    assert run.state == "failed"
    assert "SegmindConfigError" in run.log
    assert message in run.log
    assert segmind_emulator.stats.submits_attempted == 0
