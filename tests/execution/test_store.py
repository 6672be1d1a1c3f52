"""Request records in Airflow's task state store: what is written where, how long it is kept, and what is not in it."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest

from airflow_provider_segmind.execution.record import RequestRecord, State
from airflow_provider_segmind.execution.store import RETENTION, STORE_KEY, TaskStateRecords
from airflow_provider_segmind.protocol.wire import Result
from airflow_provider_segmind.runtime.task import instance_of, records_of
from tests.execution.tasks import Store

NOW = 1_800_000_000.0


def submitted(key, request_id="r", at=NOW):
    record = RequestRecord(key=key)
    record.intend(at=at, skew=None)
    record.submitted(request_id, at=at + 1)
    return record


def read(store, *, batch=False):
    records = TaskStateRecords(store, batch=batch)
    return records, records.read()


@pytest.mark.parametrize("batch", [False, True])
def test_what_is_put_is_read_by_the_next_process(batch):
    store, left = Store(), submitted("a1")
    TaskStateRecords(store, batch=batch).put([left])
    records, found = read(store, batch=batch)
    assert found == {"a1": left}
    assert records.available
    assert not records.unreadable


def test_a_record_outlives_the_output_at_segmind():
    store = Store()
    TaskStateRecords(store).put([submitted("a1")])
    assert store.retention == RETENTION
    assert timedelta(days=7) < RETENTION


def test_a_task_keeps_the_records_of_the_parameters_that_it_had_before():
    store = Store()
    records = TaskStateRecords(store)
    for number in range(6):
        records.put([submitted(f"{number}", at=NOW + number)])
    assert sorted(read(store)[1]) == ["2", "3", "4", "5"]


def test_a_write_of_a_batch_is_small():
    """Each response is written as it arrives: not ten thousand records each time."""
    store = Store()
    records = TaskStateRecords(store, batch=True)
    records.put(submitted(f"{number % 16:x}{number}") for number in range(160))
    assert set(store) == {f"{STORE_KEY}_{digit:x}" for digit in range(16)}
    assert all(len(value) == 10 for value in store.values())
    written = []
    store.set = lambda key, value, retention=None: written.append((key, len(value)))
    records.put([submitted("a-new")])
    assert written == [(f"{STORE_KEY}_a", 11)]


def test_an_item_stands_in_the_manifest_only():
    store, record = Store(), submitted("a1")
    record.item = {"image": "https://example.com/cat.jpg"}
    TaskStateRecords(store, batch=True).put([record])
    assert "example.com" not in str(store)
    assert record.item


def test_what_is_kept_elsewhere_is_dropped():
    store = Store()
    records = TaskStateRecords(store, batch=True)
    records.put([submitted("a1"), submitted("a2"), submitted("b1")])
    records.forget([submitted("a1"), submitted("b1"), submitted("c1")])
    assert list(read(store, batch=True)[1]) == ["a2"]
    assert f"{STORE_KEY}_b" not in store


def test_a_record_that_cannot_be_read_hides_no_other():
    store = Store()
    TaskStateRecords(store, batch=True).put([submitted("a1"), submitted("a2", "r-2")])
    store[f"{STORE_KEY}_a"][0]["state"] = "eaten"
    records, found = read(store, batch=True)
    assert records.unreadable
    assert [record.request_id for record in found.values()] == ["r-2"]


@pytest.mark.parametrize("value", ["nonsense", {"version": 99}, [{"version": 99, "key": "a"}], [None], 7])
def test_a_value_that_cannot_be_read_is_not_taken_for_none(value):
    records, found = read(Store({STORE_KEY: value}))
    assert records.unreadable
    assert found == {}


def test_without_a_store_nothing_is_kept_between_tries():
    records, found = read(None)
    records.put([submitted("a1")])
    assert (records.available, records.unreadable, found) == (False, False, {})


def test_not_durable_remembers_nothing():
    store = Store()
    records = records_of({"task_state_store": store}, durable=False)
    records.put([submitted("a1")])
    assert store == {}
    assert not records.available


def test_a_record_is_small_whatever_the_output():
    store, record = Store(), submitted("a1")
    record.completed(Result(request_id="r", model="esrgan", inline="A" * 1_000_000))
    TaskStateRecords(store).put([record])
    assert len(str(store)) < 2000
    assert read(store)[1]["a1"].state is State.COMPLETED


@pytest.mark.parametrize(
    ("more", "ran_before"),
    [
        ({"try_number": 1}, False),
        ({"try_number": 2}, True),
        # Airflow 3.2 ran a retry as the first try, with the XComs of the real one there.
        ({"try_number": 1, "_ti_context_from_server": SimpleNamespace(xcom_keys_to_clear=["request_id"])}, True),
        ({"try_number": 1, "_ti_context_from_server": SimpleNamespace(xcom_keys_to_clear=[])}, False),
    ],
)
def test_an_earlier_process_is_known_by_the_try_or_by_what_it_pushed(more, ran_before):
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, **more)
    assert instance_of({"ti": ti}).ran_before is ran_before
