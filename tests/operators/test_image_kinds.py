"""What ``image`` may be comes from one table, whichever way an image is submitted."""

from __future__ import annotations

import base64

import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.operators.segmind import (
    SegmindBriaIncreaseResolutionOperator,
    SegmindEsrganOperator,
    SegmindNomosUpscalerOperator,
    SegmindRunModelOperator,
)
from airflow_provider_segmind.protocol.data_uris import data_uri
from tests.operators.batch_dag import batch_dag
from tests.task_runner import run_tasks

URL_ONLY = [SegmindEsrganOperator, SegmindBriaIncreaseResolutionOperator]
REFUSED = r"image: must be an http\(s\) URL.*input_path= of Segmind\w+Operator; input_transport="


@pytest.fixture
def text(photos):
    return data_uri((photos / "cat.jpg").read_bytes())


@pytest.mark.parametrize("operator", URL_ONLY)
def test_a_literal_is_refused_when_the_dag_is_parsed(operator, text):
    with pytest.raises(SegmindConfigError, match=REFUSED):
        operator(task_id="t", image=text)
    with pytest.raises(SegmindConfigError, match=REFUSED):
        SegmindRunModelOperator(task_id="t", model=operator.model, parameters={"image": text})


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("operator", URL_ONLY)
def test_a_rendered_one_is_refused_before_the_submit(airflow_db, segmind_emulator, text, operator, deferrable):
    with DAG("rendered", schedule=None, user_defined_macros={"text": text}) as dag:
        operator(task_id="t", image="{{ text }}", deferrable=deferrable, retries=2)
        SegmindRunModelOperator(task_id="r", model=operator.model, parameters={"image": "{{ text }}"}, retries=2)

        @task.segmind(model=operator.model, deferrable=deferrable, retries=2)
        def upscale():
            return {"image": text}

        upscale()
    run = run_tasks(dag)
    for name in ("t", "r", "upscale"):
        assert run.states()[name] == ["failed"]
        assert run.task(name).try_number == 1
    assert run.log.count("must be an http(s) URL") >= 3
    assert segmind_emulator.stats.submits_attempted == 0


def test_an_item_of_a_batch_is_refused_before_any_submit(segmind_emulator, photos, tmp_path, text):
    url = segmind_emulator.add_image(photos / "cat.jpg")
    run = run_tasks(batch_dag(tmp_path, [url, text], model="bria-increase-resolution"))
    assert run.state == "failed"
    assert "item 1: parameters of bria-increase-resolution: image: must be an http(s) URL" in run.log
    assert segmind_emulator.stats.submits_attempted == 0


@pytest.mark.parametrize("slug", ["esrgan", "bria-increase-resolution"])
def test_the_hook_and_the_emulator_agree(segmind_emulator, text, slug):
    from airflow_provider_segmind.exceptions import SegmindInvalidRequestError
    from airflow_provider_segmind.protocol import calls

    with SegmindHook() as hook:
        with pytest.raises(SegmindConfigError, match=REFUSED):
            hook.submit(slug, {"image": text})
        assert segmind_emulator.stats.submits_attempted == 0
        with pytest.raises(SegmindInvalidRequestError, match="Invalid value for image: must be a URL"):
            hook.get_conn().send(calls.submit(slug, {"image": text}))


@pytest.mark.parametrize("way", ["operator", "run model", "decorator", "batch"])
def test_what_is_sent_is_the_canonical_spelling(airflow_db, segmind_emulator, quick_polls, photos, tmp_path, text, way):
    content = (photos / "cat.jpg").read_bytes()
    image = "data:image/png;charset=utf-8;base64,\n" + base64.encodebytes(content).decode().replace("/", "_")
    if way == "batch":  # two spellings of one image are one item
        dag = batch_dag(
            tmp_path, [{"image": image}, {"image": base64.b64encode(content).decode()}], model="nomos-upscaler"
        )
    else:
        with DAG("canonical", schedule=None) as dag:
            if way == "operator":
                SegmindNomosUpscalerOperator(task_id="t", image=image)
            elif way == "run model":
                SegmindRunModelOperator(task_id="t", model="nomos-upscaler", parameters={"image": image})
            else:
                task.segmind(model="nomos-upscaler", task_id="t")(lambda: {"image": image})()
    assert run_tasks(dag).state == "success"
    [request] = segmind_emulator.requests
    assert request.parameters["image"] == text
