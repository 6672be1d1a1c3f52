"""Runs of a batch over the emulator: deferral, failure, a renamed task, a killed run."""

from __future__ import annotations

import pytest

from airflow_provider_segmind.exceptions import (
    SegmindConfigError,
    SegmindError,
    SegmindStorageError,
    SegmindTimeoutError,
)
from airflow_provider_segmind.execution.batch import BatchRules, BatchRun, Deferred
from airflow_provider_segmind.execution.claim import Claims
from airflow_provider_segmind.execution.folder import FolderStorage
from airflow_provider_segmind.execution.manifest import BatchFolder, read_manifest, write_manifest
from airflow_provider_segmind.execution.options import StorageOptions
from airflow_provider_segmind.execution.store import STORE_KEY
from airflow_provider_segmind.execution.waves import BatchEvent, Limits
from airflow_provider_segmind.protocol.events import event_for
from tests.execution.folders import claims
from tests.execution.tasks import KilledError, Shelf, Store, wants_of


@pytest.fixture
def batch(task, folder):
    """Run a batch's stretch in a process of its own."""

    def run(event=None, *, items=3, task_id="t", run_id="r", works=None, storage=None, **rules):
        wants = wants_of([{**task.body, "quality": 50 + number} for number in range(items)])
        there = folder(task_id, run_id=run_id, is_working=lambda owner: works)
        rules = BatchRules("esrgan", "d r t", Limits(None, 100), timeout=600.0, **rules)
        by_key = {want.record.key: want for want in wants}
        outputs = storage or FolderStorage(
            there._files, task.hook, by_key, StorageOptions(there._files.destination, max_bytes=10**6)
        )
        return BatchRun(task.engine(batch=True), there, outputs, rules, wants).run(event)

    return run


def ended(task, deferred):
    waited = [one.model_copy(update={"event": task.completed(one.request_id)}) for one in deferred.waited]
    return BatchEvent(waited=waited, memory=deferred.memory)


def test_a_batch_defers_and_ends(task, batch, tmp_path):
    deferred = batch()
    assert isinstance(deferred, Deferred)
    assert len(deferred.waited) == 3
    assert claims(tmp_path)
    value = batch(ended(task, deferred))
    assert (value["stored"], value["failed"], value["reused"]) == (3, 0, 0)
    assert claims(tmp_path) == []
    assert not any(key.startswith(STORE_KEY) for key in task.store), "the manifest knows it by now"
    assert task.accepted == 3


def test_the_claim_ends_with_every_exit_but_a_deferral(task, batch, tmp_path):
    def refuse(number):
        raise SegmindConfigError("too many")

    with pytest.raises(SegmindConfigError, match="too many"):
        batch(check_number=refuse)
    assert claims(tmp_path) == []
    task.emulator.faults.add("submit", "status:401")
    with pytest.raises(SegmindError, match="key"):
        batch()
    assert claims(tmp_path) == []
    task.emulator.faults.clear()
    deferred = batch()
    with pytest.raises(SegmindError, match="3 of 3 items failed"):
        batch(ended(task, deferred), storage=Shelf(lambda: SegmindStorageError("full")))
    assert claims(tmp_path) == []
    assert batch()["stored"] == 3
    assert task.accepted == 3


def test_a_renamed_task_does_not_pay_again(task, batch):
    batch(ended(task, batch(task_id="old")), task_id="old")
    value = batch(task_id="new")
    assert (value["stored"], value["reused"], value["metrics"]["cost"]) == (3, 3, 0)
    assert task.accepted == 3


def test_a_batch_is_not_resumed_without_its_manifest(task, batch, tmp_path):
    event = ended(task, batch())
    (tmp_path / "out" / "esrgan" / "t.manifest.jsonl").unlink()
    with pytest.raises(SegmindStorageError, match="was removed"):
        batch(event)


def test_a_batch_is_resumed_only_with_the_items_that_it_started_with(task, batch):
    event = ended(task, batch())
    with pytest.raises(SegmindConfigError, match="items are not the same"):
        batch(event, items=4)


def test_a_failed_row_of_one_worker_does_not_hide_the_request_of_another(task, batch, tmp_path):
    """Worker A's clock is ahead: its manifest has FAILED with a later time; worker B has submitted since (row 12)."""
    deferred = batch(items=1)
    path = tmp_path / "out" / "esrgan" / "t.manifest.jsonl"
    [row] = read_manifest(path.read_text(), where="m").values()
    late = row.model_copy(update={"request_id": None, "submitted_at": None, "counter": row.counter - 1})
    late.failed({"type": "SegmindAuthError"}, at=task.clock.now() + 7200)
    late.counter = row.counter - 1
    path.write_text(write_manifest([late]))
    found = batch(items=1)
    assert [one.request_id for one in found.waited] == [one.request_id for one in deferred.waited]
    assert task.accepted == 1


def test_what_timed_out_is_fetched_by_the_next_run(task, batch):
    deferred = batch(items=1)
    [waited] = deferred.waited
    late = event_for(SegmindTimeoutError("late", request_id=waited.request_id), request_id=waited.request_id)
    event = BatchEvent(waited=[waited.model_copy(update={"event": late})], memory=deferred.memory)
    with pytest.raises(SegmindError, match="1 of 1 items failed"):
        batch(event, items=1)
    found = batch(items=1)
    assert [one.request_id for one in found.waited] == [waited.request_id]
    assert batch(ended(task, found), items=1)["stored"] == 1
    assert task.accepted == 1


def another_run(task):
    """Begin another run of the DAG: its records are its own."""
    task.store, task.try_number, task.began_at = Store(), 0, task.clock.now()
    task.owner = "d tomorrow t -1"


@pytest.mark.parametrize("renamed", [False, True])
def test_what_a_killed_run_has_submitted_is_found_by_the_next_run(task, batch, tmp_path, monkeypatch, renamed):
    """It died between its submits and its manifest: only its claim remains."""

    def killed(*args, **kwargs):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(BatchFolder, "write", killed)
        patch.setattr(Claims, "end", killed)
        with pytest.raises(KilledError):
            batch()
    assert len(claims(tmp_path)) == 1
    assert not list((tmp_path / "out" / "esrgan").glob("*.jsonl"))
    task.emulator.advance(30)
    another_run(task)
    found = batch(run_id="tomorrow", works=False, task_id="new" if renamed else "t")
    assert len(found.waited) == 3
    assert task.accepted == 3


def test_a_run_that_fails_before_its_manifest_is_written_still_writes_it(task, batch, tmp_path, monkeypatch):
    monkeypatch.setattr(BatchRun, "_keep_moving", lambda self, memory: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        batch()
    monkeypatch.undo()
    assert claims(tmp_path) == []
    another_run(task)
    assert len(batch(run_id="tomorrow").waited) == 3
    assert task.accepted == 3


def test_a_batch_without_a_store_searches_the_history_for_requests_that_its_manifest_does_not_have(
    task, batch, tmp_path
):
    batch()
    task.store.clear()
    (tmp_path / "out" / "esrgan" / "t.manifest.jsonl").unlink()
    assert len(batch().waited) == 3
    assert task.accepted == 3
