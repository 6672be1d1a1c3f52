"""What OpenLineage's listener and Airflow's hook lineage get. Whole events: tests/e2e/test_lineage.py."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG
from openlineage.client.serde import Serde

from airflow_provider_segmind.decorators.segmind import _SegmindDecoratedOperator
from airflow_provider_segmind.lineage import TaskLineage, object_details, task_lineage
from airflow_provider_segmind.lineage.addresses import asset_uri
from airflow_provider_segmind.lineage.openlineage import MAX_DATASETS, operator_lineage
from airflow_provider_segmind.operators.segmind import (
    SegmindBatchOperator,
    SegmindEsrganOperator,
    SegmindRunModelOperator,
    SegmindRunWorkflowOperator,
)
from airflow_provider_segmind.protocol.urls import canonical_uri, dataset_name
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator
from tests.airflow_versions import lineage_collector
from tests.task_runner import run_tasks

EMPTY_BATCH = {"total": 0, "stored": 0}


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://bucket/a/b.png", ("s3://bucket", "a/b.png")),
        ("s3a://conn@bucket/a/b.png", ("s3://bucket", "a/b.png")),
        ("gcs://bucket/b.png", ("gs://bucket", "b.png")),
        ("s3://bucket/a/", ("s3://bucket", "a/")),
        ("file:///data/a cat.png", ("file", "/data/a cat.png")),
        ("file://conn@/data/a.png", ("file", "/data/a.png")),
        ("https://me:secret@host:8443/a.png?X-Amz-Signature=1#x", ("https://host:8443", "a.png")),
        ("https://host", ("https://host", "/")),
    ],
)
def test_names_of_datasets(uri, name):
    assert dataset_name(uri) == name


def test_storage_providers_name_them_the_same():
    from airflow.providers.amazon.aws.assets.s3 import convert_asset_to_openlineage as s3
    from airflow.providers.common.compat.sdk import Asset
    from airflow.providers.common.io.assets.file import convert_asset_to_openlineage as file

    for convert, uri in ((s3, "s3://bucket/a/b.png"), (file, "file:///data/b.png")):
        dataset = convert(Asset(uri=uri), None)
        assert (dataset.namespace, dataset.name) == dataset_name(uri)


def test_an_object_has_one_name():
    assert canonical_uri("s3://conn@bucket/k?a@b") == "s3://bucket/k?a@b"
    assert asset_uri("file:///tmp/a?b#c.png") == "file:///tmp/a%3Fb%23c.png"
    assert asset_uri("memory://out/a.png") == "memory://out/a.png"


def test_nothing_secret_is_reported():
    secret = "https://me:pa55@host/a.png?sig=5ec7e7"
    found = task_lineage({"model": "m", "request_id": "r"}, {"image": secret, "more": [{"mask": secret}]}, [secret])
    assert found.inputs == ["https://host/a.png"]
    assert "5ec7e7" not in str(found)
    assert "pa55" not in str(found)


def test_an_image_as_text_is_reported_by_its_hash(photos):
    from airflow_provider_segmind.protocol.data_uris import data_uri

    text = data_uri((photos / "cat.jpg").read_bytes())
    found = task_lineage({"model": "esrgan"}, {"image": text}, [text])
    assert found.inputs == []
    assert found.parameters["image"].startswith("sha256:")


def _stored(number: int) -> dict[str, Any]:
    about = {"bytes": 10, "sha256": "ab", "content_type": "image/png", "width": 2, "height": 2}
    return {"uri": f"s3://conn@bucket/day/{number}.png", **about}


@pytest.mark.parametrize("count", [MAX_DATASETS, MAX_DATASETS + 1, 3000])
def test_thousands_are_reported_by_their_folders(count):
    images = [
        object_details(_stored(number), "esrgan", f"r-{number}", 0.005, [f"https://host/{number % 2}/{number}.jpg"], {})
        for number in range(count)
    ]
    inputs = [image["inputs"][0] for image in images]
    reported = operator_lineage(TaskLineage(model="esrgan", inputs=inputs, images=images, batch={"total": count}))
    if count <= MAX_DATASETS:
        assert (len(reported.inputs), len(reported.outputs)) == (count, count)
        assert reported.outputs[3].facets["segmind_image"].inputs == ["https://host/1/3.jpg"]
        return
    assert [(found.namespace, found.name) for found in reported.inputs] == [
        ("https://host", "0/"),
        ("https://host", "1/"),
    ]
    [folder] = reported.outputs
    assert (folder.namespace, folder.name) == ("s3://bucket", "day/")
    assert folder.outputFacets["outputStatistics"].size == 10 * count
    assert folder.outputFacets["outputStatistics"].fileCount == count
    assert len(Serde.to_json(folder)) < 2000


def _facets(operator: Any) -> dict[str, Any]:
    """What the listener would send of an operator that has not finished."""
    reported = operator.get_openlineage_facets_on_complete(None)
    return {
        "inputs": [(found.namespace, found.name) for found in reported.inputs],
        "outputs": [(found.namespace, found.name) for found in reported.outputs],
        "request": {
            name: value
            for name, value in Serde.to_dict(reported.run_facets["segmind_request"]).items()
            if not name.startswith("_") and value not in (None, {})
        },
    }


def test_after_a_failure_what_is_known_is_reported():
    esrgan = SegmindEsrganOperator(task_id="t", input_path="s3://in/a.png", scale="4")
    esrgan.request_id = "r-1"
    parameters = {"scale": 4, "output_format": "jpeg", "quality": 95}
    request = {"model": "esrgan", "requestId": "r-1", "parameters": parameters, "skipped": False}
    assert _facets(esrgan) == {"inputs": [("s3://in", "a.png")], "outputs": [], "request": request}

    broken = SegmindEsrganOperator(task_id="t", image="{{ x }}", scale="{{ y }}")
    broken.image, broken.scale = "https://host/a.png", "a lot"  # as the template would render
    assert _facets(broken)["request"] == {"model": "esrgan", "skipped": False}

    unstored = SegmindEsrganOperator(task_id="t", image="https://host/a.png", destination="{{ x }}")
    unstored.destination = ""  # as the template would render
    assert _facets(unstored)["request"] == {"model": "esrgan", "skipped": False}

    text = SegmindRunModelOperator(task_id="t", model="esrgan", parameters="{{ x }}")
    text.parameters = "{'scale': 4}"
    assert _facets(text)["request"] == {"model": "esrgan", "skipped": False}

    decorated = _SegmindDecoratedOperator(
        task_id="t", model="esrgan", python_callable=lambda: {"image": "https://host/a.png"}
    )
    decorated.request_id = "r-3"  # it has failed in a process that has not called the function
    assert _facets(decorated)["request"] == {"model": "esrgan", "requestId": "r-3", "skipped": False}

    workflow = SegmindRunWorkflowOperator(task_id="t", workflow="my-flow")
    assert _facets(workflow)["request"] == {"model": "my-flow", "skipped": False}

    batch = SegmindBatchOperator(task_id="t", model="esrgan", items=[], destination="file:///tmp/x/")
    assert _facets(batch) == {"inputs": [], "outputs": [], "request": {"model": "esrgan", "skipped": False}}

    transfer = SegmindToObjectStorageOperator(task_id="t", request_id="r-2", destination="file:///tmp/x/")
    assert _facets(transfer)["request"] == {"model": "", "requestId": "r-2", "skipped": False}


def test_without_the_openlineage_package_all_runs():
    """Importing it fails, as if it was not installed. Only the listener's own call needs it."""
    code = """
        import sys

        PACKAGES = ("openlineage", "airflow.providers.openlineage")
        METADATA = ("airflow.providers.openlineage", "airflow.providers.openlineage.get_provider_info")

        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.startswith(PACKAGES) and name not in METADATA:
                    raise ImportError(name)

        sys.meta_path.insert(0, Refuse())
        from airflow_provider_segmind.hooks.segmind import SegmindHook
        from airflow_provider_segmind.lineage import emit, task_lineage
        from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator

        SegmindEsrganOperator(task_id="t", image="https://host/a.png")
        lineage = task_lineage({"model": "esrgan", "output": "https://host/b.png"}, {})
        emit({}, SegmindHook(), [], lineage)
        assert lineage.output_urls == ["https://host/b.png"]
        assert not [name for name in sys.modules if name.startswith(PACKAGES) and name not in METADATA]
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# --- hook lineage ----------------------------------------------------------------------------------------------------


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Airflow's own collector, as it is where a plugin reads it."""
    with lineage_collector(monkeypatch) as found:
        yield found


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferrable", "plain"])
def test_hook_lineage(airflow_db, segmind_emulator, quick_polls, photos, tmp_path, collector, deferrable):
    segmind_emulator.reset(latency=0.5)
    with DAG("hook_lineage", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="upscale",
            input_path=f"file://{photos}/cat.jpg",
            destination=f"file://{tmp_path}/",
            deferrable=deferrable,
            sidecar=True,
        )
    run = run_tasks(dag)
    assert bool(run.deferrals) is deferrable
    found = collector.collected_assets
    assert [info.asset.uri for info in found.inputs] == [f"file://{photos}/cat.jpg"]
    assert [info.asset.uri for info in found.outputs] == [f"file://{tmp_path}/upscale.jpg"]
    assert type(found.outputs[0].context).__name__ == "SegmindHook"


def test_hook_lineage_of_transfer_and_batch(airflow_db, segmind_emulator, quick_polls, photos, tmp_path, collector):
    cat, astronaut = (segmind_emulator.add_image(photos / name) for name in ("cat.jpg", "astronaut.png"))
    with DAG("hook_lineage_others", schedule=None) as dag:
        upscale = SegmindEsrganOperator(task_id="upscale", image=cat)
        store = SegmindToObjectStorageOperator(
            task_id="store", result=upscale.output, destination=f"file://{tmp_path}/"
        )
        store >> SegmindBatchOperator(
            task_id="batch", model="esrgan", items=[f"{astronaut}?sig=5ec7e7"], destination=f"file://{tmp_path}/batch/"
        )
    run = run_tasks(dag)
    left = run.xcom("upscale")["output"]
    [in_batch] = [path for path in (tmp_path / "batch").iterdir() if path.suffix == ".jpg"]
    found = collector.collected_assets
    assert {info.asset.uri for info in found.inputs} == {cat, left, astronaut}
    assert {info.asset.uri for info in found.outputs} == {left, f"file://{tmp_path}/store.jpg", f"file://{in_batch}"}
