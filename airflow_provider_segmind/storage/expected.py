"""What an output has to be: what its input, its parameters and ``verify=`` require of it."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

from airflow_provider_segmind.exceptions import SegmindError, SegmindOutputError
from airflow_provider_segmind.protocol.models import MODELS, scale_of
from airflow_provider_segmind.storage.comparison import Comparison, Reduced, compare, reduced_of
from airflow_provider_segmind.storage.limits import UNCROPPED, KeepMetadata, Verify
from airflow_provider_segmind.storage.verification import image_size, orientation

log = logging.getLogger(__name__)

_ACCEPT = (
    "The request was billed. To store this output as it is, set verify='off' and clear the task: it takes the same "
    "output and submits nothing, unless durable=False."
)


@dataclass(frozen=True)
class Expected:
    """
    What one output has to be.

    :param verify: ``off``: whatever was downloaded is stored, and what is wrong with it is logged as a warning;
        ``whole``: a whole image, with at least the pixels of its input times the scale; ``same``: also the same image
        as its input. Default: ``same`` where the input can be read without a download, else ``whole``.
    :param keep_metadata: which metadata of the input the stored object keeps.
    :param same_above: lowest score at which output and input are the same image; None if they are not compared.
    :param scale: by how much width and height grow.
    :param input_size: upright width and height of the input in pixels, if known.
    :param input_name: the input's URI, or another name of it for messages.
    :param read_input: returns the bytes of the input as it was submitted; None if this task does not have them.
    """

    verify: Verify | None = None
    keep_metadata: KeepMetadata = "icc"
    same_above: float | None = None
    scale: int = 1
    input_size: tuple[int, int] | None = None
    input_name: str = "its input"
    read_input: Callable[[], bytes | None] = lambda: None

    @classmethod
    def of(
        cls,
        model: str,
        parameters: Mapping[str, Any],
        *,
        verify: Verify | None,
        keep_metadata: KeepMetadata,
        input_size: tuple[int, int] | None,
        input_name: str,
        read_input: Callable[[], bytes | None],
    ) -> Expected:
        """Return what an output of a model has to be: those of the upscalers are their inputs, enlarged."""
        typed = MODELS.get(model)
        same_above = typed.same_above if typed else None
        scale = scale_of(model, parameters)
        return cls(verify, keep_metadata, same_above, scale, input_size, input_name, read_input)

    @property
    def is_upscale(self) -> bool:
        """True if the output is the enlarged input; that of any other model may be anything."""
        return self.same_above is not None

    @property
    def compares(self) -> bool:
        """True if the output has to be the same image as its input, as far as that is at hand."""
        return self.is_upscale and self.verify in (None, "same")

    @cached_property
    def source(self) -> bytes | None:
        """
        The bytes of the input, as far as they are needed.

        :raises SegmindOutputError: ``verify="same"`` was asked for, and they cannot be read.
        """
        if not self.compares and (not self.is_upscale or self.keep_metadata == "none"):
            return None
        try:
            content = self.read_input()
        except SegmindError as error:
            if self.verify == "same":
                raise _not_compared(error.detail, retryable=error.retryable) from error
            log.warning("The output is not compared with its input, and keeps no metadata of it: %s", error.detail)
            return None
        if content is None and self.verify == "same":
            raise _not_compared("this task does not have the input any more", retryable=False)
        return content

    @cached_property
    def source_copy(self) -> Reduced:
        """A small copy of the input, which is read once; raises SegmindOutputError if it is too large."""
        return reduced_of(io.BytesIO(self.source or b""))

    def check_size(self, width: int, height: int) -> None:
        """Raise SegmindOutputError for fewer pixels than input times scale; width and height may be swapped."""
        if (size := self._size) is None:
            return
        least = [max(side, int(side * self.scale * UNCROPPED)) for side in sorted(size)]
        if any(side < required for side, required in zip(sorted((width, height)), least, strict=True)):
            before = "{} x {}".format(*size)
            after = "{} x {}".format(*(side * self.scale for side in size))
            scaled = f"scaled by {self.scale} it has {after}" if self.scale > 1 else "no side may become shorter"
            raise SegmindOutputError(
                f"it has {width} x {height} pixels; its input has {before}, and {scaled}", next_step=_ACCEPT
            )

    @cached_property
    def _size(self) -> tuple[int, int] | None:
        """The upright size of the input in pixels, as far as the input is at hand."""
        if self.input_size is not None or self.source is None:
            return self.input_size
        try:
            return image_size(io.BytesIO(self.source))
        except SegmindOutputError as error:
            log.warning("The size of the input is not known: %s", error.detail)
            return None

    def compared(self, output: BinaryIO | Reduced) -> Comparison | None:
        """
        Compare a whole output with its input; return None if the input is missing, or the comparison is not needed.

        :param output: the output, or a small copy of it.
        """
        if self.source is None:
            return None
        if not self.compares and orientation(io.BytesIO(self.source)) == 1:
            return None
        try:
            return compare(self.source_copy, output)  # metadata needs to know whether the output is turned
        except SegmindOutputError as error:
            if self.verify == "same":
                raise _not_compared(error.detail, retryable=error.retryable) from error
            log.warning("The output is not compared with its input: %s", error.detail)
            return None

    def is_another(self, compared: Comparison) -> bool:
        """Return whether an output is definitely not the same image as its input."""
        return self.compares and self.same_above is not None and compared.score < self.same_above


def _not_compared(why: str, *, retryable: bool) -> SegmindOutputError:
    return SegmindOutputError(
        f"it cannot be compared with its input, which verify='same' requires: {why}",
        next_step="The request was billed. To store its output without the comparison, set verify='whole' and clear "
        "the task: it takes the same output and submits nothing, unless durable=False.",
        retryable=retryable,
    )
