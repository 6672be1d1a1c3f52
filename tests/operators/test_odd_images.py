"""Odd input files in tasks: sound ones are upscaled, broken ones and other formats cost nothing."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator, SegmindNomosUpscalerOperator
from airflow_provider_segmind.protocol.data_uris import data_uri
from tests.operators.batch_dag import batch_dag, manifest_rows
from tests.source_tree import ROOT
from tests.task_runner import run_tasks

IMAGES = ROOT / "tests/images"
pytestmark = pytest.mark.usefixtures("airflow_db", "quick_polls", "own_rate_limit_files")
#: The upright size, twice as large.
SOUND = {
    "phone_20x9_orient6.jpg": (360, 800),
    "exif_orient8.png": (36, 80),
    "exif_orient5.webp": (36, 80),
    "xmp_orient6.jpg": (360, 800),
    "magick_orient8.png": (36, 80),
    "phone.mpo.jpg": (1280, 960),
    "icc_1.2MB.png": (128, 96),
    "comfy_workflow_ztxt.png": (128, 96),
}
BROKEN = {
    "phone_halved.mpo.jpg": "the end of the image is missing",
    "single_idat_zero_tail_RGBA.png": "the checksum of its chunk IDAT is wrong",
    "jpg_cut_40_with_eoi.jpg": "libjpeg reports: Corrupt JPEG data",
    "heic_named.png": "its format is HEIC; JPEG, PNG and WebP are accepted; convert it first",
    "dds_named.jpg": "its format is DDS",
}


@pytest.fixture(params=[True, False], ids=["deferrable", "plain"])
def deferrable(request):
    return request.param


def content(name: str) -> bytes:
    return (IMAGES / name).read_bytes()


def upscale(operator, **arguments):
    with DAG("odd", schedule=None) as dag:
        operator(task_id="t", retries=2, retry_delay=timedelta(0), poll_interval=0.25, **arguments)
    return run_tasks(dag)


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_image_is_upscaled(segmind_emulator, tmp_path: Path, name, deferrable):
    run = upscale(
        SegmindEsrganOperator,
        input_path=f"file://{IMAGES}/{name}",
        destination=f"file://{tmp_path}/",
        deferrable=deferrable,
    )
    assert run.state == "success", run.log
    [stored] = run.xcom("t")["stored"]
    assert (stored["width"], stored["height"]) == SOUND[name]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_costs_nothing(segmind_emulator, name, deferrable):
    for operator, arguments in (
        (SegmindEsrganOperator, {"input_path": f"file://{IMAGES}/{name}"}),
        (SegmindNomosUpscalerOperator, {"image": data_uri(content(name))}),
    ):
        run = upscale(operator, deferrable=deferrable, **arguments)
        assert run.state == "failed"
        assert BROKEN[name] in run.log
        assert "<_io" not in run.log
        assert run.task("t").try_number == 1, "the error is permanent"
    assert (segmind_emulator.stats.submits_attempted, segmind_emulator.stats.uploads) == (0, 0)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_in_a_batch_costs_nothing(segmind_emulator, tmp_path, name):
    items = [data_uri(content("phone_20x9_orient6.jpg")), data_uri(content(name))]
    run = run_tasks(batch_dag(tmp_path, items, model="nomos-upscaler"))
    assert run.state == "failed"
    assert re.search(f"item 1: image: (it is not a whole image: )?{re.escape(BROKEN[name])}", run.log)
    assert segmind_emulator.stats.submits_attempted == 0


def test_a_turned_image_in_a_batch(segmind_emulator, tmp_path):
    run = run_tasks(batch_dag(tmp_path, [data_uri(content("phone_20x9_orient6.jpg"))], model="nomos-upscaler"))
    assert run.state == "success", run.log
    [stored] = manifest_rows(tmp_path)[0]["stored"]
    assert (stored["width"], stored["height"]) == (720, 1600)


def test_a_broken_image_from_a_function_costs_nothing(segmind_emulator):
    image = data_uri(content("jpg_cut_40_with_eoi.jpg"))
    with DAG("odd", schedule=None) as dag:

        @task.segmind(model="nomos-upscaler")
        def upscaled():
            return {"image": image}

        upscaled()
    run = run_tasks(dag)
    assert run.state == "failed"
    assert "libjpeg reports" in run.log
    assert segmind_emulator.stats.submits_attempted == 0
