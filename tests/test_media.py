"""Videos, audio and other formats are stored like images, by their content; an error page is refused."""

from __future__ import annotations

import io
import struct
import wave

import pytest

from airflow_provider_segmind.exceptions import SegmindOutputError
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.protocol.content_types import (
    EXTENSIONS,
    HEAD,
    content_type,
    format_name,
    is_not_announced,
    type_of_name,
)
from airflow_provider_segmind.protocol.wire import OutputFile, Result
from airflow_provider_segmind.storage import store_result


def iso(brand: bytes) -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"isom" + brand


def sound() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(bytes(1600))
    return file.getvalue()


def ebml(doctype: bytes) -> bytes:
    return b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08\x42\x82\x84" + doctype


def ogg(first_packet: bytes) -> bytes:
    return b"OggS\x00\x02" + bytes(8) + b"\x01\x00\x00\x00" + bytes(8) + b"\x01\x2a" + first_packet


SAMPLES = {
    "mp4": (iso(b"mp42"), "video/mp4"),
    "mp4 (isom)": (iso(b"isom"), "video/mp4"),
    "mov": (iso(b"qt  "), "video/quicktime"),
    "mov without a brand": (struct.pack(">I", 8) + b"wide" + bytes(8), "video/quicktime"),
    "m4a": (iso(b"M4A "), "audio/mp4"),
    "avif": (iso(b"avif"), "image/avif"),
    "heic": (iso(b"heic"), "image/heic"),
    "tiff, Intel": (b"II*\x00" + bytes(8), "image/tiff"),
    "tiff, Motorola": (b"MM\x00*" + bytes(8), "image/tiff"),
    "webm": (ebml(b"webm"), "video/webm"),
    "mkv": (ebml(b"matroska"), "video/x-matroska"),
    "avi": (b"RIFF\x00\x10\x00\x00AVI LIST", "video/x-msvideo"),
    "wav": (sound(), "audio/wav"),
    "mp3 with tags": (b"ID3\x04\x00\x00\x00\x00\x00\x00", "audio/mpeg"),
    "mp3": (b"\xff\xfb\x90\x64" + bytes(60), "audio/mpeg"),
    "aac": (b"\xff\xf1\x50\x80" + bytes(60), "audio/aac"),
    "ogg vorbis": (ogg(b"\x01vorbis"), "audio/ogg"),
    "ogg opus": (ogg(b"OpusHead"), "audio/ogg"),
    "ogg theora": (ogg(b"\x80theora"), "video/ogg"),
    "flac": (b"fLaC\x00\x00\x00\x22", "audio/flac"),
    "aiff": (b"FORM\x00\x00\x10\x00AIFFCOMM", "audio/aiff"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_first_bytes(name):
    content, kind = SAMPLES[name]
    assert content_type(content[:HEAD]) == kind
    assert EXTENSIONS[kind]
    assert not is_not_announced(content, kind)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (iso(b"heix"), "HEIC"),
        (iso(b"avif"), "AVIF"),
        (b"II+\0\x08\0\0\0", "TIFF"),
        (b"GIF89a", "GIF"),
        (b"DDS |\0\0\0", "DDS"),
        (b"icns\0\0", "ICNS"),
        (b"8BPS\0\1", "Photoshop (PSD)"),
        (b"%!PS-Adobe", "PostScript"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n", "JPEG XL"),
        (b"\0\0\1\0\2\0", "ICO"),
        (b"P6\n1 1 255\n", "PPM"),
        (b"PK\3\4", "ZIP"),
        (b"<?xml version='1.0'?>\n<svg xmlns=''/>", "SVG"),
        (b"<svg/>", "SVG"),
        (b"<!DOCTYPE html>", "HTML or XML"),
        (b'{"error": 1}', "JSON or other text"),
        (SAMPLES["mp4"][0], "MP4"),
        (b"not an image", None),
        (b"", None),
    ],
)
def test_a_format_is_named(head, name):
    assert format_name(head) == name


@pytest.mark.parametrize("text", [b"BMW is a car", b"plain words", b"", b"RIFF", b"....moo"])
def test_text_is_none_of_them(text):
    assert content_type(text) is None


def test_every_extension_is_read_back():
    assert {kind: type_of_name(f"https://x.y/a.b/c{end}?size=.zip") for kind, end in EXTENSIONS.items()} == {
        kind: kind for kind in EXTENSIONS
    }
    assert type_of_name("https://x.y/a.JPEG") == "image/jpeg"
    assert type_of_name("https://x.y/no-extension") is None


@pytest.fixture
def store(airflow_db, segmind_emulator, tmp_path):
    def run(content, *, name="claimed.bin", announced=None):
        url = segmind_emulator.add_image(content, name=name)
        file = OutputFile(url=url, content_type=announced)
        result = Result(request_id="r-1", model="some-model", output=url, outputs=[file])
        with SegmindHook() as hook:
            return store_result(hook, result, f"file://{tmp_path}/out/", name="task")

    return run


@pytest.mark.parametrize("name", ["mp4", "mov", "webm", "wav", "mp3", "ogg opus", "flac", "m4a", "avif"])
def test_stored_under_its_own_extension(store, tmp_path, name):
    content, kind = SAMPLES[name]
    [stored] = store(content, announced="video/mp4")
    assert stored.content_type == kind
    assert (stored.width, stored.height) == (None, None)
    assert (tmp_path / "out" / f"task{EXTENSIONS[kind]}").read_bytes() == content


@pytest.mark.parametrize("announced", ["video/mp4", "audio/mpeg", "image/avif"])
@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>",
        b"\n\n<html>",
        b"\xef\xbb\xbf<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>",
        b'{"error": "not found"}',
        b'[{"error": 1}]',
    ],
)
def test_an_error_page_in_place_of_a_medium_is_refused(store, tmp_path, announced, body):
    with pytest.raises(SegmindOutputError, match=f"it is not {announced}") as caught:
        store(body, announced=announced)
    assert caught.value.request_id == "r-1"
    assert not (tmp_path / "out").exists()


def test_the_address_announces_too(store):
    with pytest.raises(SegmindOutputError, match="it is not video/webm"):
        store(b"<html>", name="film.webm")


def test_what_was_announced_as_text_may_be_text(store, tmp_path):
    store(b'{"a": 1}', name="data.json", announced="application/json")
    store(b"<svg xmlns='http://www.w3.org/2000/svg'/>", name="x.svg", announced="image/svg+xml")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["task.json", "task.svg"]
