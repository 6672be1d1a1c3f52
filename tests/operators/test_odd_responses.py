"""A paid image is delivered, in both modes, however Segmind and its output host write their responses."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator, SegmindNomosUpscalerOperator
from tests.task_runner import run_tasks


@pytest.fixture(params=[True, False], ids=["deferrable", "plain"])
def deferrable(request):
    return request.param


@pytest.fixture
def upscale(airflow_db, segmind_emulator, quick_polls, quick_retries, photos, deferrable):
    def run(operator=SegmindEsrganOperator, **arguments):
        image = segmind_emulator.add_image(photos / "cat.jpg")
        with DAG("odd", schedule=None) as dag:
            operator(
                task_id="t",
                image=image,
                deferrable=deferrable,
                retries=0,
                retry_delay=timedelta(0),
                poll_interval=0.25,
                **arguments,
            )
        run = run_tasks(dag)
        assert run.state == "success", run.log
        assert segmind_emulator.stats.billed == segmind_emulator.stats.submits_accepted == 1
        return run.xcom("t")

    return run


@pytest.mark.parametrize(
    ("fault", "downloads"),
    [("status:404", 2), ("empty", 2), ("truncate", 2), ("partial", 2), ("success:203", 1), ("success:206", 1)],
)
def test_a_download_that_is_not_a_200_with_the_whole_body(upscale, segmind_emulator, tmp_path, fault, downloads):
    segmind_emulator.faults.add("output", fault, times=1)
    [stored] = upscale(destination=f"file://{tmp_path}/x.jpg")["stored"]
    assert (stored["width"], stored["height"]) == (600, 400)
    assert segmind_emulator.stats.downloads == downloads


def result_of(emulator, body):
    """Respond with this body to every read of a result."""
    emulator.faults.add("result", "status_after:200", body=body)


BODIES = {
    "a status with a space": '{"status": "COMPLETED ", "output": "URL"}',
    "a URL with a newline": '{"status": "COMPLETED", "output": "URL\\n", "images": [{"url": " URL"}]}',
    "a list": '{"status": "COMPLETED", "output": ["URL"]}',
    "an object": '{"status": "COMPLETED", "output": {"url": "URL"}}',
    "NaN": '{"status": "COMPLETED", "output": "URL", "metrics": {"cost": NaN, "total_time": Infinity}, "x": -Infinity}',
    "digits": '{"status": "COMPLETED", "output": "URL", "seed": ' + "9" * 5000 + "}",
    "a surrogate": r'{"status": "COMPLETED", "output": "URL", "images": [{"url": "URL", "file_name": "\ud83d"}]}',
    "a byte order mark": '\ufeff{"status": "COMPLETED", "output": "URL"}',
    "Latin-1": b'{"status": "COMPLETED", "output": "URL", "prompt": "caf\xe9"}',
}


@pytest.mark.parametrize("name", BODIES)
def test_a_paid_result_with_an_odd_body(upscale, segmind_emulator, photos, tmp_path, name):
    url, body = segmind_emulator.add_image(photos / "astronaut.png"), BODIES[name]
    result_of(
        segmind_emulator, body.replace(b"URL", url.encode()) if isinstance(body, bytes) else body.replace("URL", url)
    )
    value = upscale(destination=f"file://{tmp_path}/x.png")
    assert value["output"] == url
    assert [file["url"] for file in value["outputs"]] == [url]
    assert (tmp_path / "x.png").read_bytes() == (photos / "astronaut.png").read_bytes()


def test_without_a_destination_the_url_is_returned_clean(upscale, segmind_emulator, photos):
    url = segmind_emulator.add_image(photos / "astronaut.png")
    result_of(segmind_emulator, {"status": "COMPLETED", "output": f"{url}\n"})
    assert upscale()["output"] == url


FORMS = {
    "wrapped": lambda content: base64.encodebytes(content).decode(),
    "a newline": lambda content: base64.b64encode(content).decode() + "\n",
    "charset": lambda content: "data:image/png;charset=utf-8;base64," + base64.b64encode(content).decode(),
    "url-safe": lambda content: base64.urlsafe_b64encode(content).decode().rstrip("="),
    "a list": lambda content: [base64.b64encode(content).decode()],
    "an object": lambda content: {"b64_json": base64.b64encode(content).decode()},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_paid_inline_output_in_every_form(upscale, segmind_emulator, photos, tmp_path, form):
    content = (photos / "astronaut.png").read_bytes()
    result_of(segmind_emulator, {"status": "COMPLETED", "output": FORMS[form](content)})
    value = upscale(SegmindNomosUpscalerOperator, base64=True, destination=f"file://{tmp_path}/x.png")
    assert (tmp_path / "x.png").read_bytes() == content
    assert value["output"] is None
    assert len(json.dumps(value)) < 2000


def test_two_inline_outputs_are_two_objects(upscale, segmind_emulator, photos, tmp_path):
    contents = [(photos / name).read_bytes() for name in ("astronaut.png", "portrait-alpha.png")]
    texts = [base64.encodebytes(content).decode() for content in contents]
    result_of(segmind_emulator, {"status": "COMPLETED", "images": texts})
    value = upscale(SegmindNomosUpscalerOperator, base64=True, destination=f"file://{tmp_path}/x.png")
    assert [stored["uri"].rpartition("/")[2] for stored in value["stored"]] == ["x.png", "x_1.png"]
    assert [(tmp_path / name).read_bytes() for name in ("x.png", "x_1.png")] == contents
