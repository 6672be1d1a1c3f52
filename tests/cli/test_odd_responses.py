"""The command delivers a paid image however it is sent, and refuses an image that the model's page does not promise."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from airflow_provider_segmind.protocol.data_uris import data_uri


@pytest.mark.parametrize("fault", ["status:404", "empty", "partial", "success:203", "success:206"])
def test_a_download_that_is_not_a_200_with_the_whole_body(run, here, segmind_emulator, quick_retries, fault):
    segmind_emulator.faults.add("output", fault, times=1)
    done = run("run", "esrgan", "cat.jpg", "-o", "out.png")
    assert done.code == 0, done.err
    assert "600 x 400 pixels, image/png" in done.out
    assert segmind_emulator.stats.billed == 1


def test_an_inline_output_that_is_wrapped(run, here, segmind_emulator, photos):
    file = io.BytesIO()
    with Image.open(photos / "cat.jpg") as image:
        image.resize((1200, 800)).save(file, "PNG")
    content = file.getvalue()
    body = {"status": "COMPLETED ", "output": base64.encodebytes(content).decode()}
    segmind_emulator.faults.add("result", "status_after:200", body=body)
    done = run("run", "nomos-upscaler", "cat.jpg", "--base64", "-o", "out.png")
    assert done.code == 0, done.err
    assert (here / "out.png").read_bytes() == content


@pytest.mark.parametrize("slug", ["esrgan", "bria-increase-resolution"])
def test_base64_for_a_model_that_takes_a_url_only(run, here, segmind_emulator, photos, slug):
    done = run("run", slug, "-p", f"image={data_uri((photos / 'cat.jpg').read_bytes())}")
    assert done.code != 0
    assert f"parameters of {slug}: image: must be an http(s) URL" in " ".join(done.err.split())
    assert segmind_emulator.stats.submits_attempted == 0


def test_models_shows_what_image_may_be(run):
    lines = [line for line in run("models").out.splitlines() if " image " in line]
    assert [("data URI, base64" in line, "URL" in line) for line in lines] == [
        (False, True),
        (True, True),
        (False, True),
    ]
