"""Where outputs go: placeholders, sidecars, what is there already, and what is found out before a submit."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.operators.segmind import (
    SegmindEsrganOperator,
    SegmindNomosUpscalerOperator,
)
from airflow_provider_segmind.protocol.redaction import redacted
from airflow_provider_segmind.storage.names import check_placeholders, fill, safe, stem_of
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator
from tests.buckets import BUCKET, CONN
from tests.task_runner import run_tasks

ESRGAN = SegmindEsrganOperator
URL = "https://www.segmind.com/butterfly.png"


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- placeholders ---------------------------------------------------------------------------------------------------


def test_every_placeholder(upscale, tmp_path, segmind_emulator, deferrable):
    folder = "{{ dag.dag_id }}/{model}/{map_index}"
    run = upscale(destination=f"file://{tmp_path}/{folder}/{{stem}}-{{request_id}}.{{ext}}", deferrable=deferrable)
    assert run.state == "success"
    [request] = segmind_emulator.requests
    assert files(tmp_path) == [f"outputs/esrgan/-1/cat-{request.request_id}.jpg"]
    assert run.xcom("t")["stored"][0]["uri"] == f"file://{tmp_path}/{files(tmp_path)[0]}"


def test_mapped_images_keep_their_names(upscale, tmp_path, photos, deferrable):
    run = upscale(
        SegmindNomosUpscalerOperator,
        expand={"input_path": [f"file://{photos}/{name}" for name in ("cat.jpg", "astronaut.png")]},
        destination=f"file://{tmp_path}/{{stem}}_{{map_index}}.{{ext}}",
        image_format="webp",
        deferrable=deferrable,
    )
    assert run.state == "success"
    assert files(tmp_path) == ["astronaut_1.webp", "cat_0.webp"]


@pytest.mark.parametrize(
    ("source", "stem"),
    [
        ("s3://bucket/in/a cat.v2.JPG", "a cat.v2"),
        ("s3://conn@bucket/in/?.jpg", None),
        ("https://x.example/a%2Fb/..%2f..%2Fetc.png?sig=a/b.png", ".._.._etc"),
        ("https://x.example/%2e%2e/", None),
        ("https://x.example", None),
        ("file:///in/..", None),
        ("file:///in/[1]*.png", "_1_"),
        ("data:image/png;base64,iVBORw0KGgo=", None),
        ("", "task"),
    ],
)
def test_stems_are_safe(source, stem):
    found = stem_of(source, otherwise="task")
    assert re.fullmatch("[0-9a-f]{12}", found) if stem is None else found == stem
    path = fill("s3://bucket/out/{stem}.png", {"stem": found})
    assert path.count("/") == 4
    assert "/../" not in path


def test_values_cannot_leave_their_folder():
    for value in ("..", ".", "", "  ", "...", "a/../b", "a\\b", "{model}", "\n"):
        assert "/" not in safe(value)
        assert safe(value).strip(".") != ""
    assert fill("x://{stem}/{stem}", {"stem": "{stem}"}) == "x://_stem_/_stem_"


def test_unknown_placeholders():
    check_placeholders("s3://b/{model}/{stem}{ext}{request_id}{map_index}/{ no braces")
    for wrong in ("{name}", "{}", "{stem!r}", "{map_index:03d}"):
        with pytest.raises(SegmindConfigError, match="unknown placeholder"):
            check_placeholders(f"s3://b/{wrong}.png")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"destination": "s3://b/{name}.png"}, r"unknown placeholder \{name\}; known: \{model\}"),
        ({"destination": "s3://b/{request_id}.png", "skip_existing": True}, "never finds"),
        ({"destination": "s3://b/x.png", "if_exists": "ask"}, "if_exists must be"),
        ({"destination": "s3://b/x.png", "if_exists": "fail", "skip_existing": True}, "contradict"),
        ({"sidecar": True}, "need a destination"),
        ({"skip_existing": True}, "need a destination"),
        ({"if_exists": "fail"}, "need a destination"),
    ],
)
def test_what_is_wrong_as_a_literal_breaks_the_import(arguments, reports):
    with pytest.raises(SegmindConfigError, match=reports):
        ESRGAN(task_id="t", image=URL, **arguments)


# --- sidecars -------------------------------------------------------------------------------------------------------


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


def test_what_a_sidecar_shows_of_parameters():
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


# --- found out before the submit ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destination", "says"),
    [
        ("file://{tmp}/file/out/x.png", "NotADirectoryError"),
        ("file:///proc/segmind/x.png", "destination /proc/segmind|destination file:///proc"),
        ("s3://no-such-bucket/x.png", "NoSuchBucket|does not exist"),
        ("s3://no-such-bucket/folder/", "NoSuchBucket|does not exist"),
        ("s3://images/{{{{ '{wrong}' }}}}.png", "unknown placeholder"),
        ("{{{{ '' }}}}", "is no URI"),
    ],
)
def test_a_place_that_cannot_be_written_costs_nothing(
    upscale, bucket, tmp_path, segmind_emulator, deferrable, destination, reports
):
    (tmp_path / "file").write_text("a file, where a folder should be")
    destination = destination.replace("{tmp}", str(tmp_path)).replace("{{{{", "{{").replace("}}}}", "}}")
    conn = CONN if destination.startswith("s3") else None
    run = upscale(destination=destination, destination_conn_id=conn, deferrable=deferrable)
    assert run.state == "failed"
    assert re.search(reports, run.log)
    assert run.task("t").try_number == 1, "a retry cannot mend it"
    assert (segmind_emulator.stats.submits_attempted, segmind_emulator.stats.uploads) == (0, 0)
    assert files(tmp_path) == ["file"]


def test_a_store_that_is_down_is_tried_again(upscale, bucket, segmind_emulator, monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_DOWN_S3",
        json.dumps(
            {
                "conn_type": "aws",
                "login": "x",
                "password": "x",
                "extra": {
                    "endpoint_url": "http://127.0.0.1:9",
                    "region_name": "us-east-1",
                    "config_kwargs": {"connect_timeout": 1, "retries": {"max_attempts": 0}},
                },
            }
        ),
    )
    run = upscale(destination=f"s3://down_s3@{BUCKET}/x.png")
    assert run.state == "failed"
    assert run.task("t").try_number == 2
    assert "Nothing was sent yet" in run.log
    assert segmind_emulator.stats.submits_attempted == 0


def test_the_probe_leaves_nothing_and_makes_no_folder(airflow_db, tmp_path, bucket):
    from airflow_provider_segmind.storage import object_path
    from airflow_provider_segmind.storage.paths import probe

    probe(object_path(f"file://{tmp_path}/a/b/c.png", None))
    assert list(tmp_path.iterdir()) == []
    probe(object_path(f"s3://{CONN}@{BUCKET}/a/b/c.png", None))
    probe(object_path("memory://somewhere/c.png", None))
    assert bucket.objects() == {}


def test_a_destination_that_renders_to_none_is_not_nowhere(airflow_db, segmind_emulator):
    with DAG("none", schedule=None, render_template_as_native_obj=True) as dag:
        ESRGAN(task_id="t", image=URL, destination="{{ none }}")
    run = run_tasks(dag)
    assert run.state == "failed"
    assert "destination: a template rendered to nothing" in run.log
    assert segmind_emulator.stats.submits_attempted == 0


@pytest.mark.parametrize("place", ["file", "s3"])
def test_two_mapped_tasks_with_one_target(upscale, bucket, photos, tmp_path, segmind_emulator, deferrable, place):
    base = f"s3://{CONN}@{BUCKET}" if place == "s3" else f"file://{tmp_path}"
    photos = [f"file://{photos}/{name}" for name in ("cat.jpg", "astronaut.png")]
    run = upscale(expand={"input_path": photos}, destination=f"{base}/same.jpg", deferrable=deferrable)
    assert sorted(run.states()["t"]) == ["failed", "success"]
    assert re.search(r"the mapped tasks \d and \d have the same destination: .*same\.jpg", run.log)
    first = run.states()["t"].index("success")  # whichever came first
    assert run.task("t", 1 - first).try_number == 1, "a retry cannot mend it"
    assert segmind_emulator.stats.submits_attempted == 1
    [stored] = run.xcom("t", first)["stored"]
    content = bucket.read("same.jpg") if place == "s3" else (tmp_path / "same.jpg").read_bytes()
    assert stored["sha256"] == hashlib.sha256(content).hexdigest(), "the first one's picture is still there"


def test_the_first_keeps_its_target_when_it_is_cleared(upscale, photos, tmp_path, segmind_emulator):
    photos = [f"file://{photos}/{name}" for name in ("cat.jpg", "astronaut.png")]
    run = upscale(expand={"input_path": photos}, destination=f"file://{tmp_path}/same.jpg")
    assert sorted(run.states()["t"]) == ["failed", "success"]
    assert run.again("t").states() == run.states()


def test_an_existing_folder_without_a_slash_is_not_a_conflict(upscale, photos, tmp_path):
    photos = [f"file://{photos}/{name}" for name in ("cat.jpg", "astronaut.png")]
    assert upscale(expand={"input_path": photos}, destination=f"file://{tmp_path}").state == "success"
    assert files(tmp_path) == ["t_0.jpg", "t_1.jpg"]


def test_a_wrong_placeholder_of_a_transfer_breaks_the_import():
    with pytest.raises(SegmindConfigError, match="unknown placeholder"):
        SegmindToObjectStorageOperator(task_id="t", result={}, destination="s3://b/{name}.png")


def test_a_large_object_on_s3_keeps_its_attributes(airflow_db, segmind_emulator, bucket):
    """Above 50 MB the store writes in parts, and the move copies them."""
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


@pytest.mark.parametrize("base", ["file", "memory", "s3"])
@pytest.mark.parametrize("name", ["[1]/a [2].png", "a*b.png", "c?.png"])
def test_names_that_poll_like_patterns(airflow_db, segmind_emulator, bucket, tmp_path, photos, base, name):
    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.protocol.wire import Result
    from airflow_provider_segmind.storage import object_path, store_result

    folder = {"file": f"file://{tmp_path}", "memory": f"memory://{tmp_path.name}", "s3": f"s3://{CONN}@{BUCKET}"}[base]
    url = segmind_emulator.add_image(photos / "cat.jpg")
    with SegmindHook() as hook:
        result = Result(request_id="r", model="esrgan", output=url)
        [stored] = store_result(hook, result, f"{folder}/{name}", name="t")
    assert object_path(stored.uri, None).read_bytes() == (photos / "cat.jpg").read_bytes()
    if base == "s3":
        assert set(bucket.objects()) == {name}
