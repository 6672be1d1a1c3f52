"""Comparisons of single images: formats, modes, orientation, transparency, sizes, limits."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from airflow_provider_segmind.exceptions import SegmindOutputError
from airflow_provider_segmind.protocol.models import MODELS, ModelParameters
from airflow_provider_segmind.storage.comparison import Comparison, compare, reduced

PHOTO = Path(__file__).parent / "photos" / "cat.jpg"
SAME, DIFFERENT = 0.8, 0.5


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A photo without symmetry, 300 x 200."""
    with Image.open(PHOTO) as image:
        converted: Image.Image = image.convert("RGB")
    return converted


def file_of(image: Image.Image, form: str = "PNG", **options) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, form, **({"compress_level": 1} if form == "PNG" else {}) | options)
    return file


def larger(image: Image.Image, factor: int = 2) -> Image.Image:
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)


def with_orientation(image: Image.Image, orientation: int, form: str) -> io.BytesIO:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return file_of(image, form, exif=exif)


# --- orientation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_the_output_may_have_the_orientation_applied_or_not(photo, form, orientation):
    source = with_orientation(photo, orientation, form)
    upright = ImageOps.exif_transpose(Image.open(source)).convert("RGB")

    applied = compare(source, file_of(larger(upright)))
    assert applied.upright
    assert applied.score > SAME
    stored = compare(source, file_of(larger(photo)))
    assert not stored.upright
    assert stored.score > SAME
    other_turn = compare(source, file_of(larger(ImageOps.mirror(upright))))
    # The mirrored image is what is stored for the orientation 2.
    assert other_turn.score > SAME if orientation == 2 else other_turn.score < DIFFERENT


def test_an_output_may_be_upright_by_its_own_orientation_only(photo):
    stored = photo.transpose(Image.Transpose.ROTATE_90)
    found = compare(file_of(photo), with_orientation(larger(stored), 6, "JPEG"))
    assert found.upright is None
    assert found.score > SAME


@pytest.mark.parametrize("is_turned", [True, False])
def test_the_orientation_that_an_output_states_does_not_decide_about_its_pixels(photo, is_turned):
    """A model may copy the orientation of its input, whether it has turned the pixels or not."""
    source = with_orientation(photo, 6, "JPEG")
    pixels = ImageOps.exif_transpose(Image.open(source)) if is_turned else photo
    found = compare(source, with_orientation(larger(pixels), 6, "JPEG"))
    assert found.upright is is_turned
    assert found.score > SAME


def test_a_phones_mpo_is_read(photo):
    source = file_of(photo, "MPO", save_all=True, append_images=[photo])
    assert compare(source, file_of(larger(photo))).score > SAME


# --- modes ------------------------------------------------------------------------------------------------------------

#: Mode and format of an input, and its image made from a photo.
MODES = {
    "RGB JPEG": ("JPEG", lambda image: image),
    "grey JPEG": ("JPEG", lambda image: image.convert("L")),
    "CMYK JPEG": ("JPEG", lambda image: image.convert("CMYK")),
    "progressive": ("JPEG", lambda image: image),
    "grey PNG": ("PNG", lambda image: image.convert("L")),
    "16 bits PNG": ("PNG", lambda image: Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)),
    "palette PNG": ("PNG", lambda image: image.quantize(64)),
    "grey and alpha PNG": ("PNG", lambda image: image.convert("LA")),
    "opaque RGBA PNG": ("PNG", lambda image: image.convert("RGBA")),
    "RGB WebP": ("WEBP", lambda image: image),
    "GIF": ("GIF", lambda image: image),
    "TIFF": ("TIFF", lambda image: image),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes(photo, mode):
    form, convert = MODES[mode]
    image = convert(photo)
    source = file_of(image, form, **({"progressive": True} if mode == "progressive" else {}))
    shown = photo.convert("L").convert("RGB") if mode.startswith(("grey", "16")) else photo
    assert compare(source, file_of(larger(shown), "JPEG")).score > SAME
    assert compare(source, file_of(larger(ImageOps.flip(shown)), "JPEG")).score < DIFFERENT


def test_the_colours_of_cmyk_are_not_compared(photo):
    """What they become depends on the profile that the converter uses."""
    red, green, blue = larger(photo).split()
    swapped = file_of(Image.merge("RGB", (blue, green, red)))
    assert compare(file_of(photo.convert("CMYK"), "JPEG"), swapped).score > SAME
    assert compare(file_of(photo, "JPEG"), swapped).score < DIFFERENT


# --- transparency -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cut_out(photo) -> Image.Image:
    """The photo with a triangle that is visible; what is transparent is not black."""
    mask = Image.new("L", photo.size)
    ImageDraw.Draw(mask).polygon([(10, 10), (290, 60), (120, 190)], fill=255)
    image: Image.Image = photo.copy()
    image.putalpha(mask)
    return image


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
@pytest.mark.parametrize("background", ["white", "black", None])
def test_transparency_that_was_removed(cut_out, form, background):
    source = file_of(cut_out, form, **({"lossless": True} if form == "WEBP" else {}))
    flat = larger(cut_out).convert("RGB")
    if background:
        flat = Image.alpha_composite(Image.new("RGBA", flat.size, background), larger(cut_out)).convert("RGB")
    assert compare(source, file_of(flat, "JPEG")).score > 0.6
    assert compare(source, file_of(ImageOps.mirror(flat), "JPEG")).score < DIFFERENT


def test_transparency_that_was_kept(cut_out):
    assert compare(file_of(cut_out), file_of(larger(cut_out))).score > SAME
    assert compare(file_of(cut_out), file_of(larger(cut_out), "WEBP")).score > SAME


def test_a_transparent_colour_of_a_palette(photo):
    source = photo.quantize(32)
    file = file_of(source, transparency=source.getpixel((5, 5)))
    flat = Image.open(file).convert("RGBA")
    white = Image.alpha_composite(Image.new("RGBA", flat.size, "white"), flat).convert("RGB")
    assert compare(file, file_of(larger(white))).score > SAME


def test_an_output_that_is_transparent_is_another_image(photo, cut_out):
    invisible = larger(photo)
    invisible.putalpha(0)
    assert compare(file_of(photo), file_of(invisible)).score < DIFFERENT
    assert compare(file_of(cut_out), file_of(invisible)).score < DIFFERENT
    half = larger(photo)
    half.putalpha(Image.linear_gradient("L").resize(half.size))
    assert compare(file_of(photo), file_of(half)).score < DIFFERENT


# --- what is the same, and what is not --------------------------------------------------------------------------------


def test_a_blank_sheet_is_compared_by_its_colour():
    sheet = Image.new("RGB", (300, 200), (200, 30, 90))
    assert compare(file_of(sheet), file_of(larger(sheet), "JPEG")).score > 0.95
    for colour in ((90, 30, 200), (0, 0, 0), (255, 255, 255)):
        assert compare(file_of(sheet), file_of(Image.new("RGB", (600, 400), colour))).score < DIFFERENT


def test_what_is_symmetric_or_grey_is_the_same_image(photo):
    """Stated in the documentation: the pixels are the same, so nothing can find the difference."""
    symmetric = Image.new("RGB", (400, 200))
    symmetric.paste(photo.resize((200, 200)), (0, 0))
    symmetric.paste(ImageOps.mirror(photo.resize((200, 200))), (200, 0))
    assert compare(file_of(symmetric), file_of(larger(ImageOps.mirror(symmetric)))).score > SAME
    grey = photo.convert("L").convert("RGB")
    assert compare(file_of(grey), file_of(larger(Image.merge("RGB", grey.split()[::-1])))).score > SAME


@pytest.mark.parametrize("edge", range(4))
@pytest.mark.parametrize("factor", [2, 4, 3.4])
def test_a_few_pixels_may_be_cropped_at_any_edge(photo, edge, factor):
    box = [0, 0, *photo.size]
    box[edge] += 8 if edge < 2 else -8
    cropped = photo.crop(tuple(box))
    size = round(cropped.width * factor), round(cropped.height * factor)
    assert compare(file_of(photo), file_of(cropped.resize(size))).score > SAME


def test_a_fifth_may_not_be_cropped(photo):
    for box in ((0, 0, 240, 200), (0, 40, 300, 200), (30, 20, 270, 180)):
        assert compare(file_of(photo), file_of(larger(photo.crop(box)))).score < DIFFERENT


def test_a_quarter_that_is_missing_is_found(photo):
    output = larger(photo)
    output.paste((0, 0, 0), (0, 0, 300, 200))
    assert compare(file_of(photo), file_of(output)).score < DIFFERENT


def test_the_explanation_names_what_differs(photo):
    assert "shapes" in compare(file_of(photo), file_of(ImageOps.flip(photo))).explanation
    red, green, blue = photo.split()
    assert "colours" in compare(file_of(photo), file_of(Image.merge("RGB", (blue, green, red)))).explanation
    assert Comparison(structure=-0.5, colour=1, upright=True).score == 0


# --- sizes and limits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (9, 7), (1, 5000), (5000, 3), (64, 64), (2047, 2049), (4100, 1025)])
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_sizes(photo, size, form):
    image = photo.resize(size)
    found = compare(file_of(image, form), file_of(larger(image) if max(size) < 2000 else image, form))
    assert found.score > SAME


def test_a_small_copy_of_a_decoded_image_gives_the_same_score(photo):
    source, output = file_of(photo, "JPEG"), file_of(larger(photo, 4))
    with Image.open(output) as image:
        image.load()
        copy = reduced(image)
    assert compare(source, copy) == compare(source, output)


def test_what_cannot_be_compared(photo):
    with pytest.raises(SegmindOutputError, match="a comparison of 9000 x 9000 pixels would take too much memory"):
        compare(file_of(photo), file_of(Image.new("1", (9000, 9000))))
    with pytest.raises(SegmindOutputError, match="its format is HTML"):
        compare(file_of(photo), io.BytesIO(b"<html>"))


def test_only_models_with_a_threshold_are_compared():
    assert ModelParameters.same_above is None
    assert all(0.5 <= (model.same_above or 0) < 1 for model in MODELS.values())


#: Format and sides of the output: 24 megapixels, or the most that is decoded. The input has a quarter of it.
LARGE = [("JPEG", 6000, 4000), ("PNG", 6000, 4000), ("WEBP", 4898, 3264)]
COST = """
    import sys, time
    from pathlib import Path
    from airflow_provider_segmind.storage.comparison import compare, reduced
    from airflow_provider_segmind.storage.verification import verified_size

    photo, source, output = (open(path, "rb") for path in sys.argv[1:])
    compare(photo, photo)  # imports
    start = time.process_time()
    verified_size(output, whole=True)
    verification, start, copies = time.process_time() - start, time.process_time(), []
    verified_size(output, whole=True, decoded=lambda image: copies.append(reduced(image)))
    compare(source, copies[0] if copies else output)
    seconds = time.process_time() - start - verification
    # Not getrusage: it counts the memory of the process that started this one, too.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(seconds, int(peak.split()[1]) / 1024)
"""


@pytest.mark.parametrize(("form", "width", "height"), LARGE, ids=lambda value: str(value))
def test_the_cost_of_large_images(tmp_path, photo, form, width, height):
    """CPU seconds that the comparison adds to the verification, and MiB of the whole process."""
    paths = []
    for name, divisor in (("source", 2), ("output", 1)):
        paths.append(str(tmp_path / name))
        photo.resize((width // divisor, height // divisor)).save(
            paths[-1], form, **{"PNG": {"compress_level": 1}, "WEBP": {"method": 0}}.get(form, {})
        )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(COST), str(PHOTO), *paths],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, mebibytes = map(float, done.stdout.split())
    assert seconds < 0.5
    assert mebibytes < 300
