"""A rolling upgrade: what older versions left in databases and buckets is read by the code of today, and goes on."""

from __future__ import annotations

import asyncio
import json
import time
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_segmind import __version__
from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.execution.claim import Claim
from airflow_provider_segmind.execution.items import wants_of
from airflow_provider_segmind.execution.manifest import read_manifest
from airflow_provider_segmind.execution.record import State
from airflow_provider_segmind.execution.single import Delivered, Prepared, Submitted
from airflow_provider_segmind.execution.store import STORE_KEY, TaskStateRecords
from airflow_provider_segmind.execution.waves import digest_of, read_batch_event
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.operators.segmind import SegmindBatchOperator, SegmindEsrganOperator
from airflow_provider_segmind.protocol.credits import read_credits_event
from airflow_provider_segmind.protocol.events import read_event, read_rate_limit_event
from airflow_provider_segmind.protocol.identity import key_of
from airflow_provider_segmind.protocol.wire import Result
from airflow_provider_segmind.sensors.segmind import SegmindCreditsSensor
from airflow_provider_segmind.storage.paths import object_path
from airflow_provider_segmind.storage.sidecar import find_done
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator
from tests.airflow_versions import through_database
from tests.execution.tasks import Task
from tests.freeze_shapes import BODY, FOLDER, GATEWAY, ID, STORED, Store, shapes

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_polls")

WRITTEN = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
#: What a version to come may add, wherever it likes.
NEWER = {"from_another_version": {"a": [1]}}


def with_more(value: Any) -> Any:
    """Add a key that this version does not know to every object."""
    if isinstance(value, dict):
        return {**{name: with_more(inner) for name, inner in value.items()}, **NEWER}
    return [with_more(inner) for inner in value] if isinstance(value, list) else value


def all_of(part: str) -> list[Any]:
    """Each version's file that has this part, as it is and as a later version may write it."""
    return [
        pytest.param(value, id=name)
        for version, found in WRITTEN.items()
        if part in found
        for name, value in ((version, found[part]), (f"{version} and more", _newer(found[part])))
    ]


def _newer(value: Any) -> Any:
    """Like :func:`with_more`, but for names that are no object's keys: kinds of events, steps of a request."""
    if isinstance(value, list):
        return with_more(value)
    return {name: with_more(inner) for name, inner in value.items()}


def load(classpath: str) -> Any:
    room, _, name = classpath.rpartition(".")
    return getattr(import_module(room), name)


def fire(trigger: Any) -> dict[str, Any]:
    async def collect() -> Any:
        return [event.payload async for event in trigger.run()]

    [payload] = asyncio.run(collect())
    return dict(json.loads(json.dumps(payload)))


@pytest.fixture
def submitted(segmind_emulator, photos):
    """A request that the gateway knows, in place of the one in the files; its input, too."""
    image = segmind_emulator.add_image(photos / "cat.jpg")
    with SegmindHook() as hook:
        found = SimpleNamespace(id=hook.submit("esrgan", {"image": image}).request_id, image=image)
    segmind_emulator.state.wait_for_pixels()
    return found


def alive(value: Any, request_id: str) -> Any:
    """Put a request that is known today, and times of today, in place of the made-up ones."""
    text = json.dumps(value).replace(ID, request_id)
    shift = time.time() - 1_790_000_000.5

    def moved(number: str) -> float:
        return float(number) + (shift if 1.78e9 < float(number) < 1.8e9 else 0.0)

    return json.loads(text, parse_float=moved)


# --- what is frozen ---------------------------------------------------------------------------------------------


def test_what_is_written_today_has_the_shapes_of_its_version():
    """A version that is out does not change its shapes any more; one that is not has no file yet."""
    frozen = WRITTEN.get(__version__)
    if frozen is not None:
        today = json.loads(json.dumps(shapes(__version__)))
        frozen["sidecar"]["stored_at"] = today["sidecar"]["stored_at"]
        assert today == frozen, (
            "a new shape belongs to a new version, see RELEASING.md; before its release: make freeze"
        )


def test_a_request_is_recognised_as_the_same():
    """Were the key made in another way, no record would be found again, and each would be paid for twice."""
    assert WRITTEN
    for found in WRITTEN.values():
        for [record] in found["records"].values():
            assert record["key"] == key_of("esrgan", BODY, GATEWAY)
        batch = found["batch"]
        assert [key_of("esrgan", body, GATEWAY) for body in batch["bodies"]] == batch["keys"]


# --- triggers and events ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("triggers", all_of("triggers"))
def test_every_trigger_is_made_again_with_all_that_it_carried(triggers):
    for trigger in triggers:
        known = {name: value for name, value in trigger["kwargs"].items() if name not in NEWER}
        made = load(trigger["classpath"])(**through_database(trigger["kwargs"]))
        path, kwargs = made.serialize()
        assert path == trigger["classpath"]
        assert {name: kwargs[name] for name in known} == known


@pytest.mark.parametrize("triggers", all_of("triggers"))
def test_a_wait_goes_on_to_its_end(triggers, submitted):
    waits = [found for found in triggers if found["classpath"].endswith(("RequestTrigger", "BatchTrigger"))]
    for trigger in waits:
        kwargs = alive(trigger["kwargs"], submitted.id)
        soon = {name: 0.0 for name in ("resume_at", "not_before") if name in kwargs}
        made = load(trigger["classpath"])(**through_database({**kwargs, **soon, "poll_interval": 0.25}))
        event = fire(made)
        if event["kind"] == "batch":
            [event] = [waited["event"] for waited in event["waited"]]
        assert event["kind"] == "completed"
        assert event["request_id"] == submitted.id


@pytest.mark.parametrize("events", all_of("events"))
def test_every_event_is_read(events):
    for kind, payload in events.items():
        if kind == "rate_limit":
            assert read_rate_limit_event(payload).returns == 1
        elif kind == "credits":
            assert SegmindCreditsSensor(task_id="wait", at_least=10).execute_complete({}, payload) == 12.5
            assert read_credits_event(payload).balance == 12.5
        elif kind == "batch":
            [waited] = read_batch_event(payload).waited
            assert waited.event.kind == "completed"
        elif kind in ("completed", "fetch"):
            assert read_event(payload, request_id=ID).input_size == (600, 400)
        else:
            with pytest.raises(SegmindError, match="what happened") as found:
                read_event(payload, request_id=ID)
            assert type(found.value).__name__ == payload["error"]["type"]


def context_of(store: Store, **more: Any) -> Any:
    ti = SimpleNamespace(
        max_tries=1, try_number=2, task_id="x2", dag_id="d", run_id="r", map_index=-1, xcom_push=lambda **_: None
    )
    return {"task_state_store": store, "ti": ti, **more}


@pytest.mark.parametrize("events", all_of("events"))
def test_a_task_is_resumed_by_an_older_event(events, submitted):
    for kind in ("completed", "fetch"):
        task = SegmindEsrganOperator(task_id="x2", image=submitted.image)
        event = alive(events[kind], submitted.id)
        value = task.execute_complete(context_of(Store()), event, request_id=submitted.id)
        assert value["request_id"] == submitted.id
        assert value["status"] == "COMPLETED"


# --- request records --------------------------------------------------------------------------------------------


@pytest.fixture
def task(segmind_emulator, submitted):
    """A task that wants what the files are about, in a later try."""
    made = Task(segmind_emulator, submitted.image)
    made.body = made.identity = BODY
    made.try_number = 1
    yield made
    made.hook.close()


def taken_up(task, records, step, request_id):
    """Start a try of a task whose store holds what was left after this step."""
    task.store.update({STORE_KEY: alive(records[step], request_id)})
    run = task.run(want=Prepared(BODY, BODY).want("esrgan", GATEWAY))
    return run.start(deadline=task.clock.now() + 600)


@pytest.mark.parametrize("records", all_of("records"))
@pytest.mark.parametrize(
    ("step", "found"),
    [("submitted", Submitted), ("completed", Delivered), ("refused", Delivered), ("delivered", Delivered)],
)
def test_a_record_is_taken_up_where_it_stands(records, step, found, task, submitted):
    value = taken_up(task, records, step, submitted.id)
    assert isinstance(value, found)
    shown = value.value if isinstance(value, Delivered) else {"request_id": value.request_id}
    assert shown["request_id"] == submitted.id
    assert shown.get("stored", [{}])[0].get("sha256") in (None, STORED["sha256"])
    assert task.accepted == 1


@pytest.mark.parametrize("records", all_of("records"))
def test_an_unknown_outcome_stays_one(records, task, submitted):
    """Its response was lost, and nobody knows such a request: nothing is paid."""
    with pytest.raises(SegmindError, match="the request history does not show the submit"):
        taken_up(task, records, "intended", submitted.id)
    assert task.accepted == 1


@pytest.mark.parametrize("records", all_of("records"))
@pytest.mark.parametrize("step", ["responded with an error", "closed"])
def test_what_ended_is_submitted_again(records, step, task, submitted):
    """Of the 5xx the history knows nothing; after the success a new want begins."""
    found = taken_up(task, records, step, submitted.id)
    assert isinstance(found, Submitted)
    assert found.request_id != submitted.id
    assert task.accepted == 2


# --- results, and the files beside the stored images ------------------------------------------------------------


@pytest.mark.parametrize("part", ["xcom", "xcom of a workflow"])
def test_an_xcom_is_read(part):
    for found in (found[part] for found in WRITTEN.values() if part in found):
        known = {name: value for name, value in found.items() if name != "stored"}
        assert Result.model_validate({**found, **NEWER}).to_xcom() == known


@pytest.mark.parametrize("xcom", all_of("xcom"))
def test_an_older_xcom_is_stored_by_the_transfer(xcom, submitted, segmind_emulator, tmp_path):
    with SegmindHook() as hook:
        url = hook.get_result(submitted.id, model="esrgan").output
    value = json.loads(json.dumps(xcom).replace(xcom["output"], url))
    task = SegmindToObjectStorageOperator(task_id="x2", destination=f"file://{tmp_path}/", result=value)
    [stored] = task.execute(context_of(Store()))["stored"]
    assert stored["bytes"] == (tmp_path / "x2.jpg").stat().st_size > 0


@pytest.mark.parametrize("sidecar", [found["sidecar"] for found in WRITTEN.values() if "sidecar" in found])
def test_an_older_sidecar_spares_the_image(sidecar, tmp_path):
    (tmp_path / "x2.jpg").write_bytes(b"1234567")
    (tmp_path / "x2.jpg.json").write_text(json.dumps(with_more(sidecar)))
    found = find_done(object_path(f"file://{tmp_path}/x2.jpg", None), sidecar["fingerprint"])
    assert found is not None
    assert found["request_id"] == ID
    assert found["stored"][0]["sha256"] == STORED["sha256"]


@pytest.mark.parametrize("batch", [found["batch"] for found in WRITTEN.values() if "batch" in found])
def test_an_older_manifest_its_records_and_its_claim_are_read(batch):
    lines = [json.dumps(with_more(json.loads(line))) for line in batch["manifest"].splitlines()]
    rows = read_manifest("\n".join(lines), where="here")
    assert list(rows) == batch["keys"]
    assert [row.state for row in rows.values()] == [State.SUBMITTED, State.DELIVERED, State.FAILED]
    store = Store({key: with_more(value) for key, value in batch["records"].items()})
    assert list(TaskStateRecords(store, batch=True).read()) == batch["keys"][:1]
    claim = Claim.read(json.dumps(with_more(batch["claim"])).encode())
    assert claim is not None
    assert claim.owner
    assert claim == Claim.read(json.dumps(batch["claim"]).encode())


@pytest.mark.parametrize("found", [found for found in WRITTEN.values() if "batch" in found])
def test_a_batch_goes_on_after_an_older_event(found, submitted, tmp_path, segmind_emulator):
    with SegmindHook() as hook:
        gateway = hook.settings.gateway
        result = hook.get_result(submitted.id, model="esrgan").to_xcom()
    [want] = wants_of("esrgan", [submitted.image], {}, gateway=gateway)
    old, key = found["batch"]["keys"][0], want.record.key
    event = alive(found["events"]["batch"], submitted.id)
    event["waited"][0] |= {"key": key}
    event["waited"][0]["event"]["result"] |= result
    line = alive(json.loads(found["batch"]["manifest"].splitlines()[0]), submitted.id)
    (tmp_path / "x2.manifest.jsonl").write_text(json.dumps(line).replace(old, key) + "\n")
    event["memory"]["items"] = digest_of([key])
    task = SegmindBatchOperator(task_id="x2", model="esrgan", items=[submitted.image], destination=f"file://{tmp_path}")
    value = task.execute_complete(context_of(Store()), event)
    assert (value["stored"], value["failed"]) == (1, 0)
    assert segmind_emulator.stats.submits_accepted == 1
