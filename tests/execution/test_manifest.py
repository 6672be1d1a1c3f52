"""A batch's folder: every manifest in it is read, its rows are known by their content, and its claim ends."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segmind.exceptions import (
    SegmindConfigError,
    SegmindError,
    SegmindStorageError,
    SegmindTimeoutError,
)
from airflow_provider_segmind.execution.batch import BatchRules, BatchRun, Deferred
from airflow_provider_segmind.execution.claim import Claims
from airflow_provider_segmind.execution.folder import FolderStorage, StorageFolder
from airflow_provider_segmind.execution.instance import Instance
from airflow_provider_segmind.execution.manifest import BatchFolder, read_manifest, write_manifest
from airflow_provider_segmind.execution.record import RequestRecord, State
from airflow_provider_segmind.execution.store import STORE_KEY
from airflow_provider_segmind.execution.waves import BatchEvent, Limits
from airflow_provider_segmind.protocol.events import event_for
from tests.execution.tasks import KilledError, Shelf, Store, wants_of

NOW = 1_800_000_000.0


def record(key="a", **fields):
    return RequestRecord(key=key, **fields)


# --- as text --------------------------------------------------------------------------------------------------------


def test_a_manifest_survives_writing_and_reading():
    there = [record(index=0, item={"image": "x"}), record("b", request_id="r", submitted_at=NOW)]
    there[1].failed({"type": "SegmindTimeoutError", "retryable": True}, at=NOW)
    text = write_manifest(there)
    assert text.count("\n") == 2
    assert list(read_manifest(text, where="m").values()) == there


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b"])
def test_a_line_separator_inside_a_text_does_not_cut_a_row(separator):
    there = record(item={"prompt": f"one{separator}two"})
    assert read_manifest(write_manifest([there]), where="m") == {"a": there}


@given(st.lists(st.builds(record, st.sampled_from("abc"), counter=st.integers(0, 3), state=st.sampled_from(State))))
def test_of_several_rows_of_one_want_the_one_that_counts_highest_is_read(rows):
    found = read_manifest(write_manifest(rows), where="m")
    assert set(found) == {row.key for row in rows}
    for row in rows:
        assert found[row.key].counter >= row.counter


def test_unknown_fields_of_a_row_are_ignored():
    found = read_manifest(json.dumps({"key": "a", "state": "delivered", "mood": "good"}) + "\n", where="m")
    assert found["a"].state is State.DELIVERED


@pytest.mark.parametrize("line", ["nonsense", "{}", '{"key": "a", "state": "eaten"}', "[]"])
def test_a_line_that_cannot_be_read_is_named(line):
    with pytest.raises(SegmindConfigError, match="manifest m, line 2"):
        read_manifest('{"key": "a"}\n' + line + "\n", where="m")


# --- the folder (row 9) ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(airflow_db, tmp_path):
    """Make the folder of a task."""

    def made(task_id="t", map_index=-1, *, run_id="r", try_number=1, is_working=lambda owner: None):
        files = StorageFolder(f"file://{tmp_path}/out/{{model}}", conn_id=None, model="esrgan")
        return BatchFolder(files, Instance("d", run_id, task_id, map_index, try_number), is_working)

    return made


def claimed(there):
    """Take the claim of a folder, as a run does before anything else."""
    there.claims.take(items="i", until=NOW + 100, now=NOW)
    return there


def test_every_manifest_in_the_folder_is_read(folder):
    """A task that was renamed, and a chunk that moved to another map index, find what is there."""
    claimed(folder("t", 0)).write([record("a", state=State.DELIVERED, counter=3), record("b", state=State.SUBMITTED)])
    claimed(folder("t", 1)).write([record("c", state=State.DELIVERED)])
    old = [record("a", state=State.FAILED, counter=2), record("b", counter=1001, request_id="r")]
    claimed(folder("old-name")).write(old)
    renamed = folder("new-name")
    found = renamed.read(renamed.names())
    assert [{key: row.state for key, row in rows.items()} for rows in found] == [
        {},
        {"a": State.FAILED, "b": State.WAITING},
        {"a": State.DELIVERED, "b": State.SUBMITTED},
        {"c": State.DELIVERED},
    ]
    assert not renamed.has_manifest


def test_rows_of_an_earlier_run_stay_in_the_manifest(folder):
    claimed(folder()).write([record("a"), record("b")])
    claimed(folder()).write([record("b", counter=1), record("c")])
    there = folder()
    assert there.has_manifest
    [own] = there.read(there.names())
    assert {key: row.counter for key, row in own.items()} == {"b": 1, "c": 0, "a": 0}


def test_a_manifest_of_another_task_that_cannot_be_read_stops_nobody(folder, tmp_path, caplog):
    claimed(folder()).write([record("a")])
    (tmp_path / "out/esrgan/other.manifest.jsonl").write_text('{"key": "b"}\nnonsense\n')
    there = folder()
    assert [sorted(rows) for rows in there.read(there.names())] == [["a"], ["b"]]
    assert there.damaged, "what else it stated may be paid for"
    assert "other.manifest.jsonl, line 2" in caplog.text


def test_a_stored_output_that_is_not_in_the_folder_any_more_is_fetched_again(folder, tmp_path):
    [there, missing] = wants_of([{"image": "https://x/a"}, {"image": "https://x/b"}])
    [*_, cut] = wants = [there, missing, *wants_of([{"image": "https://x/c"}])]
    for name, want in zip(("a.png", "b.png", "c.png"), wants, strict=True):
        want.record = record(want.record.key, state=State.DELIVERED, request_id="r", result={"x": 1},
                             stored=[{"uri": f"file://{tmp_path}/{name}", "bytes": 7}])  # fmt: skip
    folder().mark_missing(wants, {"a.png": 7, "c.png": 3})
    assert there.record.state is State.DELIVERED
    assert missing.record.state is cut.record.state is State.COMPLETED


@pytest.mark.parametrize("content", [b"", b" \n", b"\x1f\x8b\x08\xff", '{"key": "\u00e9"}'.encode("latin-1")])
def test_a_manifest_that_was_cut_or_is_not_a_text_is_not_taken_for_none(folder, tmp_path, content):
    """What it knew is paid for. Of another task's it says nothing."""
    there = claimed(folder())
    there.write([record("a")])
    [path] = tmp_path.rglob("*.manifest.jsonl")
    path.write_bytes(content)
    with pytest.raises(SegmindConfigError, match="Restore it, or remove it"):
        there.read(there.names())
    path.rename(path.with_name("other.manifest.jsonl"))
    assert there.read(there.names())[0] == {}
    assert there.damaged


def test_an_empty_batch_leaves_no_manifest(folder, tmp_path):
    claimed(folder()).write([])
    assert not list(tmp_path.rglob("*.manifest.jsonl"))


# --- the claim (row 13) ---------------------------------------------------------------------------------------------


def test_another_run_is_refused_as_long_as_the_claim_holds(folder):
    folder(run_id="first").claims.take(items="i", until=NOW + 100, now=NOW)
    with pytest.raises(SegmindConfigError, match=rf"d first t -1.*{NOW + 100:.0f}"):
        folder(run_id="second").claims.take(items="i", until=NOW + 200, now=NOW + 99)
    folder(run_id="first").claims.take(items="i", until=NOW + 300, now=NOW + 99, goes_on=True)  # its own next wave
    folder(run_id="second").claims.take(items="i", until=NOW + 900, now=NOW + 301)


@pytest.mark.parametrize(("works", "refused"), [(True, True), (False, False), (None, True)])
def test_a_claim_ends_with_its_owner(folder, works, refused):
    """Marked failed while it was deferred, or killed: Airflow says that it does not work any more."""
    asked = []
    folder(run_id="first").claims.take(items="i", until=NOW + 100, now=NOW)
    second = folder(run_id="second", is_working=lambda owner: asked.append(owner) or works)
    if refused:
        with pytest.raises(SegmindConfigError, match="another run works on"):
            second.claims.take(items="i", until=NOW + 200, now=NOW)
    else:
        second.claims.take(items="i", until=NOW + 200, now=NOW)
    assert asked == [{"dag_id": "d", "run_id": "first", "task_id": "t", "map_index": -1}]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"[]", b'{"owner": 1, "until": 2}', b'{"owner": {}}', b"\xff"])
def test_a_claim_that_cannot_be_read_keeps_nobody_out_and_is_asked_after(folder, tmp_path, content):
    claimed(folder())
    [path] = claims(tmp_path)
    path.write_bytes(content)
    there = claimed(folder(run_id="next"))
    assert there.claims.killed_since(there.names(), NOW) == 0.0


# --- a run over the emulator ----------------------------------------------------------------------------------------


@pytest.fixture
def batch(task, folder):
    """Run a batch's stretch in a process of its own."""

    def run(event=None, *, items=3, task_id="t", run_id="r", works=None, storage=None, **rules):
        wants = wants_of([{**task.body, "quality": 50 + number} for number in range(items)])
        there = folder(task_id, run_id=run_id, is_working=lambda owner: works)
        rules = BatchRules("esrgan", "d r t", Limits(None, 100), timeout=600.0, **rules)
        by_key = {want.record.key: want for want in wants}
        outputs = storage or FolderStorage(there._files, task.hook, by_key, max_bytes=10**6)
        return BatchRun(task.engine(batch=True), there, outputs, rules, wants).run(event)

    return run


def ended(task, deferred):
    waited = [one.model_copy(update={"event": task.completed(one.request_id)}) for one in deferred.waited]
    return BatchEvent(waited=waited, memory=deferred.memory)


def claims(tmp_path):
    return list((tmp_path / "out" / "esrgan").glob("*.claim"))


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


def test_a_renamed_task_pays_for_nothing_again(task, batch):
    batch(ended(task, batch(task_id="old")), task_id="old")
    value = batch(task_id="new")
    assert (value["stored"], value["reused"], value["metrics"]["cost"]) == (3, 3, 0)
    assert task.accepted == 3


def test_a_batch_without_its_manifest_does_not_go_on(task, batch, tmp_path):
    event = ended(task, batch())
    (tmp_path / "out" / "esrgan" / "t.manifest.jsonl").unlink()
    with pytest.raises(SegmindStorageError, match="has gone"):
        batch(event)


def test_a_batch_goes_on_with_the_items_that_it_began_with_only(task, batch):
    event = ended(task, batch())
    with pytest.raises(SegmindConfigError, match="items are others"):
        batch(event, items=4)


def test_a_failed_row_of_one_worker_does_not_hide_the_request_of_another(task, batch, tmp_path):
    """Worker A's clock is ahead: its manifest says FAILED, later; worker B has submitted since (row 12)."""
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
    """It died between its submits and its manifest: nothing but its claim says so."""

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


def test_a_run_that_fails_before_its_manifest_leaves_it_all_the_same(task, batch, tmp_path, monkeypatch):
    monkeypatch.setattr(BatchRun, "_keep_moving", lambda self, memory: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        batch()
    monkeypatch.undo()
    assert claims(tmp_path) == []
    another_run(task)
    assert len(batch(run_id="tomorrow").waited) == 3
    assert task.accepted == 3


def test_a_process_that_has_lost_its_claim_writes_nothing(folder, tmp_path):
    """Airflow took it for dead; another run works on the manifest by now."""
    late = folder(run_id="first")
    late.claims.take(items="i", until=NOW + 100, now=NOW)
    now = folder(run_id="second", is_working=lambda owner: False)
    now.claims.take(items="i", until=NOW + 200, now=NOW)
    now.write([record("a", counter=5)])
    with pytest.raises(SegmindConfigError, match="another run works on"):
        late.write([record("a", counter=9)])
    late.claims.end(now=NOW, manifest_is_complete=True)
    assert now.read(now.names())[0]["a"].counter == 5
    assert claims(tmp_path)


def test_a_process_of_an_earlier_try_does_not_take_back_what_a_later_one_wrote(folder):
    there = folder()
    there.claims.take(items="i", until=NOW + 100, now=NOW)
    there.write([record("a", owner="me", counter=2001, request_id="r", state=State.SUBMITTED)])
    there.write([record("a", owner="me", counter=1003, state=State.INTENDED, doubt="lost")])
    assert there.read(there.names())[0]["a"].request_id == "r"


def test_a_killed_run_is_asked_after_until_a_run_has_the_same_items(folder, tmp_path):
    def run(run_id, items):
        there = folder(run_id=run_id, is_working=lambda owner: False)
        there.claims.take(items=items, until=NOW + 100, now=NOW + 50)
        since = there.claims.killed_since(there.names(), NOW)
        there.claims.end(now=NOW + 60, manifest_is_complete=True)
        return since

    folder(run_id="killed").claims.take(items="a b", until=NOW + 100, now=NOW)
    assert [run("second", "c"), run("third", "d"), run("fourth", "a b"), run("fifth", "a b")] == [NOW, NOW, NOW, None]
    assert claims(tmp_path) == []


def test_clocks_of_two_runs_are_not_compared(folder):
    """The killed run's clock was ahead."""
    folder(run_id="killed").claims.take(items="a", until=NOW + 900, now=NOW + 300)
    there = folder(run_id="next", is_working=lambda owner: False)
    there.claims.take(items="a", until=NOW + 100, now=NOW)
    assert there.claims.killed_since(there.names(), NOW) == NOW + 300


def test_a_process_of_an_earlier_try_does_not_end_the_claim_of_a_later_one(folder, tmp_path):
    early, late = folder(try_number=1), folder(try_number=2)
    claimed(early)
    claimed(late)
    early.claims.end(now=NOW, manifest_is_complete=True)
    assert claims(tmp_path)
    with pytest.raises(SegmindConfigError, match="another run works on"):
        early.write([record("a")])
    with pytest.raises(SegmindConfigError, match="another run works on"):
        claimed(early)


def test_a_mapped_run_does_not_ask_after_its_siblings(folder):
    asked = []
    folder("t", 0).claims.take(items="i", until=NOW + 100, now=NOW)
    there = folder("t", 1, is_working=asked.append)
    there.claims.take(items="i", until=NOW + 100, now=NOW)
    assert there.claims.killed_since(there.names(), NOW) is None
    assert asked == []


def test_a_batch_without_a_store_asks_the_history_for_what_its_manifest_does_not_know(task, batch, tmp_path):
    batch()
    task.store.clear()
    (tmp_path / "out" / "esrgan" / "t.manifest.jsonl").unlink()
    assert len(batch().waited) == 3
    assert task.accepted == 3
