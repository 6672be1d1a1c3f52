"""The named outputs of a workflow: read, returned, stored."""

from __future__ import annotations

import base64
import json

import pytest

from airflow_provider_segmind.exceptions import SegmindMissingOutputError
from airflow_provider_segmind.protocol.outputs import OutputSource, output_files
from airflow_provider_segmind.protocol.wire import Result, read_result
from airflow_provider_segmind.protocol.workflow_outputs import read_named

URL = "https://images.segmind.com/outputs/{}"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(5000)


def workflow(*pairs, as_text=True):
    output = [{"keyname": name, "value": value} for name, value in pairs]
    body = {"status": "COMPLETED", "output": json.dumps(output) if as_text else output}
    return read_result(body, request_id="r-1", model="my-flow")


@pytest.mark.parametrize("as_text", [True, False])
def test_outputs_by_name(as_text):
    result = workflow(("large", URL.format("a.png")), ("caption", "a cat"), ("score", 0.5), as_text=as_text)
    value = result.to_xcom()
    assert value["named"] == {"large": URL.format("a.png"), "caption": "a cat", "score": 0.5}
    assert value["output"] == URL.format("a.png")
    assert [file["url"] for file in value["outputs"]] == [URL.format("a.png")]
    assert result.fetchable
    again = Result.model_validate(value)
    assert output_files(again) == output_files(result)
    assert [(source.suffix, source.announced, source.text) for source in output_files(result)] == [
        ("_large", "image/png", None),
        ("_caption", None, "text/plain"),
        ("_score", None, "application/json"),
    ]


def test_models_have_no_names():
    body = {"status": "COMPLETED", "output": URL.format("a.png"), "images": [{"url": URL.format("a.png")}]}
    assert "named" not in read_result(body, request_id="r-1", model="esrgan").to_xcom()


@pytest.mark.parametrize(
    "output",
    ["a text", "[1, 2]", "[]", "[not json", '[{"value": 1}]', '[{"keyname": "x"}]', '{"keyname": "x", "value": 1}', 7],
)
def test_what_is_not_a_workflows_output(output):
    assert read_named(output) == {}


def test_names_that_come_twice_and_names_that_are_missing():
    output = [{"keyname": "x", "value": 1}, {"keyname": "x", "value": 2}, {"keyname": None, "value": 3}, {"value": 4}]
    assert read_named(output) == {"x": 1, "x_1": 2, "output": 3, "output_1": 4}


def test_null_is_not_an_output():
    assert workflow(("a", None), ("b", "text")).named == {"b": "text"}


def test_an_image_as_base64_is_not_put_into_xcom():
    result = workflow(("small", URL.format("a.png")), ("raw", base64.b64encode(PNG).decode()))
    value = result.to_xcom()
    assert value["named"] == {"small": URL.format("a.png"), "raw": None}
    assert len(json.dumps(value)) < 1000
    assert not result.fetchable, "the body has to be fetched for it"
    assert not Result.model_validate(value).fetchable
    assert output_files(result)[1].content == PNG


def test_text_that_is_valid_base64_stays_text():
    [source] = output_files(workflow(("caption", "butterfly123")))
    assert (source.content, source.text) == (b"butterfly123", "text/plain")
    [source] = output_files(workflow(("file", "data:model/gltf-binary;base64,Z2xURg==")))
    assert (source.content, source.text) == (b"glTF", None)


def test_a_list_of_addresses_is_as_many_files():
    result = workflow(("frames", [URL.format("1.png"), URL.format("2.png")]), ("film", {"url": URL.format("f.mp4")}))
    assert [source.suffix for source in output_files(result)] == ["_frames", "_frames_1", "_film"]
    assert len(result.outputs) == 2


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "..", "", "x" * 500, "größe 1", "a\nb"])
def test_a_name_cannot_leave_its_folder(name):
    [source] = output_files(workflow((name, URL.format("a.png"))))
    assert source.suffix.startswith("_")
    assert not set(source.suffix) & set("/.\\\n ")
    assert 1 < len(source.suffix) <= 81


def test_names_with_the_same_file_name_get_numbers():
    result = workflow(("a b", URL.format("1.png")), ("a/b", URL.format("2.png")))
    assert [source.suffix for source in output_files(result)] == ["_a_b", "_a_b_1"]


def test_outputs_of_models_are_numbered():
    body = {"status": "COMPLETED", "output": URL.format("a.mp4"), "images": [{"url": URL.format("a")}]}
    body["images"][0]["content_type"] = "image/webp"
    result = read_result(body, request_id="r-1", model="x")
    assert output_files(result) == [
        OutputSource(URL.format("a"), "", "image/webp"),
        OutputSource(URL.format("a.mp4"), "_1", "video/mp4"),
    ]


def test_nothing_to_store():
    result = read_result({"status": "COMPLETED", "output": "a text"}, request_id="r-1", model="x")
    with pytest.raises(SegmindMissingOutputError):
        output_files(result)
