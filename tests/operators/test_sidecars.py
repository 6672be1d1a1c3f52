"""Sidecars and object metadata: what a task stores beside its output."""

from __future__ import annotations

import hashlib
import json

import pytest

from airflow_provider_segmind.protocol.redaction import redacted
from tests.buckets import BUCKET, CONN


@pytest.mark.parametrize("transport", ["upload", "presign"])
def test_sidecar_and_metadata_on_s3(upscale, bucket, photos, segmind_emulator, deferrable, transport):
    bucket.client.put_object(Bucket=BUCKET, Key="in/cat.jpg", Body=(photos / "cat.jpg").read_bytes())
    run = upscale(
        input_path=f"s3://{CONN}@{BUCKET}/in/cat.jpg",
        input_transport=transport,
        destination=f"s3://{CONN}@{BUCKET}/out/{{stem}}.{{ext}}",
        scale="{{ 4 }}",
        sidecar=True,
        deferrable=deferrable,
    )
    assert run.state == "success", run.log
    assert set(bucket.objects()) == {"in/cat.jpg", "out/cat.jpg", "out/cat.jpg.json"}
    value = run.xcom("t")
    [stored] = value["stored"]
    text = bucket.read("out/cat.jpg.json").decode()
    found = json.loads(text)
    assert found["object"] == stored
    assert found["stored"] == [stored]
    assert found["model"] == "esrgan"
    assert found["request_id"] == value["request_id"]
    assert found["parameters"] == {"scale": 4, "output_format": "jpeg", "quality": 95}
    assert found["metrics"] == value["metrics"]
    assert found["input"] == {
        "uri": f"s3://{CONN}@{BUCKET}/in/cat.jpg",
        "bytes": len((photos / "cat.jpg").read_bytes()),
        "sha256": hashlib.sha256((photos / "cat.jpg").read_bytes()).hexdigest(),
        "width": 300,
        "height": 200,
        "transport": transport,
    }
    assert found["object"]["sha256"] == hashlib.sha256(bucket.read("out/cat.jpg")).hexdigest()
    assert found["submitted_at"] <= found["stored_at"]
    assert found["provider"].startswith("airflow-provider-segmind ")
    assert found["task"] == {
        "dag_id": "outputs",
        "run_id": run.run_id,
        "task_id": "t",
        "map_index": -1,
        "try_number": 1,
    }
    assert segmind_emulator.api_key not in text
    assert "ignature" not in text
    head = bucket.client.head_object(Bucket=BUCKET, Key="out/cat.jpg")
    assert head["ContentType"] == "image/jpeg"
    assert head["Metadata"] == {
        "segmind-model": "esrgan",
        "segmind-request-id": value["request_id"],
        "segmind-cost": str(value["metrics"]["cost"]),
        "segmind-sha256": stored["sha256"],
    }
    assert bucket.client.head_object(Bucket=BUCKET, Key="out/cat.jpg.json")["ContentType"] == "application/json"


def test_images_and_signatures_in_parameters_are_redacted():
    photo = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    shown = redacted(
        {
            "image": f"data:image/png;base64,{photo}",
            "images": [photo, "https://b/k.png?X-Amz-Signature=abc"],
            "prompt": "a cat",
            "text": "x" * 5000,
            "n": 2,
        }
    )
    digest = shown["image"]
    assert digest.startswith("sha256:")
    assert shown["images"] == [digest, "https://b/k.png"]
    assert (shown["prompt"], shown["n"]) == ("a cat", 2)
    assert len(shown["text"]) == len(digest)


def test_a_large_object_on_s3_keeps_its_attributes(airflow_db, segmind_emulator, bucket):
    """Above 50 MB the S3 client uploads in parts, and the move copies them."""
    import io

    from PIL import Image

    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.protocol.wire import Result
    from airflow_provider_segmind.storage import store_result

    file = io.BytesIO()
    Image.new("RGB", (4200, 4200)).save(file, "PNG", compress_level=0)
    url = segmind_emulator.add_image(file.getvalue(), name="large.png")
    with SegmindHook() as hook:
        result = Result(request_id="r-1", model="esrgan", output=url)
        [stored] = store_result(hook, result, f"s3://{CONN}@{BUCKET}/large.png", name="t")
    assert stored.bytes > 52_000_000
    head = bucket.client.head_object(Bucket=BUCKET, Key="large.png")
    assert (head["ContentType"], head["ContentLength"]) == ("image/png", stored.bytes)
    assert head["Metadata"]["segmind-sha256"] == stored.sha256
    assert set(bucket.objects()) == {"large.png"}
