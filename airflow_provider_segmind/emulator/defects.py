"""Whole images that are not the output that was requested: for the fault ``wrong_image``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

DEFECTS = ("other", "blank", "mirrored", "rotated", "unscaled")


def spoil(image: Image.Image, defect: str, factor: int) -> Image.Image:
    """
    Return an output with a defect.

    :param image: the right output.
    :param defect: one of ``DEFECTS``.
    :param factor: by which the output was enlarged.
    """
    from PIL import Image, ImageOps

    if defect == "blank":
        return Image.new("RGB", image.size, "white")
    if defect == "mirrored":
        return ImageOps.mirror(image)
    if defect == "rotated":
        return image.transpose(Image.Transpose.ROTATE_180)
    if defect == "unscaled":
        return image.reduce(factor)
    circles = Image.radial_gradient("L").resize(image.size).point(lambda value: value * 4 % 256)
    return Image.merge("RGB", (circles, ImageOps.invert(circles), circles))
