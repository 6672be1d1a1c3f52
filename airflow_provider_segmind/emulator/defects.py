"""Outputs that are whole images, but not the ones that were asked for: for the fault ``wrong_image``."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image, ImageOps


def _other(image: Image.Image, factor: int) -> Image.Image:
    """Draw circles: an image that has nothing to do with the input."""
    circles = Image.radial_gradient("L").resize(image.size).point(lambda value: value * 4 % 256)
    return Image.merge("RGB", (circles, ImageOps.invert(circles), circles))


#: Name of a defect -> what it makes of the right output, and of the factor by which that was enlarged.
DEFECTS: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    "other": _other,
    "blank": lambda image, factor: Image.new("RGB", image.size, "white"),
    "mirrored": lambda image, factor: ImageOps.mirror(image),
    "rotated": lambda image, factor: image.transpose(Image.Transpose.ROTATE_180),
    "unscaled": lambda image, factor: image.reduce(factor),
}
