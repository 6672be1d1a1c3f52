"""The manifest as text and in the folder: every manifest in it is read, and rows are identified by their content."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.execution.manifest import read_manifest, write_manifest
from airflow_provider_segmind.execution.record import State
from tests.execution.folders import NOW, claimed, record
from tests.execution.tasks import wants_of


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
def test_of_several_rows_of_one_want_the_one_with_the_highest_counter_is_read(rows):
    found = read_manifest(write_manifest(rows), where="m")
    assert set(found) == {row.key for row in rows}
    for row in rows:
        assert found[row.key].counter >= row.counter


def test_unknown_fields_of_a_row_are_ignored():
    found = read_manifest(json.dumps({"key": "a", "state": "delivered", "mood": "good"}) + "\n", where="m")
    assert found["a"].state is State.DELIVERED


@pytest.mark.parametrize("line", ["nonsense", "{}", '{"key": "a", "state": "eaten"}', "[]"])
def test_the_error_names_a_line_that_cannot_be_read(line):
    with pytest.raises(SegmindConfigError, match="manifest m, line 2"):
        read_manifest('{"key": "a"}\n' + line + "\n", where="m")


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


def test_an_unreadable_manifest_of_another_task_does_not_stop_a_run(folder, tmp_path, caplog):
    claimed(folder()).write([record("a")])
    (tmp_path / "out/esrgan/other.manifest.jsonl").write_text('{"key": "b"}\nnonsense\n')
    there = folder()
    assert [sorted(rows) for rows in there.read(there.names())] == [["a"], ["b"]]
    assert there.damaged, "what else it stated may be paid for"
    assert "other.manifest.jsonl: line 2" in caplog.text


def test_a_stored_output_that_is_missing_from_the_folder_is_fetched_again(folder, tmp_path):
    [there, missing] = wants_of([{"image": "https://x/a"}, {"image": "https://x/b"}])
    [*_, cut] = wants = [there, missing, *wants_of([{"image": "https://x/c"}])]
    for name, want in zip(("a.png", "b.png", "c.png"), wants, strict=True):
        want.record = record(want.record.key, state=State.DELIVERED, request_id="r", result={"x": 1},
                             stored=[{"uri": f"file://{tmp_path}/{name}", "bytes": 7}])  # fmt: skip
    folder().mark_missing(wants, {"a.png": 7, "c.png": 3})
    assert there.record.state is State.DELIVERED
    assert missing.record.state is cut.record.state is State.COMPLETED


@pytest.mark.parametrize("content", [b"", b" \n", b"\x1f\x8b\x08\xff", '{"key": "\u00e9"}'.encode("latin-1")])
def test_a_truncated_or_binary_manifest_does_not_count_as_missing(folder, tmp_path, content):
    """Its requests are paid for. Another task's manifest does not stop the run."""
    there = claimed(folder())
    there.write([record("a")])
    [path] = tmp_path.rglob("*.manifest.jsonl")
    path.write_bytes(content)
    with pytest.raises(SegmindConfigError, match="Restore it. Or remove it"):
        there.read(there.names())
    path.rename(path.with_name("other.manifest.jsonl"))
    assert there.read(there.names())[0] == {}
    assert there.damaged


def test_an_empty_batch_leaves_no_manifest(folder, tmp_path):
    claimed(folder()).write([])
    assert not list(tmp_path.rglob("*.manifest.jsonl"))


def test_a_process_of_an_earlier_try_does_not_overwrite_a_newer_row(folder):
    there = folder()
    there.claims.take(items="i", until=NOW + 100, now=NOW)
    there.write([record("a", owner="me", counter=2001, request_id="r", state=State.SUBMITTED)])
    there.write([record("a", owner="me", counter=1003, state=State.INTENDED, doubt="lost")])
    assert there.read(there.names())[0]["a"].request_id == "r"
