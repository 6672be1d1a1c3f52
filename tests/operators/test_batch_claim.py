"""One run at a time works on a manifest, and a run that has ended keeps nobody away from it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import pytest

from airflow_provider_segmind.execution.claim import Claim, Claims
from airflow_provider_segmind.execution.engine import Engine
from airflow_provider_segmind.execution.manifest import BatchFolder
from airflow_provider_segmind.operators import batch
from tests.airflow_env import run_dag
from tests.airflow_versions import needs_airflow_sdk
from tests.operators.batches import dag_of
from tests.task_runner import run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_polls", "own_notes")

OWNER = {"dag_id": "batch", "run_id": "yesterday", "task_id": "upscale", "map_index": -1}


def written(owner, until):
    """Return the text of a claim."""
    return json.dumps(asdict(Claim(owner, 1, until, time.time() - 60, "items")))


def dies(*arguments, **named):
    raise ConnectionError("the process is gone")


def unreadable(folder, emulator, monkeypatch):
    (folder / "upscale.manifest.jsonl").write_text("nonsense\n")


def no_credits(folder, emulator, monkeypatch):
    emulator.faults.add("submit", "status:402", body={"error": "credits"})


def not_listable(folder, emulator, monkeypatch):
    monkeypatch.setattr(BatchFolder, "names", dies)


def not_writable(folder, emulator, monkeypatch):
    monkeypatch.setattr(BatchFolder, "write", dies)


def dies_at_the_submit(folder, emulator, monkeypatch):
    monkeypatch.setattr(Engine, "submit", dies)


def output_is_no_image(folder, emulator, monkeypatch):
    emulator.faults.add("output", "html")


def request_fails(folder, emulator, monkeypatch):
    emulator.faults.add("submit", "fail:out of memory")


@pytest.mark.parametrize(
    "trouble",
    [unreadable, no_credits, not_listable, not_writable, dies_at_the_submit, output_is_no_image, request_fails],
)
def test_a_batch_that_fails_leaves_no_claim(segmind_emulator, images, folder, monkeypatch, trouble):
    folder.mkdir()
    items = images(2)
    with monkeypatch.context() as patch:
        trouble(folder, segmind_emulator, patch)
        run = run_tasks(dag_of(folder, items))
    assert run.state == "failed"
    # Where what is paid for cannot be written down the claim stays, but its owner does not work any more.
    assert (folder / "upscale.claim").exists() is (trouble is not_writable)

    # So the next run starts at once.
    segmind_emulator.faults.clear()
    if trouble is unreadable:
        (folder / "upscale.manifest.jsonl").unlink()
    assert run_tasks(dag_of(folder, items)).state == "success"


def test_a_deferred_batch_keeps_its_claim_until_it_ends(segmind_emulator, images, folder, monkeypatch):
    claims, original = [], Claims.take

    def take(self, **named):
        claim = original(self, **named)
        claims.append(json.loads((folder / "upscale.claim").read_text()))
        return claim

    monkeypatch.setattr(Claims, "take", take)
    run = run_tasks(dag_of(folder, images(2)))
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
def test_whose_claim_counts(segmind_emulator, images, folder, monkeypatch, working, seconds, refused):
    """What Airflow says of the owner decides; where it says nothing, the time that the claim states."""
    asked = []

    def is_working(context, owner):
        asked.append(owner)
        return working

    monkeypatch.setattr(batch, "is_working", is_working)
    folder.mkdir()
    until = time.time() + seconds
    (folder / "upscale.claim").write_text(written(OWNER, until))
    run = run_tasks(dag_of(folder, images(1)))
    assert asked[0] == OWNER
    assert run.state == ("failed" if refused else "success")
    assert segmind_emulator.stats.submits_attempted == (0 if refused else 1)
    if refused:
        assert "another run is working on the batch" in run.log
        assert "batch yesterday upscale -1" in run.log
        assert f"{until:.0f} (epoch seconds) if Airflow does not report its state" in run.log


@needs_airflow_sdk
def test_a_run_that_was_ended_while_it_was_deferred(segmind_emulator, images, folder):
    """Nobody released its claim; Airflow says that it does not work any more."""
    items = images(1)
    ended = run_dag(dag_of(folder, items))
    owner = {**OWNER, "run_id": ended.run_id}
    (folder / "upscale.claim").write_text(written(owner, time.time() + 600))
    run = run_dag(dag_of(folder, items))
    assert run.state == "success", run.log
    assert run.xcom("upscale")["reused"] == 1
    left = Claim.read((folder / "upscale.claim").read_bytes())  # of other items: the next run asks, too
    assert left is not None
    assert left.until <= time.time()


@pytest.mark.parametrize("text", ["", "another run\n1790000000", "[]", '{"owner": {}}'])
def test_a_claim_that_cannot_be_read_does_not_count(segmind_emulator, images, folder, text):
    folder.mkdir()
    (folder / "upscale.claim").write_text(text)
    assert run_tasks(dag_of(folder, images(1))).state == "success"
