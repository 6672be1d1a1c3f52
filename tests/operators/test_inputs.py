"""Images from storage: three ways to send them to Segmind, and checks before the submit."""

from __future__ import annotations

import io
import re
from datetime import timedelta
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from airflow.providers.common.compat.sdk import DAG
from PIL import Image

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.operators.segmind import (
    SegmindBriaIncreaseResolutionOperator,
    SegmindEsrganOperator,
    SegmindNomosUpscalerOperator,
)
from airflow_provider_segmind.protocol.responses import clean
from airflow_provider_segmind.storage.inputs import InputImage
from tests.airflow_versions import forget_stores
from tests.buckets import BUCKET, CONN
from tests.task_runner import run_tasks

ESRGAN, NOMOS, BRIA = SegmindEsrganOperator, SegmindNomosUpscalerOperator, SegmindBriaIncreaseResolutionOperator


@pytest.fixture(params=[True, False], ids=["deferrable", "plain"])
def deferrable(request):
    return request.param


@pytest.fixture
def upscale(airflow_db, segmind_emulator, quick_polls):
    def run(operator=ESRGAN, **arguments):
        with DAG("inputs", schedule=None) as dag:
            operator(task_id="t", retries=2, retry_delay=timedelta(0), poll_interval=0.25, **arguments)
        return run_tasks(dag)

    return run


def noise(pixels: int) -> bytes:
    """Return a PNG that does not compress: three bytes per pixel."""
    file = io.BytesIO()
    Image.effect_noise((pixels, pixels), 80).convert("RGB").save(file, "BMP")
    file.seek(0)
    out = io.BytesIO()
    Image.open(file).save(out, "PNG", compress_level=0)
    return out.getvalue()


@pytest.mark.parametrize(
    ("operator", "transport", "expected"),
    [
        (ESRGAN, "auto", "upload"),
        (BRIA, "auto", "upload"),
        (NOMOS, "auto", "data"),
        (NOMOS, "upload", "upload"),
        (NOMOS, "data", "data"),
        (ESRGAN, "presign", "presign"),
        (BRIA, "presign", "presign"),
    ],
)
def test_each_model_gets_its_input_by_the_expected_transport(
    upscale, bucket, photos, segmind_emulator, airflow_db, deferrable, operator, transport, expected
):
    bucket.client.put_object(Bucket=BUCKET, Key="in/a cat.jpg", Body=(photos / "cat.jpg").read_bytes())
    uri = f"s3://{CONN}@{BUCKET}/in/a cat.jpg"
    run = upscale(operator, input_path=uri, input_transport=transport, deferrable=deferrable)
    assert run.state == "success", run.log
    [request] = segmind_emulator.requests
    image = request.parameters["image"]
    assert f"by {expected}" in run.log
    assert segmind_emulator.stats.uploads == (expected == "upload")
    assert image.startswith("data:image/jpeg;base64,") == (expected == "data")
    if expected != "presign":
        return
    query = parse_qs(urlsplit(image).query)
    lifetime = int((query.get("X-Amz-Expires") or [0])[0]) or int(query["Expires"][0]) - request.submitted_at
    assert lifetime > 3600
    # Everybody who has the signed URL can read the image: no log and no database row may contain the signature.
    [raw] = re.findall(r"Signature=([^&]+)", image)
    for signature in (raw, unquote(raw)):
        assert signature not in run.log
        for file in airflow_db.glob("airflow.db*"):
            assert signature.encode() not in file.read_bytes()


def test_auto_sends_only_small_images_as_data(upscale, tmp_path, segmind_emulator):
    (tmp_path / "large.png").write_bytes(noise(600))
    assert upscale(NOMOS, input_path=f"file://{tmp_path}/large.png").state == "success"
    assert segmind_emulator.stats.uploads == 1


def test_a_lost_response_is_found_by_the_url_without_its_signature(upscale, bucket, photos, segmind_emulator):
    bucket.client.put_object(Bucket=BUCKET, Key="cat.jpg", Body=(photos / "cat.jpg").read_bytes())
    segmind_emulator.faults.add("submit", "drop_after", times=1)
    run = upscale(input_path=f"s3://{CONN}@{BUCKET}/cat.jpg", input_transport="presign")
    assert run.state == "success"
    assert "of an earlier submit: nothing is billed again" in run.log
    assert segmind_emulator.stats.billed == 1


def test_an_unknown_outcome_is_reported_without_the_signature(upscale, bucket, photos, segmind_emulator):
    bucket.client.put_object(Bucket=BUCKET, Key="cat.jpg", Body=(photos / "cat.jpg").read_bytes())
    segmind_emulator.faults.add("submit", "drop_after")
    segmind_emulator.faults.add("history", "status:500")
    run = upscale(input_path=f"s3://{CONN}@{BUCKET}/cat.jpg", input_transport="presign", lost_submit_wait=0.0)
    assert run.state == "failed"
    assert f"/{BUCKET}/cat.jpg" in run.log
    assert "ignature=" not in run.log


@pytest.mark.parametrize(
    "text",
    [
        "could not read https://b.s3.amazonaws.com/k?X-Amz-Credential=A&X-Amz-Signature=5ec4e7&x=1",
        "HTTP 403 for https://b/k?AWSAccessKeyId=A&amp;Signature=5ec4e7%3D",
        "https%3A%2F%2Fb%2Fk%3FX-Goog-Signature%3D5ec4e7",
        "https://x.blob.core.windows.net/c/k?sv=1&sig=5ec4e7",
    ],
)
def test_signatures_in_segminds_messages_are_redacted(text):
    assert "5ec4e7" not in clean(text)
    assert "***" in clean(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_path": "file://{photos}/cat.jpg", "input_transport": "presign"}, "cannot be presigned"),
        ({"input_path": "file://{photos}/cat.jpg", "max_input_bytes": 1000}, "max_input_bytes is 1000"),
        ({"input_path": "file://{tmp}/empty.png"}, "is empty"),
        ({"input_path": "file://{tmp}/text.png"}, "its format is unknown"),
        ({"input_path": "file://{tmp}/half.png"}, "not a whole image"),
        ({"input_path": "file://{tmp}/missing.png"}, "it does not exist"),
        ({"input_path": "file://{tmp}"}, "is a folder; list_images()"),
        ({"input_path": f"s3://{BUCKET}/missing.png", "input_conn_id": CONN}, "it does not exist"),
        ({"input_path": "s3://no-such-bucket/cat.png", "input_conn_id": CONN}, "it does not exist"),
        ({"input_path": f"s3://{BUCKET}/cat.png", "input_conn_id": "not_there"}, "not_there"),
        ({"input_path": f"s3://not_there@{BUCKET}/cat.png"}, "not_there"),
        ({"input_path": "gs://bucket/cat.png"}, 'pip install "airflow-provider-segmind[gcs]"'),
        ({"input_path": "{{{{ 'nowhere://x/y.png' }}}}"}, "nowhere:// cannot be used here"),
        ({"input_path": "{{{{ '' }}}}"}, "is not a URI"),
        ({"input_path": "{{{{ none }}}}"}, "is not a URI"),
        ({"input_path": "s3://{{{{ '' }}}}/"}, "has neither a bucket nor a path"),
    ],
)
def test_an_invalid_input_fails_before_the_submit(
    upscale, bucket, photos, tmp_path, segmind_emulator, arguments, message, deferrable
):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "half.png").write_bytes((photos / "astronaut.png").read_bytes()[:5000])
    arguments = arguments | {"input_path": arguments["input_path"].format(photos=photos, tmp=tmp_path)}
    run = upscale(deferrable=deferrable, **arguments)
    assert run.state == "failed"
    assert message in run.log
    assert run.task("t").try_number == 1, "the error is permanent"
    stats = segmind_emulator.stats
    assert (stats.submits_attempted, stats.uploads) == (0, 0)


def test_a_template_that_renders_to_none_fails_before_the_submit(airflow_db, segmind_emulator):
    for arguments in ({"input_path": "{{ none }}"}, {"image": "{{ none }}"}):
        with DAG("none", schedule=None, render_template_as_native_obj=True) as dag:
            ESRGAN(task_id="t", **arguments)
        run = run_tasks(dag)
        assert run.state == "failed"
        assert "a template rendered to nothing" in run.log
    assert segmind_emulator.stats.submits_attempted == 0


@pytest.mark.parametrize(
    ("operator", "arguments", "message"),
    [
        (ESRGAN, {"input_transport": "email"}, "input_transport must be"),
        (ESRGAN, {"input_transport": "data"}, "the page of esrgan accepts a URL only"),
        (BRIA, {"input_transport": "data"}, "accepts a URL only"),
        (NOMOS, {"max_input_bytes": 0}, "max_input_bytes must be a whole number above 0"),
    ],
)
def test_an_invalid_literal_breaks_the_import(operator, arguments, message):
    with pytest.raises(SegmindConfigError, match=message):
        operator(task_id="t", input_path="file:///x.png", **arguments)


def test_input_and_output_in_memory_storage(upscale, photos, segmind_emulator):
    from airflow_provider_segmind.storage import object_path

    object_path("memory://in/cat.jpg", None).write_bytes((photos / "cat.jpg").read_bytes())
    run = upscale(input_path="memory://in/cat.jpg", destination="memory://out/")
    assert run.state == "success"
    assert object_path("memory://out/t.jpg", None).stat().st_size == run.xcom("t")["stored"][0]["bytes"]


def test_a_storage_without_credentials_cannot_presign(bucket, s3_server, monkeypatch):
    """With anonymous access, the signed URL would give no permission to read."""
    from airflow_provider_segmind.storage import object_path

    forget_stores(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    path = object_path(f"s3://{BUCKET}/cat.jpg", None)
    with pytest.raises(SegmindConfigError, match="cannot be presigned: no key to sign with"):
        InputImage(path, b"", (1, 1)).sign(60)
