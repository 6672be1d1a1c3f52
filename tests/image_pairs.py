"""
Pairs of an input and an output: outputs that show the same image, and outputs with a gross defect.

The outputs are the emulator's real upscales, changed by Pillow and numpy with a fixed seed. A defect counts if it is
visible: it changes the upscale by at least ``VISIBLE`` levels of 255 on average, both 64 pixels wide. A mirrored
symmetric image is the same image, as are the swapped channels of a grey one and a rotated one that is blank.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

from airflow_provider_segmind.emulator.pixels import Upscale, upscale

#: Levels of 255: the least mean difference of an upscale and the same with a defect, both 64 pixels wide.
VISIBLE = 4
SEED = 15

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


@dataclass(frozen=True)
class Pair:
    """One input and one output; ``gross`` is True for a defect."""

    photo: str
    kind: str
    gross: bool
    source: bytes
    output: bytes


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    """Return an image as a file."""
    file = io.BytesIO()
    image.save(file, form, **({"compress_level": 1} if form == "PNG" else {}) | options)
    return file.getvalue()


# --- benign: settings of the upscale, other filters, and what models and encoders do to pixels ---------------------

UPSCALES = {
    "upscale x2, JPEG quality 95": Upscale("", 2, "jpeg", 95),
    "upscale x4, PNG": Upscale("", 4, "png"),
    "upscale x8, JPEG quality 60": Upscale("", 8, "jpeg", 60),
    "upscale x2, JPEG quality 30": Upscale("", 2, "jpeg", 30),
    "upscale x2, JPEG quality 10": Upscale("", 2, "jpeg", 10),
    "upscale x4, WebP quality 80": Upscale("", 4, "webp", 80),
    "upscale x2, WebP quality 10": Upscale("", 2, "webp", 10),
}


def _resized(factor: int, filter: Image.Resampling) -> Change:
    return lambda image, random: image.resize((image.width * factor, image.height * factor), filter)


RESAMPLED: dict[str, Change] = {
    "nearest x4": _resized(4, Image.Resampling.NEAREST),
    "bilinear x2": _resized(2, Image.Resampling.BILINEAR),
    "bicubic x8": _resized(8, Image.Resampling.BICUBIC),
}


def _grain(sigma: float) -> Change:
    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        pixels = np.asarray(image, dtype=np.float32)
        return _from(pixels + random.normal(0, sigma, pixels.shape[:2])[..., None])

    return change


def _gamma(power: float) -> Change:
    return lambda image, random: image.point([round(255 * (value / 255) ** power) for value in range(256)] * 3)


def _channels(*gains: float) -> Change:
    return lambda image, random: _from(np.asarray(image, dtype=np.float32) * np.array(gains))


def _hallucinated(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Replace a patch of 4 % of the area with texture of its own mean colour, and sharpen all edges."""
    pixels = np.asarray(image.filter(ImageFilter.UnsharpMask(3, 120)), dtype=np.float32).copy()
    height, width = pixels.shape[0] // 5, pixels.shape[1] // 5
    top, left = random.integers(pixels.shape[0] - height), random.integers(pixels.shape[1] - width)
    patch = pixels[top : top + height, left : left + width]
    patch[:] = patch.mean(axis=(0, 1)) + random.normal(0, 40, (height, width, 1))
    return _from(pixels)


def _cropped_to(multiple: int) -> Change:
    """Crop to a multiple of pixels, which removes up to 5 % of a side: a small image is enlarged before."""

    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        factor = -(-20 * multiple // min(image.size))
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.BILINEAR)
        width, height = (side // multiple * multiple for side in image.size)
        left = random.choice([0, (image.width - width) // 2, image.width - width])
        top = random.choice([0, (image.height - height) // 2, image.height - height])
        return image.crop((left, top, left + width, top + height))

    return change


#: To XYZ (D65) from the linear values of two large colour spaces, and from XYZ to linear sRGB.
_WIDE = {
    "Display P3": np.array([[0.4866, 0.2657, 0.1982], [0.2290, 0.6917, 0.0793], [0.0, 0.0451, 1.0439]]),
    "Adobe RGB": np.array([[0.5767, 0.1856, 0.1882], [0.2973, 0.6274, 0.0753], [0.0270, 0.0707, 0.9911]]),
}
_SRGB = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])


def _converted(space: str) -> Change:
    """Convert as a managed application does, if the input's values are those of a large colour space."""

    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        linear = (np.asarray(image, dtype=np.float32) / 255) ** 2.2
        return _from(255 * np.clip(linear @ _WIDE[space].T @ _SRGB.T, 0, 1) ** (1 / 2.2))

    return change


BENIGN: dict[str, Change] = {
    "sharpened": lambda image, random: image.filter(ImageFilter.UnsharpMask(2, 150)),
    "sharpened strongly": lambda image, random: image.filter(ImageFilter.UnsharpMask(4, 300)),
    "median filter": lambda image, random: image.filter(ImageFilter.MedianFilter(5)),
    "Gaussian blur": lambda image, random: image.filter(ImageFilter.GaussianBlur(2.5)),
    "grain, sigma 8": _grain(8),
    "grain, sigma 25": _grain(25),
    "contrast -15 %": lambda image, random: ImageEnhance.Contrast(image).enhance(0.85),
    "contrast +20 %": lambda image, random: ImageEnhance.Contrast(image).enhance(1.2),
    "brightness -10 %": lambda image, random: ImageEnhance.Brightness(image).enhance(0.9),
    "brightness +10 %": lambda image, random: ImageEnhance.Brightness(image).enhance(1.1),
    "gamma 0.85": _gamma(0.85),
    "gamma 1.15": _gamma(1.15),
    "saturation -25 %": lambda image, random: ImageEnhance.Color(image).enhance(0.75),
    "saturation +25 %": lambda image, random: ImageEnhance.Color(image).enhance(1.25),
    "white balance 3 %": _channels(1.03, 1, 0.97),
    "invented local detail": _hallucinated,
    "cropped to multiples of 8": _cropped_to(8),
    "cropped to multiples of 16": _cropped_to(16),
    "cropped to multiples of 64": _cropped_to(64),
    "Display P3 converted to sRGB": _converted("Display P3"),
    "Adobe RGB converted to sRGB": _converted("Adobe RGB"),
}

# --- gross defects ----------------------------------------------------------------------------------------------------


def _from(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def _blank(colour: tuple[int, int, int] | None) -> Change:
    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        mean = tuple(int(value) for value in np.asarray(image).mean(axis=(0, 1)))
        return Image.new("RGB", image.size, colour or mean)

    return change


def _turned(turn: Image.Transpose, *, stretched: bool = False) -> Change:
    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        turned = image.transpose(turn)
        return turned.resize(image.size) if stretched else turned

    return change


def _crop(left: float, top: float, right: float, bottom: float) -> Change:
    """Crop to these shares of the sides, and enlarge to the size that was asked for."""

    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        box = (left * image.width, top * image.height, right * image.width, bottom * image.height)
        return image.resize(image.size, Image.Resampling.BICUBIC, box=box)

    return change


def _black(left: float, top: float, right: float, bottom: float) -> Change:
    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        box = (left * image.width, top * image.height, right * image.width, bottom * image.height)
        image.paste((0, 0, 0), (round(box[0]), round(box[1]), round(box[2]), round(box[3])))
        return image

    return change


def _swapped(*order: int) -> Change:
    return lambda image, random: Image.merge("RGB", [image.getchannel(number) for number in order])


def _shifted(share: float) -> Change:
    return lambda image, random: ImageChops.offset(image, round(share * image.width), round(share * image.height))


GROSS: dict[str, Change] = {
    "blank: black": _blank((0, 0, 0)),
    "blank: white": _blank((255, 255, 255)),
    "blank: its mean colour": _blank(None),
    "rotated by 90": _turned(Image.Transpose.ROTATE_90),
    "rotated by 90, then stretched": _turned(Image.Transpose.ROTATE_90, stretched=True),
    "rotated by 180": _turned(Image.Transpose.ROTATE_180),
    "rotated by 270": _turned(Image.Transpose.ROTATE_270),
    "mirrored": _turned(Image.Transpose.FLIP_LEFT_RIGHT),
    "flipped": _turned(Image.Transpose.FLIP_TOP_BOTTOM),
    "cropped by 20 %, centre": _crop(0.1, 0.1, 0.9, 0.9),
    "cropped by 20 %, corner": _crop(0, 0, 0.8, 0.8),
    "cropped by 20 % at one side": _crop(0, 0, 0.8, 1),
    "shifted by 8 %": _shifted(0.08),
    "left half black": _black(0, 0, 0.5, 1),
    "lower half black": _black(0, 0.5, 1, 1),
    "inverted": lambda image, random: ImageOps.invert(image),
    "red and blue swapped": _swapped(2, 1, 0),
    "channels rotated": _swapped(1, 2, 0),
    "tint: red": _channels(1.3, 0.85, 0.85),
    "tint: blue": _channels(0.8, 0.9, 1.3),
    "tint: green": _channels(0.8, 1.25, 0.8),
    "tint: yellow overlay of 25 %": lambda image, random: Image.blend(
        image, Image.new("RGB", image.size, (255, 220, 0)), 0.25
    ),
}


# --- the pairs --------------------------------------------------------------------------------------------------------


def photos(folder: Path, side: int) -> dict[str, bytes]:
    """Return the images of a folder by name, reduced to this longest side in pixels."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".md":
            continue
        with Image.open(path) as image:
            image.thumbnail((side, side))
            if image.mode in ("RGBA", "LA", "P"):
                found[path.name] = encoded(image.convert("RGBA"))
            else:
                found[path.name] = encoded(image.convert("L" if image.mode == "L" else "RGB"), "JPEG", quality=92)
    return found


def pairs(images: dict[str, bytes]) -> Iterator[Pair]:
    """Yield the pairs of these images."""
    for number, (name, source) in enumerate(images.items()):
        random = np.random.default_rng([SEED, zlib.crc32(name.encode())])
        other = list(images.values())[(number + 1 + int(random.integers(len(images) - 1))) % len(images)]
        with Image.open(io.BytesIO(source)) as image:
            pixels = ImageOps.exif_transpose(image).convert("RGBA" if image.mode == "RGBA" else "RGB")
        for kind, work in UPSCALES.items():
            yield Pair(name, kind, False, source, upscale(source, work).data)
        for kind, change in RESAMPLED.items():
            yield Pair(name, kind, False, source, encoded(change(pixels, random)))
        yield from _flattened(name, pixels, source)
        good = _opened(upscale(source, UPSCALES["upscale x2, JPEG quality 95"]).data)
        for kind, change in BENIGN.items():
            yield Pair(name, kind, False, source, _some_format(change(good.copy(), random), random))
        for kind, change in ({"another image": _replaced_by(other)} | GROSS).items():
            bad = change(good.copy(), random)
            if difference(good, bad) >= VISIBLE:
                yield Pair(name, kind, True, source, _some_format(bad, random))


def difference(good: Image.Image, bad: Image.Image) -> float:
    """Return the mean difference of two images in levels of 255, both 64 pixels wide."""
    first, second = (
        np.asarray(image.resize((64, 64), Image.Resampling.BOX), dtype=np.float32) for image in (good, bad)
    )
    return float(abs(first - second).mean())


def _replaced_by(other: bytes) -> Change:
    return lambda image, random: _opened(other).resize(image.size)


def _opened(content: bytes) -> Image.Image:
    """Return an image over white."""
    with Image.open(io.BytesIO(content)) as image:
        layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _flattened(name: str, pixels: Image.Image, source: bytes) -> Iterator[Pair]:
    """Yield the ways in which models remove transparency."""
    if pixels.mode != "RGBA":
        return
    large = pixels.resize((pixels.width * 2, pixels.height * 2), Image.Resampling.LANCZOS)
    for background in ("white", "black"):
        flat = Image.alpha_composite(Image.new("RGBA", large.size, background), large).convert("RGB")
        yield Pair(name, f"transparency over {background}", False, source, encoded(flat, "JPEG", quality=90))
    yield Pair(name, "transparency dropped", False, source, encoded(large.convert("RGB"), "JPEG", quality=90))


def _some_format(image: Image.Image, random: np.random.Generator) -> bytes:
    form = random.choice(["PNG", "JPEG", "WEBP"], p=[0.2, 0.6, 0.2])
    options = {} if form == "PNG" else {"quality": int(random.integers(60, 96))}
    return encoded(image, form, **options | ({"method": 0} if form == "WEBP" else {}))
