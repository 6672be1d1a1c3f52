"""The claim of a batch: one run at a time works on a manifest, and a killed run is detected."""

from __future__ import annotations

import pytest

from airflow_provider_segmind.exceptions import SegmindConfigError
from tests.execution.folders import NOW, claimed, claims, record


def test_another_run_is_refused_as_long_as_the_claim_holds(folder):
    folder(run_id="first").claims.take(items="i", until=NOW + 100, now=NOW)
    with pytest.raises(SegmindConfigError, match=rf"d first t -1.*{NOW + 100:.0f}"):
        folder(run_id="second").claims.take(items="i", until=NOW + 200, now=NOW + 99)
    folder(run_id="first").claims.take(items="i", until=NOW + 300, now=NOW + 99, goes_on=True)  # its own next wave
    folder(run_id="second").claims.take(items="i", until=NOW + 900, now=NOW + 301)


@pytest.mark.parametrize(("works", "refused"), [(True, True), (False, False), (None, True)])
def test_a_claim_ends_with_its_owner(folder, works, refused):
    """Marked failed while it was deferred, or killed: Airflow reports that it is not working any more."""
    asked = []
    folder(run_id="first").claims.take(items="i", until=NOW + 100, now=NOW)
    second = folder(run_id="second", is_working=lambda owner: asked.append(owner) or works)
    if refused:
        with pytest.raises(SegmindConfigError, match="another run is working on the batch"):
            second.claims.take(items="i", until=NOW + 200, now=NOW)
    else:
        second.claims.take(items="i", until=NOW + 200, now=NOW)
    assert asked == [{"dag_id": "d", "run_id": "first", "task_id": "t", "map_index": -1}]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"[]", b'{"owner": 1, "until": 2}', b'{"owner": {}}', b"\xff"])
def test_a_claim_that_cannot_be_read_blocks_no_run_and_counts_as_killed(folder, tmp_path, content):
    claimed(folder())
    [path] = claims(tmp_path)
    path.write_bytes(content)
    there = claimed(folder(run_id="next"))
    assert there.claims.killed_since(there.names(), NOW) == 0.0


def test_a_process_that_has_lost_its_claim_writes_nothing(folder, tmp_path):
    """Airflow took it for dead; another run is working on the manifest by now."""
    late = folder(run_id="first")
    late.claims.take(items="i", until=NOW + 100, now=NOW)
    now = folder(run_id="second", is_working=lambda owner: False)
    now.claims.take(items="i", until=NOW + 200, now=NOW)
    now.write([record("a", counter=5)])
    with pytest.raises(SegmindConfigError, match="another run is working on the batch"):
        late.write([record("a", counter=9)])
    late.claims.end(now=NOW, manifest_is_complete=True)
    assert now.read(now.names())[0]["a"].counter == 5
    assert claims(tmp_path)


def test_a_killed_run_is_searched_for_until_a_run_has_the_same_items(folder, tmp_path):
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
    with pytest.raises(SegmindConfigError, match="another run is working on the batch"):
        early.write([record("a")])
    with pytest.raises(SegmindConfigError, match="another run is working on the batch"):
        claimed(early)


def test_instances_of_a_mapped_task_ignore_each_others_claims(folder):
    asked = []
    folder("t", 0).claims.take(items="i", until=NOW + 100, now=NOW)
    there = folder("t", 1, is_working=asked.append)
    there.claims.take(items="i", until=NOW + 100, now=NOW)
    assert there.claims.killed_since(there.names(), NOW) is None
    assert asked == []
