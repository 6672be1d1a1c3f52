"""An input that is missing, changed or sent in another way after the submit: the request is still billed once."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.operators.segmind import SegmindNomosUpscalerOperator
from tests.airflow_versions import needs_task_state_store
from tests.operators.failing import fails_once

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_polls", "own_rate_limit_files")


@needs_task_state_store
@pytest.mark.parametrize("damage", ["missing", "empty", "not an image"])
@pytest.mark.parametrize("skip", [False, True])
def test_the_output_of_a_paid_request_is_downloaded_without_its_input(
    upscale, segmind_emulator, photos, tmp_path, deferrable, damage, skip
):
    source = tmp_path / "in" / "cat.jpg"
    source.parent.mkdir()
    source.write_bytes((photos / "cat.jpg").read_bytes())
    failing = fails_once(AirflowFailException)
    arguments = {"destination": f"file://{tmp_path}/out/", "skip_existing": skip, "sidecar": True}
    run = upscale(input_path=f"file://{source}", deferrable=deferrable, post_execute=failing, **arguments)
    assert run.state == "failed"
    [paid] = segmind_emulator.requests
    for left in (tmp_path / "out").iterdir():
        left.unlink()
    source.unlink() if damage == "missing" else source.write_bytes(b"" if damage == "empty" else b"text")
    again = run.again("t")
    assert again.state == "success", again.log
    assert again.xcom("t")["request_id"] == paid.request_id
    [stored] = again.xcom("t")["stored"]
    sidecar = json.loads((Path(stored["uri"].removeprefix("file://") + ".json")).read_text())
    assert sidecar["input"]["sha256"] == hashlib.sha256((photos / "cat.jpg").read_bytes()).hexdigest()
    assert len(segmind_emulator.requests) == 1
    final = again.again("t")  # after a success, a clear is a new want, which needs its input
    assert final.state == "failed"
    assert len(segmind_emulator.requests) == 1


@pytest.mark.parametrize("name", ["cat.jpg", "{stem}.{ext}", "../in/cat.jpg"])
@pytest.mark.parametrize("if_exists", ["overwrite", "skip"])
def test_an_output_never_replaces_the_input(upscale, segmind_emulator, photos, tmp_path, deferrable, name, if_exists):
    source = tmp_path / "in" / "cat.jpg"
    source.parent.mkdir()
    content = (photos / "cat.jpg").read_bytes()
    source.write_bytes(content)
    run = upscale(
        input_path=f"file://{source}",
        destination=f"file://{source.parent}/{name}",
        if_exists=if_exists,
        deferrable=deferrable,
    )
    assert run.state == "failed"
    assert "is the input itself" in run.log
    assert source.read_bytes() == content
    assert segmind_emulator.requests == []


@needs_task_state_store
@pytest.mark.parametrize(("first", "then"), [("upload", "data"), ("data", "upload")])
def test_a_lost_submit_is_found_after_its_input_transport_changed(upscale, segmind_emulator, photos, first, then):
    """The history is searched with the key of the lost submit, not with that of a later request."""
    arguments = {"operator": SegmindNomosUpscalerOperator, "retries": 0, "lost_submit_wait": 0.0, "deferrable": False}
    segmind_emulator.faults.add("submit", "drop_after", times=1)
    segmind_emulator.faults.add("history", "status:500")
    run = upscale(input_transport=first, **arguments)
    assert run.state == "failed"
    segmind_emulator.faults.clear()
    segmind_emulator.advance(60)
    with SegmindHook() as hook:
        hook.submit("esrgan", {"image": segmind_emulator.add_image(photos / "cat.jpg")})
    run.dag.task_dict["t"].input_transport = then
    again = run.again("t")
    assert again.state == "success", again.log
    assert segmind_emulator.stats.submits_accepted == 2


@needs_task_state_store
def test_a_lost_submit_is_found_without_its_input(upscale, segmind_emulator, photos, tmp_path, deferrable):
    source = tmp_path / "cat.jpg"
    source.write_bytes((photos / "cat.jpg").read_bytes())
    segmind_emulator.faults.add("submit", "drop_after", times=1)
    segmind_emulator.faults.add("history", "status:500")
    run = upscale(input_path=f"file://{source}", retries=0, lost_submit_wait=0.0, deferrable=deferrable)
    assert run.state == "failed"
    segmind_emulator.faults.clear()
    source.unlink()
    again = run.again("t")
    assert again.state == "success", again.log
    assert segmind_emulator.stats.submits_accepted == 1
