"""Arguments of operators: checks at the import, checks after rendering, mapping and links."""

from __future__ import annotations

import inspect
from dataclasses import fields
from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import DAG, XComArg, task

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.execution.options import (
    BatchOptions,
    InputOptions,
    StorageOptions,
    SubmitOptions,
    WaitOptions,
    is_final,
)
from airflow_provider_segmind.operators.segmind import (
    SegmindBatchOperator,
    SegmindBriaIncreaseResolutionOperator,
    SegmindEsrganOperator,
    SegmindNomosUpscalerOperator,
    SegmindRunModelOperator,
    SegmindRunWorkflowOperator,
)
from airflow_provider_segmind.protocol.models import MODELS
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator
from tests.task_runner import run_tasks

URL = "https://www.segmind.com/butterfly.png"
UPSCALERS = [SegmindEsrganOperator, SegmindNomosUpscalerOperator, SegmindBriaIncreaseResolutionOperator]


@pytest.mark.parametrize("operator", UPSCALERS)
def test_an_operator_has_the_parameters_of_its_models_page(operator):
    page = operator.parameters_of.model_fields
    signature = inspect.signature(operator).parameters
    own = {name: signature[name].default for name in page if name != "image"}
    defaults = {name: field.default for name, field in page.items() if name != "image"}
    chosen = operator.parameters_of.format_parameter
    assert own == defaults | ({chosen: None} if chosen else {}), "the destination's extension selects the format"
    assert set(page) <= set(operator.template_fields)
    assert operator.parameters_of is MODELS[operator.parameters_of.slug]


OPTIONS = (WaitOptions, SubmitOptions, StorageOptions, InputOptions, BatchOptions)
PUBLIC = [
    *UPSCALERS,
    SegmindRunModelOperator,
    SegmindRunWorkflowOperator,
    SegmindBatchOperator,
    SegmindToObjectStorageOperator,
]


@pytest.mark.parametrize("operator", PUBLIC)
def test_a_signature_has_the_defaults_of_the_options(operator):
    signature = inspect.signature(operator).parameters
    for options in OPTIONS:
        for option in fields(options):
            if option.name in signature and option.name not in ("destination", "deferrable"):
                assert signature[option.name].default == option.default, option.name


@pytest.mark.parametrize("operator", [*UPSCALERS, SegmindRunModelOperator, SegmindRunWorkflowOperator])
def test_a_signature_shows_every_argument(operator):
    signature = inspect.signature(operator).parameters
    groups = OPTIONS[:4] if operator in UPSCALERS else OPTIONS[:3]
    of_images = {"keep_metadata"} if operator is SegmindRunWorkflowOperator else set()
    assert {option.name for options in groups for option in fields(options)} - of_images <= set(signature)


@pytest.mark.parametrize("operator", PUBLIC)
def test_every_argument_is_documented_once(operator):
    """In the operator's docstring, or in that of the options which it names."""
    docs = [operator.__doc__, *(options.__doc__ for options in OPTIONS if options.__name__ in operator.__doc__)]
    for name, parameter in inspect.signature(operator).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert sum(f":param {name}:" in text for text in docs) >= 1, name


@pytest.mark.parametrize(
    ("operator", "arguments", "message"),
    [
        (SegmindEsrganOperator, {"image": URL, "scale": 3}, "scale"),
        (SegmindEsrganOperator, {"image": "/etc/passwd"}, "input_path="),
        (SegmindEsrganOperator, {"image": "{{ x }}", "quality": 5}, "quality"),
        (SegmindEsrganOperator, {}, "exactly one of image= and input_path="),
        (SegmindEsrganOperator, {"image": URL, "input_path": "file:///x"}, "exactly one of"),
        (SegmindEsrganOperator, {"image": URL, "parameters": {}}, "has an argument for each parameter"),
        (SegmindEsrganOperator, {"input_path": "file:///x", "output_format": "gif"}, "output_format"),
        (SegmindEsrganOperator, {"image": URL, "destination": "/data/out.png"}, "destination: .* is not a URI"),
        (SegmindEsrganOperator, {"input_path": "/data/in.png"}, "input_path: .* is not a URI"),
        (SegmindEsrganOperator, {"image": URL, "timeout": 0}, "timeout"),
        (SegmindEsrganOperator, {"image": URL, "timeout": float("nan")}, "timeout"),
        (SegmindEsrganOperator, {"image": URL, "poll_interval": -1}, "poll_interval"),
        (SegmindEsrganOperator, {"image": URL, "defer_after": -1}, "defer_after"),
        (SegmindEsrganOperator, {"image": URL, "max_bytes": 0}, "max_bytes"),
        (
            SegmindEsrganOperator,
            {"image": URL, "wait_for_completion": False, "destination": "file:///x"},
            "returns before there is an output",
        ),
        (SegmindNomosUpscalerOperator, {"image": URL, "base64": True}, "does not fit through XCom"),
        (SegmindNomosUpscalerOperator, {"image": "{{ x }}", "base64": "true"}, "does not fit through XCom"),
        (SegmindRunModelOperator, {"model": "esrgan", "parameters": {"image": URL, "scale": 5}}, "scale"),
        (SegmindRunModelOperator, {"model": "esrgan", "parameters": {"scale": 2}}, "image"),
        (SegmindRunModelOperator, {"model": "esrgan", "parameters": 7}, "dict"),
    ],
)
def test_an_invalid_literal_breaks_the_import_of_the_dag(operator, arguments, message):
    with pytest.raises(SegmindConfigError, match=message):
        operator(task_id="t", **arguments)


def test_templates_are_not_validated_before_rendering():
    SegmindEsrganOperator(task_id="t", image="{{ params.image }}", scale="{{ params.scale }}")
    SegmindNomosUpscalerOperator(task_id="t", image=URL, base64="{{ params.b }}")
    SegmindNomosUpscalerOperator(task_id="t", image=URL, base64=True, destination="{{ params.out }}")
    SegmindRunModelOperator(task_id="t", model="{{ params.model }}", parameters={"x": 1})
    SegmindRunModelOperator(task_id="t", model="esrgan", parameters="{{ params.all }}")


def test_is_final_finds_templates_and_xcoms():
    with DAG("d", schedule=None):

        @task
        def upstream():
            return "x"

        later = upstream()
    assert isinstance(later, XComArg)
    for value in ("{{ x }}", "{% if x %}", "{# x #}", later, [later], {"a": ["{{ x }}"]}, ("{{ x }}",)):
        assert not is_final(value)
    for value in ("x", 1, 2.5, None, True, ["x", {"a": 1}], {}, b"x"):
        assert is_final(value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": "{{ '/etc/' ~ 'passwd' }}"}, "input_path="),
        ({"image": "{{ '' }}"}, "image: "),
        ({"image": URL, "scale": "{{ 3 }}"}, "scale: "),
        ({"image": URL, "destination": "{{ '' }}"}, "is not a URI"),
        ({"image": URL, "destination": "{{ 'nowhere://x/' }}"}, "nowhere:// cannot be used here"),
        ({"image": None, "input_path": "{{ 'file:///not/there.png' }}"}, "input file:///not/there.png"),
        ({"image": None, "input_path": "{{ '/etc/passwd' }}"}, "is not a URI"),
        ({"image": None, "input_path": "file://{empty}"}, "is empty"),
        ({"image": None, "input_path": "file://{text}"}, "its format is unknown"),
        ({"image": None, "input_path": "file://{truncated}"}, "not a whole image"),
        ({"image": URL, "segmind_conn_id": "{{ 'not_there' }}"}, "connection 'not_there' does not exist"),
    ],
)
@pytest.mark.parametrize("deferrable", [True, False])
def test_an_invalid_rendered_argument_fails_before_the_submit(
    airflow_db, segmind_emulator, photos, tmp_path, arguments, message, deferrable
):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "truncated.png").write_bytes((photos / "astronaut.png").read_bytes()[:5000])
    for name in ("empty", "text", "truncated"):
        if f"{{{name}}}" in str(arguments.get("input_path")):
            arguments = {**arguments, "input_path": f"file://{tmp_path / name}.png"}
    with DAG("rendered", schedule=None) as dag:
        SegmindEsrganOperator(task_id="t", deferrable=deferrable, retries=2, retry_delay=timedelta(0), **arguments)
    run = run_tasks(dag)
    assert run.state == "failed"
    assert message in run.log
    assert run.task("t").try_number == 1, "the error is permanent"
    assert segmind_emulator.stats.submits_attempted == 0
    assert segmind_emulator.stats.uploads == 0


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("deferrable", [True, False])
def test_mapped_tasks_render_their_arguments_and_have_links(
    airflow_db, segmind_emulator, photos, tmp_path, native, deferrable
):
    urls = [segmind_emulator.add_image(photos / name, name=name) for name in ("cat.jpg", "astronaut.png")]
    with DAG("mapped", schedule=None, render_template_as_native_obj=native, params={"scale": 2, "quality": 90}) as dag:

        @task
        def images():
            return urls

        upscaled = SegmindEsrganOperator.partial(
            task_id="upscale",
            scale="{{ params.scale }}",
            quality="{{ params.quality }}",
            deferrable=deferrable,
            map_index_template="{{ task.image.rsplit('/', 1)[-1] }}",
        ).expand(image=images())
        SegmindToObjectStorageOperator.partial(task_id="store", destination=f"file://{tmp_path}/out/").expand(
            result=upscaled.output
        )
    run = run_tasks(dag)
    assert run.state == "success"
    assert segmind_emulator.stats.submits_accepted == 2
    for index, size in enumerate([(600, 400), (512, 512)]):
        [stored] = run.xcom("store", index)["stored"]
        assert stored["uri"] == f"file://{tmp_path}/out/store_{index}.jpg"
        assert (stored["width"], stored["height"]) == size
        assert run.xcom("store", index)["request_id"] == run.xcom("upscale", index)["request_id"]
        assert run.task("upscale", index).rendered_map_index in urls[index]
        assert run.link("upscale", "SegmindModelLink", index) == "https://www.segmind.com/models/esrgan"
        assert run.link("upscale", "SegmindOutputLink", index) == run.xcom("upscale", index)["output"]
        assert run.link("store", "SegmindOutputLink", index) == run.xcom("upscale", index)["output"]
        assert not run.link("store", "SegmindStoredLink", index)  # a local file has no page


def test_a_model_without_a_page_takes_any_parameters(airflow_db, segmind_emulator):
    with DAG("free", schedule=None) as dag:
        SegmindRunModelOperator(task_id="t", model="echo-model", parameters={"prompt": "{{ dag.dag_id }}", "n": [1, 2]})
    run = run_tasks(dag)
    assert run.state == "success"
    assert segmind_emulator.requests[0].parameters == {"prompt": "free", "n": [1, 2]}
    assert run.xcom("t")["output"] is None
