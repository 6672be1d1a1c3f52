"""Storage: an object is a whole, verified image, or it is missing."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import pytest
from PIL import Image

from airflow_provider_segmind.exceptions import (
    SegmindConfigError,
    SegmindDownloadError,
    SegmindMissingOutputError,
    SegmindOutputError,
    SegmindStorageError,
)
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.protocol.wire import OutputFile, Result
from airflow_provider_segmind.storage import image_size, object_path, store_result
from airflow_provider_segmind.storage.expected import Expected


def image(size=(40, 30), kind="PNG", mode="RGB") -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 80).convert(mode).save(file, kind)
    return file.getvalue()


@pytest.fixture
def store(airflow_db, segmind_emulator, tmp_path):
    def run(content, destination="out/", *, name="task", model="esrgan", **options):
        url = segmind_emulator.add_image(content, name="claimed.png")
        result = Result(request_id="r-1", model=model, output=url, outputs=[OutputFile(url=url)])
        with SegmindHook() as hook:
            return store_result(hook, result, f"file://{tmp_path}/{destination}", name=name, **options)

    return run


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("kind", "name", "content_type"),
    [("PNG", "task.png", "image/png"), ("JPEG", "task.jpg", "image/jpeg"), ("WEBP", "task.webp", "image/webp")],
)
def test_the_extension_is_that_of_the_actual_content(store, tmp_path, kind, name, content_type):
    [stored] = store(image(kind=kind))
    assert stored.content_type == content_type
    assert files(tmp_path) == [f"out/{name}"]
    assert stored.uri == f"file://{tmp_path}/out/{name}"
    assert (stored.width, stored.height) == (40, 30)


def test_a_named_object_keeps_its_name(store, tmp_path):
    store(image(), "a/b/cat.png")
    assert files(tmp_path) == ["a/b/cat.png"]


def test_a_folder_that_is_there_needs_no_slash(store, tmp_path):
    (tmp_path / "there").mkdir()
    store(image(), "there")
    assert files(tmp_path) == ["there/task.png"]


def test_several_outputs(airflow_db, segmind_emulator, tmp_path):
    urls = [segmind_emulator.add_image(image(), name=f"{n}.png") for n in range(3)]
    result = Result(request_id="r", model="esrgan", output=urls[0], outputs=[OutputFile(url=url) for url in urls])
    with SegmindHook() as hook:
        assert len(store_result(hook, result, f"file://{tmp_path}/f/", name="t")) == 3
        store_result(hook, result, f"file://{tmp_path}/one.png", name="t")
    assert files(tmp_path) == ["f/t.png", "f/t_1.png", "f/t_2.png", "one.png", "one_1.png", "one_2.png"]


def test_again_leaves_an_identical_object_alone_and_replaces_another(store, tmp_path):
    content = image()
    store(content)
    before = (tmp_path / "out/task.png").stat()
    store(content)
    after = (tmp_path / "out/task.png").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)
    other = image((50, 50))
    store(other)
    assert (tmp_path / "out/task.png").read_bytes() == other
    assert files(tmp_path) == ["out/task.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>not found</html>", "it is not an image"),
        (image()[:-400], "not a whole image"),
        (image(kind="JPEG", size=(400, 300))[:4000], "not a whole image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a whole image"),
    ],
)
def test_what_is_not_a_whole_image_is_not_stored(store, tmp_path, content, message):
    with pytest.raises(SegmindOutputError, match=message) as caught:
        store(content)
    assert caught.value.request_id == "r-1"
    assert caught.value.retryable == (message == "not a whole image"), "a body may be truncated without an error"
    assert files(tmp_path) == []


def test_an_empty_output_may_be_whole_at_the_next_try(store, tmp_path):
    with pytest.raises(SegmindDownloadError, match="the body is empty") as caught:
        store(b"")
    assert caught.value.retryable
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("before", "scale", "fits"),
    [
        ((40, 30), 1, True),
        ((30, 40), 1, True),  # turned by its EXIF orientation, or not turned
        ((41, 30), 1, False),
        ((20, 15), 2, True),
        ((21, 15), 2, True),  # cropped by a few pixels
        ((20, 17), 2, False),
        ((40, 30), 2, False),
        ((10, 8), 4, True),
        ((10, 8), 8, False),
    ],
)
def test_an_output_has_the_pixels_of_its_input_times_the_scale(store, tmp_path, before, scale, fits):
    expected = Expected(input_size=before, scale=scale)
    if fits:
        assert store(image((40, 30)), expected=expected)
        return
    with pytest.raises(SegmindOutputError, match=f"has 40 x 30 pixels; its input has {before[0]} x {before[1]}"):
        store(image((40, 30)), expected=expected)
    assert files(tmp_path) == []
    assert store(image((40, 30)), expected=replace(expected, verify="off"))


def test_too_many_bytes_are_refused(store, tmp_path):
    content = image()
    with pytest.raises(SegmindOutputError, match="more than the 100"):
        store(content, max_bytes=100)
    assert files(tmp_path) == []
    assert store(content, max_bytes=len(content))


def test_a_model_of_another_kind_may_give_what_is_not_an_image(store, tmp_path):
    [stored] = store(b"\x00\x00\x00\x18ftypmp42" + bytes(500), model="some-video-model")
    assert (stored.content_type, stored.width) == ("video/mp4", None)
    assert files(tmp_path) == ["out/task.mp4"]


def test_base64_is_decoded(airflow_db, tmp_path):
    content = image()
    for text in (base64.b64encode(content).decode(), f"data:image/png;base64,{base64.b64encode(content).decode()}"):
        result = Result(request_id="r", model="nomos-upscaler", inline=text)
        [stored] = store_result(SegmindHook(), result, f"file://{tmp_path}/x.png", name="t")
        assert (tmp_path / "x.png").read_bytes() == content
        assert stored.bytes == len(content)
    with pytest.raises(SegmindMissingOutputError, match="neither a URL nor base64"):
        store_result(SegmindHook(), Result(request_id="r", model="m", inline="a text"), "file:///x", name="t")
    with pytest.raises(SegmindOutputError, match="more than the 10"):
        store_result(SegmindHook(), result, f"file://{tmp_path}/y.png", name="t", max_bytes=10)


def test_a_place_that_cannot_be_written_is_named(store, tmp_path):
    (tmp_path / "out").write_text("a file, where a folder should be")
    with pytest.raises(SegmindStorageError, match="out/task.png|out") as caught:
        store(image())
    assert caught.value.retryable
    assert caught.value.request_id == "r-1"


def test_memory_and_other_filesystems_of_fsspec(airflow_db):
    with pytest.raises(SegmindConfigError, match="is not a URI"):
        object_path("/data/out.png", None)
    with pytest.raises(SegmindConfigError, match="nowhere:// cannot be used here"):
        object_path("nowhere://x/y", None)
    with pytest.raises(SegmindConfigError, match=r"airflow-provider-segmind\[gcs\]"):
        object_path("gs://bucket/y", None)


def test_a_very_large_image_is_checked_without_its_pixels():
    """An 8x upscale is not a decompression bomb, and must not fill a worker's memory."""
    file = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(file, "PNG")
    assert image_size(file, whole=True) == (20_000, 10_000)
    with pytest.raises(SegmindOutputError):
        image_size(io.BytesIO(file.getvalue()[:-30]), whole=True)
    assert Image.MAX_IMAGE_PIXELS is not None
    large = io.BytesIO()
    Image.new("L", (9000, 8000), 128).save(large, "JPEG")
    assert image_size(large, whole=True) == (9000, 8000)
    with pytest.raises(SegmindOutputError):
        image_size(io.BytesIO(large.getvalue()[:2000]), whole=True)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "CMYK"])
def test_modes(mode, store):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert store(image(mode=mode, kind=kind))[0].width == 40
