"""The outputs of a paid result are read in every form: lists, objects, base64, and URLs with white space."""

from __future__ import annotations

import base64
import json

import pytest

from airflow_provider_segmind.exceptions import SegmindMissingOutputError
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.outputs import output_files
from airflow_provider_segmind.protocol.urls import url_of
from airflow_provider_segmind.protocol.wire import Result, read_result
from tests.protocol.test_data_uris import spellings
from tests.wire_examples import response, wire_body

ONE, TWO = "https://images.segmind.com/1.png", "https://images.segmind.com/2.png"
PNG, JPEG = b"\x89PNG\r\n\x1a\n" + bytes(100), b"\xff\xd8\xff\xe0" + bytes(100)


def read(**body):
    return read_result({"status": "COMPLETED", **body}, request_id="r-1", model="m")


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


URL_FORMS = {
    "list": [ONE, TWO],
    "objects": [{"url": ONE}, {"url": TWO}],
    "mixed": [ONE, {"url": TWO}],
    "object of URLs": {"0": ONE, "1": TWO},
    "object of lists": {"images": [ONE, {"url": f" {TWO}\n"}]},
    "white space": [f"{ONE}\n", f"\t {TWO} "],
}


@pytest.mark.parametrize("key", ["output", "images"])
@pytest.mark.parametrize("form", URL_FORMS)
def test_urls_in_every_form(form, key):
    result = read(**{key: URL_FORMS[form]})
    assert [file.url for file in result.outputs] == [ONE, TWO]
    assert result.output == ONE
    assert result.fetchable
    assert [source.content for source in output_files(Result.model_validate(result.to_xcom()))] == [ONE, TWO]


@pytest.mark.parametrize("space", ["\n", " ", "\r\n", "\t"])
def test_a_url_with_white_space_is_returned_clean(space):
    result = read(output=f"{ONE}{space}", images=[{"url": f"{space}{ONE}", "content_type": "image/png"}])
    assert result.to_xcom()["output"] == ONE
    assert [(file.url, file.content_type) for file in result.outputs] == [(ONE, "image/png")]
    assert read(output=f"{space}{ONE}").to_xcom()["output"] == ONE


FORMS = {
    "list": lambda one, two: [one, two],
    "objects": lambda one, two: [{"url": one}, {"url": two}],
    "objects with other names": lambda one, two: [{"b64_json": one}, {"url": None, "data": two}],
    "object": lambda one, two: {"first": one, "second": two},
    "list in an object": lambda one, two: {"images": [one, two], "count": 2, "type": "image/png"},
}


@pytest.mark.parametrize("key", ["output", "images"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spelling", spellings(b""))
def test_every_inline_output_is_stored(form, spelling, key):
    result = read(**{key: FORMS[form](spellings(PNG)[spelling], spellings(JPEG)[spelling])})
    assert [(source.content, source.suffix) for source in output_files(result)] == [(PNG, ""), (JPEG, "_1")]
    assert not result.fetchable
    assert len(json.dumps(result.to_xcom())) < 500
    assert len(repr(result)) < 500


@pytest.mark.parametrize("spelling", spellings(b""))
def test_one_inline_output(spelling):
    for body in ({"output": spellings(PNG)[spelling]}, {"images": [spellings(PNG)[spelling]], "output": text(PNG)}):
        [source] = output_files(read(**body))
        assert (source.content, source.suffix) == (PNG, "")


def test_a_url_wins_over_the_same_output_inline():
    result = read(output=text(PNG), images=[{"url": ONE}])
    assert [source.content for source in output_files(result)] == [ONE]


def test_images_win_over_a_text():
    assert [source.content for source in output_files(read(output="a cat", images=[text(PNG)]))] == [PNG]


def test_an_output_that_is_broken_is_not_left_out():
    with pytest.raises(SegmindMissingOutputError):
        output_files(read(images=[text(PNG), text(JPEG * 20) + "!"]))


@pytest.mark.parametrize("output", [{}, [[]], {"url": "x"}, {"a": {"b": "c"}}, ["a text"], [None, 7], [[[[[ONE]]]]]])
def test_a_list_or_object_without_an_output(output):
    with pytest.raises(SegmindMissingOutputError):
        read(output=output)


def test_a_workflow_has_clean_urls_and_every_file():
    pairs = {"large": f"{ONE}\n", "frames": [f" {ONE}", {"url": f"{TWO} "}], "raw": [text(PNG), text(JPEG)], "n": [1]}
    output = json.dumps([{"keyname": name, "value": value} for name, value in pairs.items()])
    result = read(output=f"\n{output}")
    assert result.to_xcom()["named"]["large"] == ONE
    assert result.output == ONE
    found = [(source.content, source.suffix) for source in output_files(result)]
    assert found == [
        (ONE, "_large"),
        (ONE, "_frames"),
        (TWO, "_frames_1"),
        (PNG, "_raw"),
        (JPEG, "_raw_1"),
        (b"[1]", "_n"),
    ]


def test_the_vendors_urls_are_clean_everywhere():
    row = {**wire_body("history_row"), "generation_url": f" {ONE}\n"}
    assert calls.get_history().parse(response(200, [row])).rows[0].output == ONE
    page = calls.get_history().parse(response(200, [{**row, "generation_url": "\n/outputs/1.png "}]))
    assert page.with_absolute("https://images.segmind.com").rows[0].output == "https://images.segmind.com/outputs/1.png"
    for key in ("urls", "file_urls"):
        assert calls.upload(["data:,"] * 2).parse(response(200, {key: [f"{ONE}\n", f" {TWO}"]})) == [ONE, TWO]


@pytest.mark.parametrize("value", [None, 7, "", "x", "https://a b/c", "ftp://x/y", " " * 100_000 + ONE])
def test_values_without_a_url(value):
    assert url_of(value) is None
