"""A later try that finds no record, or one that cannot be read: the history is asked before anything is submitted."""

from __future__ import annotations

import pytest

from airflow_provider_segmind.exceptions import SegmindUnknownOutcomeError
from airflow_provider_segmind.execution.single import Submitted
from airflow_provider_segmind.execution.store import STORE_KEY
from airflow_provider_segmind.hooks.segmind import SegmindHook
from tests.execution.tasks import HOUR, Store


@pytest.mark.parametrize("store", [None, Store()], ids=["no store", "cleaned"])
def test_a_later_try_without_a_record_asks_the_history_before_it_submits(task, store):
    first = task.submit()
    task.store = store
    assert task.submit() == first
    assert task.accepted == 1


def test_a_later_try_that_finds_nothing_submits(task):
    task.try_number = 1
    assert isinstance(task.start(), Submitted)
    assert task.clock.slept == []


def test_the_first_try_has_nothing_to_poll_for(task):
    task.hook.submit("esrgan", task.body)  # by another task
    task.store = None
    task.start()
    assert task.accepted == 2
    assert task.emulator.stats.history_reads == 0


def test_what_was_submitted_before_the_run_was_due_is_not_this_tasks(task):
    task.hook.submit("esrgan", task.body)
    task.emulator.advance(HOUR)
    task.began_at, task.try_number = task.clock.now(), 1
    task.start()
    assert task.accepted == 2


def test_a_record_that_cannot_be_read_does_not_count_as_missing(task):
    """Also with the default: an empty history does not show that nothing was submitted (row 19)."""
    task.store[STORE_KEY] = [{"version": 99}]
    with pytest.raises(SegmindUnknownOutcomeError):
        task.start()
    assert task.accepted == 0
    request_id = task.hook.submit("esrgan", task.body).request_id
    assert task.submit() == request_id
    assert task.accepted == 1


@pytest.mark.parametrize("silent", ["history", "asset"])
def test_nothing_is_submitted_while_the_history_is_silent(task, photos, silent):
    cat = (photos / "cat.jpg").read_bytes()
    task.upload, task.identity = cat, {**task.body, "image_sha256": "hash"}
    task.body = {name: value for name, value in task.body.items() if name != "image"}
    task.submit()
    task.emulator.state.wait_for_pixels()  # the emulator reads the image, too
    task.store, task.on_lost_submit = None, "resubmit"
    task.emulator.faults.add(silent, "status:500")
    with pytest.raises(SegmindUnknownOutcomeError, match="did not respond") as caught:
        task.start()
    assert caught.value.retryable
    assert task.accepted == 1


def test_without_a_record_an_upload_is_known_by_the_image_that_was_uploaded(task, photos):
    """Only the vendor remembers the address, and the history names it."""
    cat, dog = ((photos / name).read_bytes() for name in ("cat.jpg", "astronaut.png"))
    body = {name: value for name, value in task.body.items() if name != "image"}
    for image in (dog, cat, dog):
        task.hook.submit("esrgan", {**body, "image": task.hook.upload([image])[0]})
    wanted = task.emulator.requests[1].request_id
    task.body, task.upload, task.try_number = body, cat, 1
    assert task.submit() == wanted
    assert task.accepted == 3


# --- a team (row 15) ------------------------------------------------------------------------------------------------


@pytest.mark.segmind_emulator(team=True)
@pytest.mark.parametrize("order", ["theirs is newer", "theirs is older"])
def test_a_teammates_request_with_the_same_inputs_is_not_ours(task, monkeypatch, order):
    """The list shows the requests of the whole team; one row by its id is found by its owner only."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_MATE", task.emulator.connection_uri.replace(task.emulator.api_key, "SG_" + "b" * 16)
    )
    with SegmindHook("mate") as mate:
        ours = task.submit() if order == "theirs is newer" else None
        mate.submit("esrgan", task.body)
        ours = ours or task.submit()
        task.store = None
        assert task.submit() == ours
        assert task.accepted == 2


@pytest.mark.segmind_emulator(team=True)
def test_a_team_does_not_keep_a_task_from_submitting(task, monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_MATE", task.emulator.connection_uri.replace(task.emulator.api_key, "SG_" + "b" * 16)
    )
    with SegmindHook("mate") as mate:
        theirs = mate.submit("esrgan", task.body).request_id
    task.try_number = 1
    assert task.submit() != theirs
