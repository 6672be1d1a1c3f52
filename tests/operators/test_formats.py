"""The destination's extension decides the format of the output, or the task is refused before anything is billed."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import DAG
from PIL import Image

from airflow_provider_segmind.decorators.segmind import segmind_task
from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.operators.segmind import (
    SegmindBriaIncreaseResolutionOperator,
    SegmindEsrganOperator,
    SegmindNomosUpscalerOperator,
    SegmindRunModelOperator,
)
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator
from tests.task_runner import run_tasks

URL = "https://www.segmind.com/butterfly.png"
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".JPEG": "JPEG", ".jpe": "JPEG", ".webp": "WEBP"}


@pytest.mark.parametrize("operator", [SegmindEsrganOperator, SegmindNomosUpscalerOperator])
@pytest.mark.parametrize("extension", FORMATS)
def test_the_object_has_the_format_of_its_extension(upscale, tmp_path, operator, extension):
    run = upscale(operator, destination=f"file://{tmp_path}/{{stem}}-large{extension}", deferrable=False)
    assert run.state == "success"
    with Image.open(tmp_path / f"cat-large{extension}") as image:
        assert image.format == FORMATS[extension]


def test_in_both_modes_and_by_template(upscale, tmp_path, segmind_emulator, deferrable):
    target = f"{{{{ 'file://{tmp_path}/cat.png' }}}}"
    run = upscale(destination=target, sidecar=True, skip_existing=True, deferrable=deferrable)
    with Image.open(tmp_path / "cat.png") as image:
        assert image.format == "PNG"
    assert run.xcom("t")["stored"][0]["content_type"] == "image/png"
    assert upscale(destination=target, skip_existing=True, deferrable=deferrable).xcom("t")["skipped"]
    assert len(segmind_emulator.requests) == 1


def test_a_name_without_an_images_extension_has_the_models_default(upscale, tmp_path):
    for name, kind in (("cat.out", "JPEG"), ("cat", "JPEG"), ("{stem}.{ext}", "JPEG")):
        assert upscale(destination=f"file://{tmp_path}/{name}", deferrable=False).state == "success"
        with Image.open(tmp_path / name.replace("{stem}.{ext}", "cat.jpg")) as image:
            assert image.format == kind


def test_the_name_of_the_input_may_have_the_extension(upscale, tmp_path, photos):
    (tmp_path / "cat.png.jpg").write_bytes((photos / "cat.jpg").read_bytes())
    run = upscale(input_path=f"file://{tmp_path}/cat.png.jpg", destination=f"file://{tmp_path}/out-{{stem}}")
    assert run.state == "success"
    with Image.open(tmp_path / "out-cat.png") as image:
        assert image.format == "PNG"


def test_mapped_destinations_each_have_their_format(upscale, tmp_path, photos):
    names = ["a.png", "b.webp", "c.gif"]
    targets = [f"file://{tmp_path}/{name}" for name in names]
    run = upscale(expand={"destination": targets}, input_path=f"file://{photos}/cat.jpg", deferrable=False, retries=0)
    assert run.states()["t"] == ["success", "success", "failed"]
    assert [Image.open(tmp_path / name).format for name in names[:2]] == ["PNG", "WEBP"]


def test_run_model_with_a_typed_slug_and_the_decorator(airflow_db, segmind_emulator, quick_polls, photos, tmp_path):
    image = segmind_emulator.add_image(photos / "cat.jpg")
    with DAG("formats", schedule=None) as dag:
        SegmindRunModelOperator(
            task_id="run", model="esrgan", parameters={"image": image}, destination=f"file://{tmp_path}/run.png"
        )

        @segmind_task(model="nomos-upscaler", destination=f"file://{tmp_path}/computed.webp")
        def computed():
            return {"image": image}

        @segmind_task(model="esrgan", destination=f"file://{tmp_path}/wrong.webp", retries=0)
        def wrong():
            return {"image": image, "output_format": "png"}

        computed()
        wrong()
    run = run_tasks(dag)
    assert run.states() == {"run": ["success"], "computed": ["success"], "wrong": ["failed"]}
    assert Image.open(tmp_path / "run.png").format == "PNG"
    assert Image.open(tmp_path / "computed.webp").format == "WEBP"
    assert len(segmind_emulator.requests) == 2


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        (SegmindEsrganOperator, {"image": URL, "destination": "s3://b/x.gif"}),
        (SegmindEsrganOperator, {"image": URL, "destination": "s3://b/x.png", "output_format": "jpeg"}),
        (SegmindNomosUpscalerOperator, {"input_path": "s3://b/i.png", "destination": "s3://b/{stem}.tiff"}),
        (SegmindBriaIncreaseResolutionOperator, {"image": "{{ x }}", "destination": "s3://b/x.bmp"}),
        (SegmindRunModelOperator, {"model": "esrgan", "parameters": "{{ x }}", "destination": "s3://b/x.avif"}),
        (
            SegmindRunModelOperator,
            {"model": "esrgan", "parameters": {"image": URL, "output_format": "webp"}, "destination": "s3://b/x.png"},
        ),
    ],
)
def test_a_literal_contradiction_breaks_the_import(operator, arguments):
    with pytest.raises(SegmindConfigError, match="task t: destination: "):
        operator(task_id="t", **arguments)


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        (SegmindEsrganOperator, {"destination": "{{ 'file:///tmp/x.gif' }}"}),
        (SegmindEsrganOperator, {"destination": "file:///tmp/x.png", "output_format": "{{ 'webp' }}"}),
        (SegmindBriaIncreaseResolutionOperator, {"destination": "{{ 'file:///tmp/x.bmp' }}"}),
    ],
)
def test_a_rendered_contradiction_fails_before_the_submit(upscale, segmind_emulator, deferrable, operator, arguments):
    run = upscale(operator, deferrable=deferrable, **arguments)
    assert run.state == "failed"
    assert "destination: file:///tmp/x" in run.log
    assert run.task("t").try_number == 1, "the error is permanent"
    assert (segmind_emulator.stats.submits_attempted, segmind_emulator.stats.uploads) == (0, 0)


def test_a_transfer_refuses_an_extension_that_the_model_cannot_write(airflow_db, segmind_emulator, photos, tmp_path):
    result = {"request_id": "r", "model": "esrgan", "output": segmind_emulator.add_image(photos / "cat.jpg")}
    with DAG("transfer", schedule=None) as dag:
        SegmindToObjectStorageOperator(task_id="t", result=result, destination=f"file://{tmp_path}/x.gif")
    run = run_tasks(dag)
    assert run.state == "failed"
    assert "x.gif has an extension that esrgan cannot write" in run.log
    assert list(tmp_path.iterdir()) == []
