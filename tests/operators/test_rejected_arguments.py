"""Arguments that are rejected before the submit: a mapped destination of None, numbers out of range."""

from __future__ import annotations

import math

import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.operators.segmind import (
    SegmindBatchOperator,
    SegmindEsrganOperator,
    SegmindNomosUpscalerOperator,
    SegmindRunModelOperator,
)
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator
from tests.operators.batch_dag import batch_dag
from tests.task_runner import run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_polls", "own_rate_limit_files")


# --- a mapped destination --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rendered", [False, True])
def test_a_mapped_destination_of_none_fails_its_map_index(segmind_emulator, images, folder, deferrable, rendered):
    first, second = images(2)
    listing = [{"image": first, "destination": f"file://{folder}/"}, {"image": second, "destination": None}]
    with DAG("mapped_none", schedule=None) as dag:

        @task
        def photos():
            return listing

        partial = SegmindEsrganOperator.partial(task_id="t", deferrable=deferrable, poll_interval=0.25, retries=2)
        partial.expand_kwargs(photos() if rendered else listing)
    run = run_tasks(dag)
    assert run.states()["t"] == ["success", "failed"]
    assert "destination of the mapped task 1 is None: nothing would be stored" in run.log
    assert "leave the argument out to store nothing" in run.log
    assert run.task("t", 1).try_number == 1, "the error is permanent"
    assert segmind_emulator.stats.submits_attempted == 1


def test_a_destination_of_none_for_all_mapped_tasks_fails_them(upscale, segmind_emulator, images):
    run = upscale(destination=None, expand={"image": images(2)})
    assert run.states()["t"] == ["failed", "failed"]
    assert segmind_emulator.stats.submits_attempted == 0


def test_a_mapped_task_without_a_destination_stores_nothing(upscale, segmind_emulator, images, deferrable):
    run = upscale(deferrable=deferrable, expand={"image": images(2)})
    assert run.state == "success"
    assert "stored" not in run.xcom("t", 1)
    assert segmind_emulator.stats.submits_accepted == 2


def test_an_unmapped_task_with_a_destination_of_none_stores_nothing(upscale, segmind_emulator, images):
    [image] = images(1)
    run = upscale(image=image, destination=None)
    assert run.state == "success"
    assert "stored" not in run.xcom("t")


@pytest.mark.parametrize(("arguments", "states"), [({}, ["success"] * 2), ({"destination": None}, ["failed"] * 2)])
def test_the_decorator_distinguishes_none_from_a_missing_destination(segmind_emulator, images, arguments, states):
    with DAG("mapped_taskflow", schedule=None) as dag:

        @task.segmind(model="esrgan", retries=0, **arguments)
        def upscale(image):
            return {"image": image}

        upscale.expand(image=images(2))
    run = run_tasks(dag)
    assert run.states()["upscale"] == states
    assert segmind_emulator.stats.submits_attempted == states.count("success")


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        (SegmindBatchOperator, {"model": "esrgan", "items": ["https://x.example/a.png"]}),
        (SegmindToObjectStorageOperator, {"request_id": "r"}),
    ],
)
def test_a_required_destination_must_not_be_none(segmind_emulator, operator, arguments):
    with DAG("mapped_required", schedule=None) as dag:
        operator.partial(task_id="t", **arguments).expand(destination=[None])
    run = run_tasks(dag)
    assert run.states()["t"] == ["failed"]
    assert "destination: None is not a URI" in run.log
    assert segmind_emulator.stats.submits_attempted == 0


def test_a_mapped_max_bytes_of_none_fails_before_the_submit(segmind_emulator, images, folder):
    """None is the default only if the signature has it; otherwise the image would be billed and could not be stored."""
    [image] = images(1)
    with DAG("mapped_max_bytes", schedule=None) as dag:
        SegmindNomosUpscalerOperator.partial(
            task_id="t", image=image, base64=True, destination=f"file://{folder}/", retries=0
        ).expand(max_bytes=[None])
    run = run_tasks(dag)
    assert run.states()["t"] == ["failed"]
    assert "max_bytes must be a whole number above 0, not None" in run.log
    assert segmind_emulator.stats.submits_attempted == 0


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_remaining_credits": math.nan}, "min_remaining_credits must be a number of 0 or more, not nan"),
        ({"min_remaining_credits": math.inf}, "min_remaining_credits must be"),
        ({"max_in_flight": 2.5}, r"max_in_flight must be a whole number above 0, not 2\.5"),
        ({"max_in_flight": None}, "max_in_flight must be"),
        ({"max_failures": 0.5}, r"max_failures must be a whole number of 0 or more, not 0\.5"),
        ({"max_failures": None}, "max_failures must be"),
        ({"max_failures": True}, "max_failures must be"),
        ({"requests_per_minute": 0.5}, "requests_per_minute must be a whole number"),
        ({"max_bytes": None}, "max_bytes must be a whole number"),
        ({"timeout": None}, "timeout must be a number above 0"),
        ({"lost_submit_wait": math.nan}, "lost_submit_wait must be"),
    ],
)
def test_a_batch_rejects_numbers_out_of_range(folder, arguments, message):
    with pytest.raises(SegmindConfigError, match=message):
        batch_dag(folder, [], **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_remaining_credits": math.nan}, "min_remaining_credits must be a number of 0 or more, not nan"),
        ({"max_bytes": None}, "max_bytes must be a whole number above 0, not None"),
        ({"max_bytes": 0.5}, "max_bytes must be a whole number"),
        ({"max_bytes": math.inf}, "max_bytes must be a whole number"),
        ({"timeout": None}, "timeout must be a number above 0, not None"),
        ({"defer_after": None}, "defer_after must be"),
        ({"lost_submit_wait": None}, "lost_submit_wait must be"),
    ],
)
def test_an_operator_rejects_numbers_out_of_range(arguments, message):
    with pytest.raises(SegmindConfigError, match=message):
        SegmindRunModelOperator(task_id="t", model="echo-model", **arguments)


def test_a_mapped_number_out_of_range_fails_before_the_submit(upscale, segmind_emulator, images):
    [image] = images(1)
    run = upscale(image=image, retries=0, expand={"min_remaining_credits": [math.nan]})
    assert run.states()["t"] == ["failed"]
    assert segmind_emulator.stats.submits_attempted == 0


@pytest.mark.parametrize("value", ["False", "{{ x }}", None, 1, math.nan])
@pytest.mark.parametrize("name", ["deferrable", "wait_for_completion", "durable", "sidecar", "skip_existing"])
def test_a_flag_is_true_or_false(name, value):
    """A text such as "False" would count as True."""
    with pytest.raises(SegmindConfigError, match=f"{name} must be True or False"):
        SegmindRunModelOperator(task_id="t", model="echo-model", destination="file:///tmp/x/", **{name: value})


def test_the_parameters_of_a_batch_that_render_to_text_fail_without_a_retry(segmind_emulator, images, folder):
    run = run_tasks(batch_dag(folder, images(1), parameters="{{ 'scale' }}", retries=2))
    assert run.task("upscale").try_number == 1
    assert "parameters must be a dict, not str" in run.log
    assert segmind_emulator.stats.submits_attempted == 0


@pytest.mark.parametrize("native", [True, False])
def test_a_destination_that_renders_to_nothing_after_the_deferral(segmind_emulator, images, folder, native):
    """The request is billed by then: the error has its id, and a clear with a right destination delivers it."""
    [image] = images(1)
    rendered, none = [], "none" if native else "''"

    def once(value):
        rendered.append(value)
        return value if len(rendered) == 1 else None

    with DAG("forgets", schedule=None, render_template_as_native_obj=native, user_defined_macros={"once": once}) as dag:
        SegmindEsrganOperator(
            task_id="t",
            image=image,
            deferrable=True,
            poll_interval=0.25,
            destination=f"{{{{ once('file://{folder}/') or {none} }}}}",
        )
    run = run_tasks(dag)
    assert run.state == "failed"
    [request] = segmind_emulator.requests
    assert "destination: " in run.log
    assert f"Request {request.request_id}. The request was submitted, and is billed if it completes." in run.log
    assert "Nothing was sent" not in run.log


@pytest.mark.parametrize("name", ["poll_interval", "expected_duration", "queue_timeout", "min_remaining_credits"])
def test_none_is_accepted_if_it_is_the_default(name):
    SegmindRunModelOperator(task_id="t", model="echo-model", **{name: None})
