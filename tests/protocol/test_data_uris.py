"""Base64 and data URIs: every spelling is read, text that is not base64 is not, and a large one takes linear time."""

from __future__ import annotations

import base64
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segmind.protocol.data_uris import (
    announced_type,
    data_uri,
    decode_base64,
    is_data_uri,
    is_file,
)

PNG = b"\x89PNG\r\n\x1a\n"


def spellings(content: bytes) -> dict[str, str]:
    """Return one content in every spelling."""
    plain = base64.b64encode(content).decode()
    url_safe = base64.urlsafe_b64encode(content).decode()
    lines = "\n".join(url_safe[at : at + 64] for at in range(0, len(plain), 64))
    return {
        "plain": plain,
        "trailing newline": plain + "\n",
        "wrapped": base64.encodebytes(content).decode(),
        "wrapped with carriage returns": base64.encodebytes(content).decode().replace("\n", "\r\n"),
        "url-safe": url_safe,
        "without padding": plain.rstrip("="),
        "url-safe, wrapped, without padding": lines.rstrip("="),
        "data uri": f"data:image/png;base64,{plain}",
        "upper case": f"DATA:IMAGE/PNG;BASE64,{plain}",
        "charset first": f"data:image/png;charset=utf-8;base64,{plain}",
        "charset last": f"data:image/png;base64;charset=utf-8,{plain}",
        "no type": f"data:;base64,{plain}",
        "spaces": f" data:image/png; base64, {base64.encodebytes(content).decode()}",
        "data uri, url-safe": f"data:image/png;base64,{url_safe.rstrip('=')}",
    }


@given(st.binary(min_size=1, max_size=300))
def test_every_spelling_of_an_image(content):
    for spelling, text in spellings(PNG + content).items():
        assert decode_base64(text) == PNG + content, spelling
        assert is_file(text), spelling
        assert is_data_uri(text) is text.strip().lower().startswith("data:")


@pytest.mark.parametrize("spelling", spellings(b""))
def test_every_spelling_of_content_of_an_unknown_type(spelling):
    content = bytes(range(256)) * 3
    assert decode_base64(spellings(content)[spelling]) == content


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "a text",
        "A cat sits on a mat and waits for its dinner in the warm light of an evening in May",
        "a caption with many words " * 1000,
        "cat",
        "well-known",
        "wrong padding=",
        "iVBORw0KGgo=iVBORw0KGgo=",
        "iVBORw0KGgo====",
        "data:image/png,iVBORw0KGgo=",
        "data:text/plain;charset=utf-8,hello",
        "data:image/png;base64,",
        "data:image/png;base64,@@",
        "data:image/png;base64,A",
        "data:image/png;base64,Ä" * 20,
        "https://images.segmind.com/a.png",
        "\ud800" * 80,
    ],
)
def test_text_that_is_not_base64(text):
    assert decode_base64(text) is None


@given(st.text())
def test_any_text_is_read_or_not(text):
    content = decode_base64(text)
    assert content is None or content
    assert is_data_uri(data_uri(text.encode("utf-8", "replace")))


def test_words_are_files_only_by_their_first_bytes():
    assert decode_base64("butterfly123")
    assert not is_file("butterfly123")
    assert not is_file("")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("data:Image/PNG;charset=x;base64,AA==", "image/png"),
        ("data: image/png ;base64,AA==", "image/png"),
        ("data:;base64,AA==", None),
        ("AA==", None),
    ],
)
def test_the_type_that_a_data_uri_states(text, found):
    assert announced_type(text) == found


@pytest.mark.parametrize("spelling", ["plain", "wrapped", "url-safe, wrapped, without padding", "spaces"])
def test_a_large_output_takes_linear_time_and_few_copies(spelling):
    content = PNG + bytes(range(256)) * 80_000  # 20 MB
    text = spellings(content)[spelling]
    began = time.process_time()
    tracemalloc.start()
    try:
        assert decode_base64(text) == content
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3.8 * len(text)
    assert time.process_time() - began < 5
