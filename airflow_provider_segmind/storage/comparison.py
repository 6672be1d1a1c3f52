"""
Compare an output with its input: is it the same image?

Both images are scaled down to 64 pixels at the longest side, and compared in two ways:

- structure: in windows of 8 x 8 pixels, how the luma of one follows the luma of the other (the structural similarity
  without its term for brightness). The score is the mean of the worst quarter of the image, so that half an image that
  is black is not averaged away.
- colour: how far the chroma of cells of 8 x 8 pixels is from the input's, after the saturation is matched, and how far
  the mean luma is.

An upscale changes neither much. The size of the output is not compared: that is verified before. What does not vary by
more than about three levels of 255 at this size (a blank sheet, fine noise) has no structure that could be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, BinaryIO

from airflow_provider_segmind.storage.limits import UNCROPPED
from airflow_provider_segmind.storage.scaling import averaged, check_pixels, has_alpha, upright
from airflow_provider_segmind.storage.verification import image_errors, opened, orientation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    Pixels = NDArray[np.float32]

#: Longest side in pixels at which two images are compared.
_SIDE = 64
#: An image is first scaled down by averaging to at least this multiple of that.
_OVERSIZE = 4
#: Side and distance of the windows in which structure is compared, and side of the cells of colours, in pixels.
_WINDOW, _STRIDE, _CELL = 8, 4, 8
#: Variance (squared levels of 255) that is taken for noise, and standard deviation of a window with full weight.
_NOISE, _CLEAR = 9.0, 6.0
#: The factors by which a model may change the saturation.
_SATURATION = (0.6, 1.6)
#: The difference in levels of chroma at which the colour score is 0.5; a difference of luma counts for an eighth.
_COLOUR_SCALE, _LUMA_SHARE = 6.7, 1 / 8
#: Orientations that turn an image.
_TURNS = range(2, 9)
#: An alpha from which on a pixel counts as opaque.
_OPAQUE = 250


@dataclass(frozen=True)
class Comparison:
    """
    How much an output shows the same image as its input.

    ``score`` is the lower one of ``structure`` and ``colour``: 1 for the same image, about 0 or less for another one.
    ``upright`` is True if the output's pixels have the input's orientation applied (or it has none), False if they are
    as the input's pixels are stored, and None if only the orientation that the output states makes it upright.
    """

    structure: float
    colour: float
    upright: bool | None

    @property
    def score(self) -> float:
        """Return the lower one of both scores, between 0 and 1."""
        return max(0.0, min(self.structure, self.colour))

    @property
    def explanation(self) -> str:
        """Return what differs most, as a part of a sentence."""
        if self.structure <= self.colour:
            return f"its shapes differ from the input's (structure {self.structure:.3f}, colour {self.colour:.3f})"
        return f"its colours differ from the input's (structure {self.structure:.3f}, colour {self.colour:.3f})"


def compare(source: BinaryIO | Reduced, output: BinaryIO | Reduced) -> Comparison:
    """
    Return how much an output shows the same image as its input.

    ``storage.scaling.MAX_PIXELS`` bounds the memory that this takes. Most of the time is the decoding of a PNG or WebP:
    a caller that has decoded one passes its small copy, which :func:`reduced` returns.

    :param source: the input, which is a whole image, or a small copy of it.
    :param output: the output, which is a whole image, or a small copy of it.
    :raises SegmindOutputError: one of them is too large to be compared, or has a format that is not read.
    """
    before, after = reduced_of(source), reduced_of(output)
    shown, pixels = before.turned(before.orientation), after.turned(None)
    found = [_best(shown, pixels, is_upright=True)]
    if before.orientation in _TURNS:
        found.append(_best(before.turned(None), pixels, is_upright=False))
    if after.orientation in _TURNS:
        found.append(_best(shown, after.turned(after.orientation), is_upright=None))
    return max(found, key=lambda comparison: comparison.score)


@dataclass(frozen=True)
class Reduced:
    """
    A small copy of an image.

    ``colours`` has no transparency; ``layer`` has it, and is None for an image that is opaque. ``is_rgb`` is False for
    CMYK, whose conversion to RGB depends on the converter: its colours are not compared.
    """

    size: tuple[int, int]  # of the image itself
    colours: Image.Image
    layer: Image.Image | None
    orientation: int | None
    is_rgb: bool = True

    def turned(self, turn: int | None) -> Reduced:
        """Return the copy turned by an EXIF orientation."""
        size = self.size[::-1] if turn in range(5, 9) else self.size
        layer = None if self.layer is None else upright(self.layer, turn)
        return Reduced(size, upright(self.colours, turn), layer, None, self.is_rgb)

    def over(self, background: str | None) -> Image.Image:
        """Return the copy over a colour; without one, as a model sees it that ignores transparency."""
        from PIL import Image

        if self.layer is None or background is None:
            return self.colours
        base = Image.new("RGBA", self.layer.size, background)
        base.alpha_composite(self.layer)
        return base.convert("RGB")


def reduced_of(file: BinaryIO | Reduced) -> Reduced:
    """Return the small copy of an image in a file, see :func:`reduced`; a small copy stays as it is."""
    if isinstance(file, Reduced):
        return file
    with image_errors(), opened(file) as image:
        check_pixels(image, "a comparison")
        return reduced(image, orientation(file))


def reduced(image: Image.Image, turn: int | None = None) -> Reduced:
    """
    Return the small copy of an image that is compared.

    :param image: the image; it is decoded if it is not yet.
    :param turn: its EXIF orientation; None if it has none.
    """
    size = image.size
    converts = (_opaque, _layer) if has_alpha(image) else (_opaque,)
    copies, factor = averaged(image, _OVERSIZE * _SIDE, *converts)
    colours, *layers = [_exact(copy, size, factor) for copy in copies]
    transparent = bool(layers) and layers[0].getchannel("A").point(lambda alpha: alpha < _OPAQUE).getbbox()
    return Reduced(size, colours.convert("RGB"), layers[0] if transparent else None, turn, image.mode != "CMYK")


def _exact(copy: Image.Image, size: tuple[int, int], factor: float) -> Image.Image:
    """Return a copy without the part of its last row and column that is outside of the image."""
    from PIL import Image

    width, height = size[0] / factor, size[1] / factor
    whole = (max(1, round(width)), max(1, round(height)))
    return copy if factor == 1 else copy.resize(whole, Image.Resampling.BOX, box=(0, 0, width, height))


def _opaque(strip: Image.Image) -> Image.Image:
    """Return a strip without its transparency; 16 bits become 8."""
    import numpy as np
    from PIL import Image

    if strip.mode in ("RGB", "L"):
        return strip
    if strip.mode.startswith("I"):
        return Image.fromarray(np.clip(np.asarray(strip) >> 8, 0, 255).astype(np.uint8))
    return (strip.convert("RGBA") if strip.mode in ("P", "PA") else strip).convert("RGB")


def _layer(strip: Image.Image) -> Image.Image:
    return strip if strip.mode == "RGBA" else strip.convert("RGBA")


def _best(before: Reduced, after: Reduced, *, is_upright: bool | None) -> Comparison:
    """Return the best score over the ways in which a model may crop the image and remove its transparency."""
    side = min(_SIDE, max(before.size), max(after.size))
    scale = side / max(before.size)
    size = (max(1, round(before.size[0] * scale)), max(1, round(before.size[1] * scale)))
    whole = (0.0, 0.0, 1.0, 1.0)
    if after.layer is not None:  # transparency that is kept has to be that of the input
        pairs = [[(before.over(colour), after.over(colour)) for colour in ("white", "black")]]
    elif before.layer is not None:
        pairs = [[(before.over(colour), after.colours)] for colour in (None, "white", "black")]
    else:
        pairs = [[(before.colours, after.colours)]]
    found = []
    for layers, part in product(pairs, _parts(before.size, after.size)):
        scores = [_scores(_pixels(one, size, part), _pixels(two, size, whole)) for one, two in layers]
        colour = min(score[1] for score in scores) if before.is_rgb and after.is_rgb else 1.0
        found.append(Comparison(min(score[0] for score in scores), colour, is_upright))
    return max(found, key=lambda comparison: min(comparison.structure, comparison.colour))


def _parts(source: tuple[int, int], output: tuple[int, int]) -> Iterator[tuple[float, float, float, float]]:
    """Yield the parts of the input that the output may show: all of it, or all but a few pixels at its edges."""
    yield (0.0, 0.0, 1.0, 1.0)
    ratios = output[0] / source[0], output[1] / source[1]
    for scale in {float(round(max(ratios))), max(ratios)} - {0.0}:
        kept = [min(1.0, ratio / scale) for ratio in ratios]
        if min(kept) < 1 and min(kept) >= UNCROPPED:
            starts = [(0.0, (1 - share) / 2, 1 - share) if share < 1 else (0.0,) for share in kept]
            for left, top in product(*starts):
                yield (left, top, left + kept[0], top + kept[1])


def _pixels(image: Image.Image, size: tuple[int, int], part: tuple[float, float, float, float]) -> Pixels:
    """Return a part of an image at a size, as luma and two levels of chroma."""
    import numpy as np
    from PIL import Image

    left, top, right, bottom = part
    box = (left * image.width, top * image.height, right * image.width, bottom * image.height)
    small = np.asarray(image.resize(size, Image.Resampling.BOX, box=box), dtype=np.float32)
    luma = small @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    red, blue = 0.713 * (small[..., 0] - luma), 0.564 * (small[..., 2] - luma)
    return np.stack([luma, red, blue], axis=-1)


def _scores(before: Pixels, after: Pixels) -> tuple[float, float]:
    return _structure(before[..., 0], after[..., 0]), _colour(before, after)


def _structure(before: Pixels, after: Pixels) -> float:
    """Return the similarity of the worst quarter."""
    import numpy as np

    first, second = _windows(before), _windows(after)
    axes = (2, 3)
    variances = first.var(axis=axes) + second.var(axis=axes)
    covariance = (first * second).mean(axis=axes) - first.mean(axis=axes) * second.mean(axis=axes)
    similarity = (2 * covariance + _NOISE) / (variances + _NOISE)
    weights = np.minimum(np.sqrt(variances), _CLEAR) + 0.1
    rows, columns = (np.array_split(np.arange(count), min(2, count)) for count in similarity.shape)
    quarters = [np.ix_(*quarter) for quarter in product(rows, columns)]
    return min(float(np.average(similarity[quarter], weights=weights[quarter])) for quarter in quarters)


def _windows(luma: Pixels) -> Pixels:
    import numpy as np

    shape = (min(_WINDOW, luma.shape[0]), min(_WINDOW, luma.shape[1]))
    return np.lib.stride_tricks.sliding_window_view(luma, shape)[::_STRIDE, ::_STRIDE]


def _colour(before: Pixels, after: Pixels) -> float:
    """Return the similarity of the colours. Levels of a dark image count for more."""
    import numpy as np

    first, second = _cells(before), _cells(after)
    chroma, other = first[..., 1:], second[..., 1:]
    gain = np.clip((chroma * other).sum() / max(float((chroma**2).sum()), 1e-6), *_SATURATION)
    luma = [float(image[..., 0].mean()) for image in (first, second)]
    chroma_error = float(np.sqrt(((other - gain * chroma) ** 2).sum(axis=-1)).mean()) * 128 / (40 + max(luma))
    error = max(chroma_error, abs(luma[0] - luma[1]) * _LUMA_SHARE)
    return 1 / (1 + (error / _COLOUR_SCALE) ** 2)


def _cells(pixels: Pixels) -> Pixels:
    """Return the means of cells of about 8 x 8 pixels."""
    import numpy as np

    for axis in (0, 1):
        parts = np.array_split(pixels, max(1, round(pixels.shape[axis] / _CELL)), axis=axis)
        pixels = np.stack([part.mean(axis=axis) for part in parts], axis=axis)
    return pixels
