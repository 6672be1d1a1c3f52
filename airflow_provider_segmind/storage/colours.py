"""
Does an output have the colour space of its input?

Models that ignore profiles return the pixel values of the input's colour space, and the input's profile has to be kept.
Models that convert their input to sRGB, and state no profile, return other values: with the input's profile they would
be shown with wrong colours. The distribution of each channel's values shows which it is: no upscale changes that much.
A photo without strong colours has nearly the same values in both colour spaces, and then either is right.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.storage.comparison import Reduced, reduced_of
from airflow_provider_segmind.storage.containers.chunks import MalformedError
from airflow_provider_segmind.storage.metadata.reading import read
from airflow_provider_segmind.storage.verification import image_errors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

#: Mean difference in levels of 255 that may be noise, and part of it that a conversion leaves where it explains it.
_NOISE, _EXPLAINED = 1.5, 0.5


def is_converted(source: BinaryIO, output: BinaryIO | Reduced, *, copy: Callable[[], Reduced] | None = None) -> bool:
    """
    Return whether an output has the values of its input converted to sRGB, and not those of the input's profile.

    :param source: the input.
    :param output: the output, which states no profile, or a small copy of it.
    :param copy: returns a small copy of the input that is kept; default: it is read.
    """
    try:
        profile = read(source, ("icc",))[1].content.get("icc")
        with image_errors():
            if profile is None or not _is_rgb(profile):
                return False
            before, after = (copy() if copy else reduced_of(source)).colours, reduced_of(output).colours
            error = _difference(before, after)
            return error > _NOISE and _difference(_converted(before, profile), after) < _EXPLAINED * error
    except (MalformedError, SegmindError):  # of a profile that cannot be used nothing is known
        return False


def _is_rgb(profile: bytes) -> bool:
    return profile[16:20] == b"RGB "


def _converted(image: Image.Image, profile: bytes) -> Image.Image:
    from PIL import ImageCms

    space, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, space, ImageCms.ImageCmsProfile(srgb))
    return image if converted is None else converted


def _difference(one: Image.Image, other: Image.Image) -> float:
    import numpy as np

    return float(np.abs(_values(one) - _values(other)).mean())


def _values(image: Image.Image) -> NDArray[np.float64]:
    """Return quantiles of the levels of each channel, which do not change when an image is turned."""
    import numpy as np

    pixels = np.asarray(image.convert("RGB"), dtype=np.float64).reshape(-1, 3)
    return np.quantile(pixels, np.linspace(0.05, 0.95, 19), axis=0)
