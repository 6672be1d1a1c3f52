"""Each stored image makes one asset event with its details: by every operator, after a deferral, and mapped."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, Asset, AssetAlias, AssetAny, task

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.operators.segmind import (
    SegmindBatchOperator,
    SegmindEsrganOperator,
    SegmindRunModelOperator,
    SegmindRunWorkflowOperator,
)
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator
from tests.airflow_env import Run, run_dag
from tests.airflow_versions import asset_events, no_new_try
from tests.buckets import BUCKET, CONN

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_polls")

ALIAS = AssetAlias("upscaled")
STORED = {"uri", "bytes", "sha256", "content_type", "width", "height"}
DETAILS = STORED | {"model", "request_id", "cost", "inputs", "parameters"}


def events_of(run: Run) -> list[tuple[str, Any, list[str], dict[str, Any]]]:
    """The asset events of a run: URI, map index, aliases, extra."""
    found = asset_events(run.dag.dag_id, run.dag_run.run_id)
    return sorted(found, key=lambda event: (event[1], event[0]))


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferrable", "plain"])
def test_a_mapped_run(segmind_emulator, photos, tmp_path, deferrable):
    segmind_emulator.reset(latency=0.5)
    with DAG("asset_mapped", schedule=None) as dag:
        SegmindEsrganOperator.partial(
            task_id="upscale",
            destination=f"file://{tmp_path}/",
            outlets=[ALIAS, Asset("any_image")],
            deferrable=deferrable,
        ).expand(input_path=[f"file://{photos}/{name}" for name in ("cat.jpg", "astronaut.png")])
    run = run_dag(dag)
    assert run.state == "success"
    assert bool(run.deferrals) is deferrable
    expected = []
    for index, name in enumerate(("cat.jpg", "astronaut.png")):
        value = run.xcom("upscale", index)
        [stored] = value["stored"]
        reported = {
            **stored,
            "model": "esrgan",
            "request_id": value["request_id"],
            "cost": 0.005,
            "inputs": [f"file://{photos}/{name}"],
            "parameters": {"scale": 2, "output_format": "jpeg", "quality": 95},
        }
        assert set(reported) - {"similarity", "metadata"} == DETAILS
        expected += [
            ("any_image", index, [], reported),
            (f"file://{tmp_path}/upscale_{index}.jpg", index, ["upscaled"], reported),
        ]
    assert events_of(run) == expected


def test_an_address_is_reported_without_its_secrets(segmind_emulator, photos, tmp_path):
    address = segmind_emulator.add_image(photos / "cat.jpg")
    with DAG("asset_address", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="upscale",
            image=f"{address}?X-Amz-Signature=5ec7e7#top",
            destination=f"file://{tmp_path}/",
            outlets=[ALIAS],
        )
    [(_, _, _, extra)] = events_of(run_dag(dag))
    assert extra["inputs"] == [address]
    assert extra["parameters"]["image"] == address
    assert "5ec7e7" not in str(extra)
    assert segmind_emulator.api_key not in str(extra)


def test_the_asset_has_no_connection_in_its_name(segmind_emulator, photos, bucket):
    with DAG("asset_s3", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="upscale",
            image=segmind_emulator.add_image(photos / "cat.jpg"),
            destination=f"s3://{BUCKET}/large/",
            destination_conn_id=CONN,
            outlets=[ALIAS],
        )
    [(uri, _, _, extra)] = events_of(run_dag(dag))
    assert uri == f"s3://{BUCKET}/large/upscale.jpg"
    assert extra["uri"] == f"s3://{CONN}@{BUCKET}/large/upscale.jpg"  # what ObjectStoragePath opens


def test_taskflow_after_a_deferral(segmind_emulator, photos, tmp_path):
    segmind_emulator.reset(latency=0.7)
    photo = segmind_emulator.add_image(photos / "cat.jpg")
    with DAG("asset_taskflow", schedule=None) as dag:

        @task.segmind(model="esrgan", destination=f"file://{tmp_path}/", deferrable=True, outlets=[ALIAS])
        def upscale():
            return {"image": f"{photo}?sig=5ec7e7", "scale": 4}

        upscale()
    run = run_dag(dag)
    assert run.deferrals
    [(uri, _, _, extra)] = events_of(run)
    assert uri == f"file://{tmp_path}/upscale.jpg"
    assert extra["inputs"] == [photo]
    assert extra["parameters"] == {"image": photo, "scale": 4, "output_format": "jpeg", "quality": 95}


def test_the_transfer(segmind_emulator, photos, tmp_path):
    with DAG("asset_transfer", schedule=None) as dag:
        upscale = SegmindEsrganOperator(task_id="upscale", image=segmind_emulator.add_image(photos / "cat.jpg"))
        SegmindToObjectStorageOperator(
            task_id="store", result=upscale.output, destination=f"file://{tmp_path}/", outlets=[ALIAS]
        )
    run = run_dag(dag)
    [(uri, _, _, extra)] = events_of(run)
    value = run.xcom("store")
    assert uri == f"file://{tmp_path}/store.jpg"
    assert extra == {
        **value["stored"][0],
        "model": "esrgan",
        "request_id": value["request_id"],
        "cost": 0.005,
        "inputs": [value["output"]],
        "parameters": {},
    }


def test_a_workflow_has_an_event_for_each_output(segmind_emulator, photos, tmp_path):
    image = segmind_emulator.add_image(photos / "cat.jpg")
    with DAG("asset_workflow", schedule=None) as dag:
        SegmindRunWorkflowOperator(
            task_id="flow",
            workflow="my-flow",
            inputs={"image": image, "prompt": "a cat"},
            destination=f"file://{tmp_path}/",
            deferrable=True,
            outlets=[ALIAS, Asset("flows")],
        )
    run = run_dag(dag)
    value = run.xcom("flow")
    about = {
        "model": "my-flow",
        "request_id": value["request_id"],
        "cost": value["metrics"]["cost"],
        "inputs": [image],
        "parameters": {"image": image, "prompt": "a cat"},
    }
    photo, caption = value["stored"]
    assert (photo["name"], caption["name"]) == ("upscaled_image", "caption")
    caption_without_pixels = {name: reported for name, reported in caption.items() if reported is not None}
    assert events_of(run) == [
        (caption["uri"], -1, ["upscaled"], caption | about),
        (photo["uri"], -1, ["upscaled"], photo | about),
        ("flows", -1, [], about | {"stored": [photo, caption_without_pixels]}),
    ]


def test_skipped_makes_no_event_of_an_image(segmind_emulator, photos, tmp_path):
    with DAG("asset_skip", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="upscale",
            input_path=f"file://{photos}/cat.jpg",
            destination=f"file://{tmp_path}/",
            skip_existing=True,
            outlets=[ALIAS, Asset("any_image")],
        )
    first = run_dag(dag)
    [stored] = first.xcom("upscale")["stored"]
    assert [event[0] for event in events_of(first)] == ["any_image", stored["uri"]]
    [(uri, _, aliases, extra)] = events_of(run_dag(dag))
    assert (uri, aliases, extra["skipped"], extra["cost"]) == ("any_image", [], True, 0.0)
    assert segmind_emulator.stats.submits_accepted == 1


def test_a_retry_reports_what_the_killed_try_had_stored(segmind_emulator, photos, tmp_path):
    """Airflow sends the events with a success, so the events of a failed try have to be emitted again."""

    def die_once(context: Any, result: Any = None) -> None:
        mark = tmp_path / "died"
        if not mark.exists():
            mark.touch()
            raise RuntimeError("after everything was stored")

    out = tmp_path / "out"
    with DAG("asset_retry", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="upscale",
            image=segmind_emulator.add_image(photos / "cat.jpg"),
            destination=f"file://{out}/",
            outlets=[ALIAS],
            post_execute=die_once,
            retries=1,
            retry_delay=timedelta(0),
        )
    run = run_dag(dag)
    assert (run.state, run.task("upscale").try_number) == ("success", 2)
    [(uri, _, _, extra)] = events_of(run)
    assert uri == f"file://{out}/upscale.jpg"
    assert extra["request_id"] == run.xcom("upscale")["request_id"]
    assert segmind_emulator.stats.submits_accepted == 1


# --- the batch -----------------------------------------------------------------------------------------------------


def _batch(folder: Path, items: list[Any], **arguments: Any) -> DAG:
    with DAG("asset_batch", schedule=None) as dag:
        SegmindBatchOperator(
            task_id="upscale",
            model="esrgan",
            items=items,
            parameters={"output_format": "png"},
            destination=f"file://{folder}",
            outlets=[ALIAS, Asset("batches")],
            **{"retries": 0, "retry_delay": timedelta(0), **arguments},
        )
    return dag


def test_a_batch_reports_what_this_run_stored(segmind_emulator, photos, tmp_path):
    cat, astronaut = (segmind_emulator.add_image(photos / name) for name in ("cat.jpg", "astronaut.png"))
    first = run_dag(_batch(tmp_path, [cat]))
    assert len(events_of(first)) == 2

    run = run_dag(_batch(tmp_path, [cat, {"image": astronaut, "scale": 4}], max_in_flight=1))
    value = run.xcom("upscale")
    assert (value["stored"], value["reused"]) == (2, 1)
    photo, batch = sorted(events_of(run), key=lambda event: event[0] == "batches")
    uri, _, aliases, extra = photo
    assert set(extra) == DETAILS
    assert uri == extra["uri"]
    assert Path(uri.removeprefix("file://")).stat().st_size == extra["bytes"]
    assert (extra["width"], extra["height"], extra["cost"], extra["inputs"]) == (1024, 1024, 0.005, [astronaut])
    assert extra["parameters"] == {"image": astronaut, "scale": 4, "output_format": "png", "quality": 95}
    assert extra["request_id"] == segmind_emulator.requests[-1].request_id
    assert aliases == ["upscaled"]
    numbers = {name: value[name] for name in ("manifest", "total", "stored", "reused", "failed", "errors", "seconds")}
    assert batch[3] == {"model": "esrgan", "parameters": {"output_format": "png"}, "cost": 0.005, "batch": numbers}


@no_new_try
def test_a_batch_reports_what_a_failed_try_had_stored(segmind_emulator, photos, tmp_path):
    good, bad = (segmind_emulator.add_image(photos / "cat.jpg", name=name) for name in ("good.jpg", "bad.jpg"))
    segmind_emulator.faults.add("output", "html", times=1)
    run = run_dag(_batch(tmp_path, [bad, good]))
    assert (run.state, events_of(run)) == ("failed", [])
    again = run.again("upscale")
    assert again.state == "success"
    assert again.xcom("upscale")["reused"] == 1
    stored = {json.loads(line)["stored"][0]["uri"] for line in (tmp_path / "upscale.manifest.jsonl").open()}
    assert len(stored) == 2
    assert {event[0] for event in events_of(again)} == stored | {"batches"}

    # Another run finds everything there.
    assert [event[0] for event in events_of(run_dag(_batch(tmp_path, [bad, good])))] == ["batches"]


def test_more_events_than_airflow_takes_are_refused_before_anything_is_sent(segmind_emulator, tmp_path):
    run = run_dag(_batch(tmp_path, [f"https://images.example/{number}.jpg" for number in range(101)]))
    assert run.state == "failed"
    assert "101 asset events in one call" in run.log
    assert "Set it to 6 or more" in run.log
    assert segmind_emulator.stats.submits_attempted == 0


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"outlets": "upscaled"}, "makes no event; pass a list"),
        ({"outlets": ["upscaled"]}, "'upscaled' makes no event"),
        ({"outlets": [AssetAny(Asset("a"), Asset("b"))]}, "makes no event"),
        ({"outlets": [AssetAlias("{{ ds }}")]}, "does not render the template"),
        ({"outlets": [ALIAS], "destination": None}, "this task stores none; set destination"),
        ({"outlets": [Asset("a")], "destination": None, "wait_for_completion": False}, "there is no image yet"),
    ],
)
def test_outlets_that_make_no_event_are_refused(arguments, message):
    with pytest.raises(SegmindConfigError, match=message):
        SegmindRunModelOperator(
            **{"task_id": "t", "model": "esrgan", "parameters": {"image": "https://x.example/a.png"}}
            | {"destination": "file:///tmp/x/"}
            | arguments
        )


@pytest.mark.parametrize("operator", [SegmindToObjectStorageOperator, SegmindBatchOperator])
def test_the_others_refuse_them_as_well(operator):
    arguments = {"result": {}} if operator is SegmindToObjectStorageOperator else {"model": "esrgan", "items": []}
    with pytest.raises(SegmindConfigError, match="makes no event"):
        operator(task_id="t", destination="file:///tmp/x/", outlets=["upscaled"], **arguments)
