"""One output against its input: what is stored, under which name, with which orientation, and what is reported."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageCms, ImageOps

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindImageMismatchError, SegmindOutputError
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.protocol.wire import OutputFile, Result
from airflow_provider_segmind.storage import object_path, store_result
from airflow_provider_segmind.storage.expected import Expected
from airflow_provider_segmind.storage.paths import probe
from tests.image_metadata import SPACES

ORIENTATION = 0x0112


@pytest.fixture
def photo(photos):
    with Image.open(photos / "cat.jpg") as image:
        return image.convert("RGB")


@pytest.fixture
def store(airflow_db, segmind_emulator, tmp_path):
    """Return a function that stores outputs of ESRGAN in a folder."""

    def run(*outputs, destination="out/", source=None, **expected):
        urls = [segmind_emulator.add_image(content, name="claimed.jpg") for content in outputs]
        result = Result(request_id="r-1", model="esrgan", output=urls[0], outputs=[OutputFile(url=url) for url in urls])
        wanted = replace(Expected(same_above=0.6, read_input=lambda: source), **expected)
        with SegmindHook() as hook:
            return store_result(hook, result, f"file://{tmp_path}/{destination}", name="task", expected=wanted)

    return run


def encoded(image, kind="JPEG", orientation=None) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    image.save(file, kind, exif=exif)
    return file.getvalue()


def shown(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("L").resize((60, 90))


def is_shown_as(path: Path, image: Image.Image) -> bool:
    expected = image.convert("L").resize((60, 90))
    pairs = zip(shown(path).tobytes(), expected.tobytes(), strict=True)
    difference: int = sum(abs(one - other) for one, other in pairs)
    return difference / (60 * 90) < 4


# --- orientation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["none", "icc", "all"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("is_turned", [True, False], ids=["turned", "as stored"])
@pytest.mark.parametrize("states", [True, False], ids=["states it", "states nothing"])
def test_an_image_is_shown_as_its_input(store, photo, tmp_path, kind, keep, is_turned, states):
    """Whether the model turns the pixels or not, and whether it copies the orientation or not."""
    upright = photo.rotate(-90, expand=True)
    pixels = upright if is_turned else photo
    [stored] = store(encoded(pixels, kind, 6 if states else None), source=encoded(photo, "JPEG", 6), keep_metadata=keep)
    [path] = (tmp_path / "out").iterdir()
    if keep == "none" and not is_turned and not states:
        assert not is_shown_as(path, upright), "nothing of the input is copied"
        return
    assert is_shown_as(path, upright)
    assert (stored.width, stored.height) == upright.size


# --- colours ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_converted", [True, False])
def test_a_profile_is_kept_only_where_it_fits_the_values(store, photo, tmp_path, is_converted):
    source, output, profile = io.BytesIO(), photo, SPACES["Adobe RGB"]
    photo.save(source, "JPEG", icc_profile=profile)
    if is_converted:
        there, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        output = ImageCms.profileToProfile(photo, there, ImageCms.ImageCmsProfile(srgb))
    [stored] = store(encoded(output), source=source.getvalue())
    assert stored.metadata == (None if is_converted else ["icc"])
    [path] = (tmp_path / "out").iterdir()
    with Image.open(path) as image:
        assert ("icc_profile" in image.info) is not is_converted


# --- what is reported -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verify", ["whole", "off"])
def test_a_score_is_reported_only_of_what_has_to_be_the_same(store, photo, caplog, verify):
    caplog.set_level("INFO")
    other = Image.effect_noise(photo.size, 90).convert("RGB")
    [stored] = store(encoded(other), source=encoded(photo, "JPEG", 6), verify=verify)
    assert stored.similarity is None
    assert "same image" not in caplog.text


def test_further_outputs_may_be_thumbnails(store, photo):
    first, second = store(encoded(photo), encoded(photo.resize((30, 20))), source=encoded(photo), input_size=photo.size)
    assert (first.width, second.width) == (300, 30)
    assert second.similarity is None


def test_an_extension_of_another_format_is_a_warning(store, photo, caplog):
    store(encoded(photo), destination="x.png")
    assert "x.png has the extension of image/png, but is image/jpeg" in caplog.text


@pytest.mark.parametrize(("content", "kind"), [(b"<html>", ".bin"), (b"DDS |" + bytes(100), ".bin")])
def test_without_verification_the_extension_is_not_that_which_the_host_claims(store, tmp_path, content, kind):
    [stored] = store(content, verify="off")
    assert stored.content_type == "application/octet-stream"
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == [kind]


@pytest.mark.parametrize(
    ("content", "name"), [(b"\0\0\0\x20ftypavif" + bytes(50), "AVIF"), (b"DDS |" + bytes(9), "DDS")]
)
def test_the_format_of_what_is_refused_is_named_with_a_free_next_step(store, content, name):
    with pytest.raises(SegmindOutputError, match=f"its format is {name}.*verify='off'"):
        store(content)


def test_the_verdict_does_not_depend_on_the_quarantine(store, photo, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.quarantine").write_text("a file")
    with pytest.raises(SegmindImageMismatchError, match=r"score 0\..*it was not kept in \.quarantine"):
        store(encoded(Image.new("RGB", photo.size, "white")), source=encoded(photo))


def test_a_device_is_not_replaced():
    with pytest.raises(SegmindConfigError, match="is a device or a pipe"):
        probe(object_path("file:///dev/zero", None))
