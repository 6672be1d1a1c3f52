"""The claim: one run at a time uses a manifest, and the claim of a run that has ended does not block others."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import pytest

from airflow_provider_segmind.execution.claim import Claim, Claims
from airflow_provider_segmind.execution.engine import Engine
from airflow_provider_segmind.execution.manifest import BatchFolder
from airflow_provider_segmind.runtime import task
from tests.airflow_env import run_dag
from tests.airflow_versions import needs_airflow_sdk
from tests.operators.batch_dag import batch_dag
from tests.task_runner import run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_polls", "own_rate_limit_files")

OWNER = {"dag_id": "batch", "run_id": "yesterday", "task_id": "upscale", "map_index": -1}


def claim_text(owner, until):
    """Return the text of a claim."""
    return json.dumps(asdict(Claim(owner, 1, until, time.time() - 60, "items")))


def raise_connection_error(*arguments, **named):
    raise ConnectionError("the process was killed")


def unreadable_manifest(folder, emulator, monkeypatch):
    (folder / "upscale.manifest.jsonl").write_text("nonsense\n")


def no_credits(folder, emulator, monkeypatch):
    emulator.faults.add("submit", "status:402", body={"error": "credits"})


def folder_not_listable(folder, emulator, monkeypatch):
    monkeypatch.setattr(BatchFolder, "names", raise_connection_error)


def manifest_not_writable(folder, emulator, monkeypatch):
    monkeypatch.setattr(BatchFolder, "write", raise_connection_error)


def killed_at_the_submit(folder, emulator, monkeypatch):
    monkeypatch.setattr(Engine, "submit", raise_connection_error)


def output_not_an_image(folder, emulator, monkeypatch):
    emulator.faults.add("output", "html")


def request_fails(folder, emulator, monkeypatch):
    emulator.faults.add("submit", "fail:out of memory")


@pytest.mark.parametrize(
    "fault",
    [
        unreadable_manifest,
        no_credits,
        folder_not_listable,
        manifest_not_writable,
        killed_at_the_submit,
        output_not_an_image,
        request_fails,
    ],
)
def test_the_claim_of_a_failed_batch_blocks_no_other_run(segmind_emulator, images, folder, monkeypatch, fault):
    folder.mkdir()
    items = images(2)
    with monkeypatch.context() as patch:
        fault(folder, segmind_emulator, patch)
        run = run_tasks(batch_dag(folder, items))
    assert run.state == "failed"
    # If the manifest cannot be written the claim file stays, but its owner has ended.
    assert (folder / "upscale.claim").exists() is (fault is manifest_not_writable)

    # The next run starts at once.
    segmind_emulator.faults.clear()
    if fault is unreadable_manifest:
        (folder / "upscale.manifest.jsonl").unlink()
    assert run_tasks(batch_dag(folder, items)).state == "success"


def test_a_deferred_batch_keeps_its_claim_until_it_ends(segmind_emulator, images, folder, monkeypatch):
    claims, original = [], Claims.take

    def take(self, **named):
        claim = original(self, **named)
        claims.append(json.loads((folder / "upscale.claim").read_text()))
        return claim

    monkeypatch.setattr(Claims, "take", take)
    run = run_tasks(batch_dag(folder, images(2)))
    assert run.state == "success"
    assert len(claims) == 2  # before and after the deferral
    for found in claims:
        assert found["owner"] == {**OWNER, "run_id": run.run_id}
        assert 600 < found["until"] - time.time() < 1000
    assert not (folder / "upscale.claim").exists()


@pytest.mark.parametrize(
    ("working", "seconds", "refused"),
    [(True, -1, True), (True, 600, True), (False, 600, False), (None, 600, True), (None, -1, False)],
)
def test_a_claim_blocks_other_runs_while_its_owner_works(
    segmind_emulator, images, folder, monkeypatch, working, seconds, refused
):
    """The state of the owner in Airflow decides; if Airflow reports no state, the time in the claim decides."""
    asked = []

    def is_working(context, owner):
        asked.append(owner)
        return working

    monkeypatch.setattr(task, "is_working", is_working)
    folder.mkdir()
    until = time.time() + seconds
    (folder / "upscale.claim").write_text(claim_text(OWNER, until))
    run = run_tasks(batch_dag(folder, images(1)))
    assert asked[0] == OWNER
    assert run.state == ("failed" if refused else "success")
    assert segmind_emulator.stats.submits_attempted == (0 if refused else 1)
    if refused:
        assert "another run is working on the batch" in run.log
        assert "batch yesterday upscale -1" in run.log
        assert f"{until:.0f} (epoch seconds) if Airflow does not report its state" in run.log


@needs_airflow_sdk
def test_the_claim_of_a_run_that_was_ended_while_deferred_does_not_block(segmind_emulator, images, folder):
    """Its claim was never released, but Airflow reports that the run has ended."""
    items = images(1)
    ended = run_dag(batch_dag(folder, items))
    owner = {**OWNER, "run_id": ended.run_id}
    (folder / "upscale.claim").write_text(claim_text(owner, time.time() + 600))
    run = run_dag(batch_dag(folder, items))
    assert run.state == "success", run.log
    assert run.xcom("upscale")["reused"] == 1
    left = Claim.read((folder / "upscale.claim").read_bytes())  # the claim of other items has ended
    assert left is not None
    assert left.until <= time.time()


@pytest.mark.parametrize("text", ["", "another run\n1790000000", "[]", '{"owner": {}}'])
def test_an_unreadable_claim_does_not_block(segmind_emulator, images, folder, text):
    folder.mkdir()
    (folder / "upscale.claim").write_text(text)
    assert run_tasks(batch_dag(folder, images(1))).state == "success"
