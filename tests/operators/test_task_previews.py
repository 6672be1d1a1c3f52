"""Previews that tasks store beside their outputs; an error of a preview does not fail the task."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG
from PIL import Image

from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator, SegmindNomosUpscalerOperator
from airflow_provider_segmind.protocol.data_uris import data_uri
from airflow_provider_segmind.protocol.preview_reference import Reference, is_genuine
from airflow_provider_segmind.storage import list_images
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator
from tests.buckets import BUCKET, CONN
from tests.task_runner import run_tasks


@pytest.fixture
def previews_on(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SEGMIND__SERVE_PREVIEWS", "True")


@pytest.fixture
def upscale(airflow_db, segmind_emulator, quick_polls, photos):
    def run(operator=SegmindEsrganOperator, transfer=None, **arguments):
        if "image" not in arguments:
            arguments = {"input_path": f"file://{photos}/cat.jpg"} | arguments
        with DAG("previews", schedule=None) as dag:
            task = operator(task_id="t", poll_interval=0.25, **arguments)
            if transfer:
                SegmindToObjectStorageOperator(task_id="store", result=task.output, destination=transfer)
        return run_tasks(dag)

    return run


def check_preview(content: bytes, reference: dict[str, Any], size: tuple[int, int], dag_id: str = "previews") -> None:
    assert is_genuine(content, Reference.model_validate(reference), dag_id)
    with Image.open(io.BytesIO(content)) as photo:
        photo.load()
        assert photo.format == "WEBP"
        assert photo.size == (reference["width"], reference["height"]) == size


@pytest.mark.parametrize("deferrable", [True, False])
def test_input_and_output_have_a_preview(previews_on, upscale, tmp_path, deferrable):
    run = upscale(destination=f"file://{tmp_path}/x.jpg", sidecar=True, deferrable=deferrable)
    assert run.state == "success"
    assert {path.name for path in tmp_path.iterdir()} == {
        "x.jpg",
        "x.jpg.json",
        "x.jpg.preview.webp",
        "x.jpg.before.webp",
    }
    [stored] = run.xcom("t")["stored"]
    assert stored["preview"]["after"]["uri"] == f"{stored['uri']}.preview.webp"
    assert stored["preview"]["before"]["uri"] == f"{stored['uri']}.before.webp"
    check_preview((tmp_path / "x.jpg.preview.webp").read_bytes(), stored["preview"]["after"], (512, 341))
    check_preview((tmp_path / "x.jpg.before.webp").read_bytes(), stored["preview"]["before"], (300, 200))
    sidecar = json.loads((tmp_path / "x.jpg.json").read_text())
    assert sidecar["object"] == stored
    assert len(json.dumps(run.xcom("t"))) < 3000


def test_previews_are_off_by_default(upscale, tmp_path):
    run = upscale(destination=f"file://{tmp_path}/x.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["x.jpg"]
    assert "preview" not in run.xcom("t")["stored"][0]


@pytest.mark.parametrize("deferrable", [True, False])
def test_an_input_has_a_preview_only_as_data_and_not_as_a_url(
    previews_on, upscale, tmp_path, segmind_emulator, photos, deferrable
):
    url = segmind_emulator.add_image(photos / "cat.jpg")
    run = upscale(image=url, destination=f"file://{tmp_path}/x.jpg", deferrable=deferrable)
    preview = run.xcom("t")["stored"][0]["preview"]
    assert preview["before"] is None
    check_preview((tmp_path / "x.jpg.preview.webp").read_bytes(), preview["after"], (512, 341))

    text = data_uri((photos / "cat.jpg").read_bytes())
    run = upscale(
        SegmindNomosUpscalerOperator, image=text, destination=f"file://{tmp_path}/y.png", deferrable=deferrable
    )
    preview = run.xcom("t")["stored"][0]["preview"]
    check_preview((tmp_path / "y.png.before.webp").read_bytes(), preview["before"], (300, 200))


def test_previews_in_a_bucket_use_the_connection_of_the_destination(previews_on, upscale, bucket, photos):
    bucket.client.put_object(Bucket=BUCKET, Key="in/cat.jpg", Body=(photos / "cat.jpg").read_bytes())
    run = upscale(
        input_path=f"s3://{BUCKET}/in/cat.jpg",
        input_conn_id="other_s3",
        destination=f"s3://{BUCKET}/out/{{stem}}.{{ext}}",
        destination_conn_id=CONN,
        deferrable=True,
    )
    assert run.state == "success"
    preview = run.xcom("t")["stored"][0]["preview"]
    assert preview["after"]["uri"] == f"s3://{CONN}@{BUCKET}/out/cat.jpg.preview.webp"
    check_preview(bucket.read("out/cat.jpg.preview.webp"), preview["after"], (512, 341))
    check_preview(bucket.read("out/cat.jpg.before.webp"), preview["before"], (300, 200))
    head = bucket.client.head_object(Bucket=BUCKET, Key="out/cat.jpg.preview.webp")
    assert head["ContentType"] == "image/webp"
    assert list_images(f"s3://{CONN}@{BUCKET}/out/") == [f"s3://{CONN}@{BUCKET}/out/cat.jpg"]  # without the previews


def test_the_transfer_stores_a_preview_of_the_output(previews_on, upscale, tmp_path, segmind_emulator, photos):
    url = segmind_emulator.add_image(photos / "cat.jpg")
    run = upscale(image=url, transfer=f"file://{tmp_path}/")
    [stored] = run.xcom("store")["stored"]
    assert stored["preview"]["before"] is None
    check_preview((tmp_path / "store.jpg.preview.webp").read_bytes(), stored["preview"]["after"], (512, 341))


def test_a_skipped_output_keeps_its_previews(previews_on, upscale, tmp_path, segmind_emulator):
    first = upscale(destination=f"file://{tmp_path}/a.jpg", skip_existing=True).xcom("t")
    again = upscale(destination=f"file://{tmp_path}/a.jpg", skip_existing=True).xcom("t")
    assert again["skipped"]
    assert again["stored"] == first["stored"]
    (tmp_path / "moved").mkdir()
    for path in list(tmp_path.glob("a.jpg*")):
        path.rename(tmp_path / "moved" / path.name)
    moved = upscale(destination=f"file://{tmp_path}/moved/a.jpg", skip_existing=True).xcom("t")
    assert moved["skipped"]
    assert moved["stored"][0]["preview"]["after"]["uri"] == f"file://{tmp_path}/moved/a.jpg.preview.webp"
    assert segmind_emulator.stats.billed == 1


def test_an_error_of_a_preview_does_not_fail_the_task(previews_on, upscale, tmp_path):
    (tmp_path / "x.jpg.preview.webp").mkdir()  # a folder has its name
    run = upscale(destination=f"file://{tmp_path}/x.jpg")
    assert run.state == "success"
    preview = run.xcom("t")["stored"][0]["preview"]
    assert preview["after"] is None
    assert preview["before"]["bytes"] > 0
    assert run.log.count("No preview of") == 1


def test_a_changed_input_has_no_preview(previews_on, upscale, tmp_path, photos, monkeypatch):
    source = tmp_path / "in.jpg"
    source.write_bytes((photos / "cat.jpg").read_bytes())
    from airflow_provider_segmind.execution import destination

    stored = destination.store_result

    def changed(*arguments, **named):
        source.write_bytes((photos / "astronaut.png").read_bytes())
        return stored(*arguments, **named)

    monkeypatch.setattr(destination, "store_result", changed)
    run = upscale(input_path=f"file://{source}", destination=f"file://{tmp_path}/x.jpg")
    preview = run.xcom("t")["stored"][0]["preview"]
    assert preview["before"] is None
    assert preview["after"]["bytes"] > 0
    assert "the input has changed since it was submitted" in run.log
