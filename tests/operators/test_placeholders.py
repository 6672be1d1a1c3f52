"""Placeholders in destinations: what they become, and which are rejected."""

from __future__ import annotations

import re

import pytest

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.operators.segmind import (
    SegmindEsrganOperator,
    SegmindNomosUpscalerOperator,
)
from airflow_provider_segmind.storage.names import check_placeholders, fill, safe, stem_of
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator

ESRGAN = SegmindEsrganOperator
URL = "https://www.segmind.com/butterfly.png"


def files(folder):
    """Return the relative paths of all files in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_every_placeholder_is_filled(upscale, tmp_path, segmind_emulator, deferrable):
    folder = "{{ dag.dag_id }}/{model}/{map_index}"
    run = upscale(destination=f"file://{tmp_path}/{folder}/{{stem}}-{{request_id}}.{{ext}}", deferrable=deferrable)
    assert run.state == "success"
    [request] = segmind_emulator.requests
    assert files(tmp_path) == [f"outputs/esrgan/-1/cat-{request.request_id}.jpg"]
    assert run.xcom("t")["stored"][0]["uri"] == f"file://{tmp_path}/{files(tmp_path)[0]}"


def test_mapped_outputs_have_the_names_of_their_inputs(upscale, tmp_path, photos, deferrable):
    run = upscale(
        SegmindNomosUpscalerOperator,
        expand={"input_path": [f"file://{photos}/{name}" for name in ("cat.jpg", "astronaut.png")]},
        destination=f"file://{tmp_path}/{{stem}}_{{map_index}}.{{ext}}",
        image_format="webp",
        deferrable=deferrable,
    )
    assert run.state == "success"
    assert files(tmp_path) == ["astronaut_1.webp", "cat_0.webp"]


@pytest.mark.parametrize(
    ("source", "stem"),
    [
        ("s3://bucket/in/a cat.v2.JPG", "a cat.v2"),
        ("s3://conn@bucket/in/?.jpg", None),
        ("https://x.example/a%2Fb/..%2f..%2Fetc.png?sig=a/b.png", ".._.._etc"),
        ("https://x.example/%2e%2e/", None),
        ("https://x.example", None),
        ("file:///in/..", None),
        ("file:///in/[1]*.png", "_1_"),
        ("data:image/png;base64,iVBORw0KGgo=", None),
        ("", "task"),
    ],
)
def test_stems_are_safe(source, stem):
    found = stem_of(source, otherwise="task")
    assert re.fullmatch("[0-9a-f]{12}", found) if stem is None else found == stem
    path = fill("s3://bucket/out/{stem}.png", {"stem": found})
    assert path.count("/") == 4
    assert "/../" not in path


def test_a_value_cannot_leave_its_folder():
    for value in ("..", ".", "", "  ", "...", "a/../b", "a\\b", "{model}", "\n"):
        assert "/" not in safe(value)
        assert safe(value).strip(".") != ""
    assert fill("x://{stem}/{stem}", {"stem": "{stem}"}) == "x://_stem_/_stem_"


def test_unknown_placeholders_are_rejected():
    check_placeholders("s3://b/{model}/{stem}{ext}{request_id}{map_index}/{ no braces")
    for wrong in ("{name}", "{}", "{stem!r}", "{map_index:03d}"):
        with pytest.raises(SegmindConfigError, match="unknown placeholder"):
            check_placeholders(f"s3://b/{wrong}.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"destination": "s3://b/{name}.png"}, r"unknown placeholder \{name\}; known: \{model\}"),
        ({"destination": "s3://b/{request_id}.png", "skip_existing": True}, "so nothing is ever skipped"),
        ({"destination": "s3://b/x.png", "if_exists": "ask"}, "if_exists must be"),
        ({"destination": "s3://b/x.png", "if_exists": "fail", "skip_existing": True}, "contradict"),
        ({"sidecar": True}, "need a destination"),
        ({"skip_existing": True}, "need a destination"),
        ({"if_exists": "fail"}, "need a destination"),
    ],
)
def test_an_invalid_literal_breaks_the_import(arguments, message):
    with pytest.raises(SegmindConfigError, match=message):
        ESRGAN(task_id="t", image=URL, **arguments)


def test_an_unknown_placeholder_in_a_transfer_breaks_the_import():
    with pytest.raises(SegmindConfigError, match="unknown placeholder"):
        SegmindToObjectStorageOperator(task_id="t", result={}, destination="s3://b/{name}.png")
