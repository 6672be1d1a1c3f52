"""
Copy metadata from the input of an upscaler to its output: the colour profile, EXIF, XMP, IPTC, texts.

Own code for the containers, because of the alternatives Pillow encodes the pixels again, piexif (not maintained) and
Pillow's EXIF move what a maker's note points to, and the bindings of Exiv2 are under the GPL.
"""

from __future__ import annotations

import io
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from airflow_provider_segmind.storage.containers.chunks import MalformedError
from airflow_provider_segmind.storage.containers.spans import Spans
from airflow_provider_segmind.storage.limits import KeepMetadata
from airflow_provider_segmind.storage.metadata import exif, icc, png, xmp
from airflow_provider_segmind.storage.metadata.parts import MOST_COPIED, Format, Parts
from airflow_provider_segmind.storage.metadata.reading import read, stated_orientation

log = logging.getLogger(__name__)

_BLOCK = 1024**2
_NO_PLACE = "the format of the output has no place for it"
_DESCRIPTIONS = {"exif": exif, "xmp": xmp}


def copy_metadata(
    source: BinaryIO,
    output: BinaryIO,
    target: BinaryIO,
    *,
    keep: KeepMetadata,
    upright: bool | None,
    same_colours: bool = True,
) -> tuple[str, ...]:
    """
    Write an output with the metadata of its input, and return which parts were written; the pixels are not touched.

    Writes nothing if there is nothing to change; the output is then the object to store. JPEG, PNG and WebP are
    supported, in any pair. Damaged, too large or unsuitable metadata is not copied, and is logged; it is not an error.

    - ``none``: nothing of the input is copied.
    - ``icc``: the colours: its ICC profile, or the chunks of a PNG that state a colour space. An output that states its
      own colours keeps them. A profile of another colour space (CMYK) is not copied.
    - ``all``: also EXIF, XMP, IPTC (JPEG to JPEG) and texts (PNG to PNG). They replace the output's own.

    Orientation: an upright output never states another orientation, its own included. If the output is not upright, it
    states the orientation of the input; with ``none`` it keeps what it states itself.

    An output's own EXIF and XMP stay as they are, but for a wrong orientation. Unless ``all``, positions on Earth (GPS)
    are removed, and each part of the output's metadata that cannot be shown to be free of them, with what follows the
    end of the image. An EXIF block that is written has the output's size and no thumbnail.

    :param source: the input.
    :param output: the output, a whole image.
    :param target: an empty file, to which the output is written with its metadata.
    :param keep: what is copied.
    :param upright: the output's pixels are turned as the input is shown (True) or as the input is stored (False); None
        to leave the orientation that the output states.
    :param same_colours: the output's values are of the input's colour space; False: the input's colours are not copied.
    :return: the parts written, of ``icc``, ``exif``, ``orientation`` (an EXIF block with nothing else, or none),
        ``xmp``, ``iptc`` and ``text``; ``gps`` alone if nothing was written, and parts were removed.
    """
    of_output = _read(output, "output")
    if of_output is None:
        return ()
    form, own = of_output
    of_input = _read(source, "input") if keep != "none" else None
    plan = _Plan(of_input[1] if of_input else Parts(), own, form, keep, upright=upright, same_colours=same_colours)
    plan.make()
    if not plan.written and keep != "all" and _may_have_gps(output, form):
        plan.written.append("gps")
    return tuple(plan.written) if plan.written and _write(output, target, form, plan.changes) else ()


def _read(file: BinaryIO, which: str) -> tuple[Format, Parts] | None:
    """Return the format and the metadata of a file; None if it cannot be read."""
    try:
        return read(file)
    except MalformedError as error:
        log.warning("The metadata of the %s was not read: %s", which, error)
        return None


def _may_have_gps(file: BinaryIO, form: Format) -> bool:
    """Return whether the file becomes shorter without all that may state a position on Earth."""
    try:
        return Spans(file, form.rewritten(file, Parts(gps=False))).seek(0, io.SEEK_END) < file.seek(0, io.SEEK_END)
    except MalformedError:
        return False


def _write(file: BinaryIO, target: BinaryIO, form: Format, changes: Parts) -> bool:
    """Write a file with changed metadata; return False and write nothing if its structure is damaged."""
    try:
        result = Spans(file, form.rewritten(file, changes))
        length = result.seek(0, io.SEEK_END)
        result.seek(0)
        shutil.copyfileobj(io.BufferedReader(result, _BLOCK), target, _BLOCK)
        if target.tell() != length:
            raise MalformedError("the file is truncated")
    except MalformedError as error:
        log.warning("No metadata was copied: the output cannot be written again: %s", error)
        target.seek(0)
        target.truncate()
        return False
    return True


@dataclass
class _Plan:
    """What is written, of what an input and an output have."""

    source: Parts
    own: Parts
    form: Format
    keep: KeepMetadata
    upright: bool | None
    same_colours: bool
    changes: Parts = field(default_factory=Parts)
    written: list[str] = field(default_factory=list)

    def make(self) -> None:
        """Decide about each part."""
        self.changes.gps = self.keep == "all"
        if self.keep != "none" and self.same_colours:
            self.colours()
        self.described("exif")
        self.described("xmp")
        if self.keep == "all":
            self.put("iptc", lambda: self.source.content.get("iptc"))
            self.text()
        for part, reason in self.source.dropped.items():
            _dropped(part, reason)

    @property
    def orientation(self) -> int:
        """Return the orientation that the stored image has to state."""
        if self.upright:
            return 1
        return stated_orientation(self.own if self.keep == "none" or self.upright is None else self.source) or 1

    def put(self, part: str, make: Callable[[], bytes | None]) -> bool:
        """Write a part; return whether there is one, and it can be read, and it fits the format of the output."""
        try:
            content = make() or b""
            most = self.form.LIMITS.get(part, 0)
            if len(content) > most:
                raise MalformedError(f"its limit is {most} bytes" if most else _NO_PLACE)
        except MalformedError as error:
            _dropped(part, str(error))
            return False
        if content:
            self.changes.content[part] = content
            self.written.append(part)
        return bool(content)

    def colours(self) -> None:
        """Copy the colour space, unless the output states its own."""
        if self.own.content.get("icc") or self.own.colour:
            return
        if self.form is png:
            self.changes.colour = self.source.colour
        if not self.put("icc", self.profile) and self.changes.colour:
            self.written.append("icc")

    def profile(self) -> bytes | None:
        """Return the profile that the output needs beside the chunks of a PNG, or instead of them."""
        colour, space = self.source.colour, self.own.space
        if b"cICP" in colour and self.form is not png:
            try:
                return icc.of_cicp(colour[b"cICP"], space)
            except MalformedError as error:
                _dropped("cICP", str(error))
        if profile := self.source.content.get("icc"):
            return icc.for_space(profile, space)
        return icc.of_png(colour, space) if self.form is not png else None

    def described(self, part: Literal["exif", "xmp"]) -> None:
        """Copy EXIF or XMP, or correct that of the output, or state the orientation alone."""
        if self.keep == "all" and self.put(part, lambda: self.adjusted(part, self.source)):
            return
        own, module = self.own.content.get(part), _DESCRIPTIONS[part]
        implied = 1 if part == "exif" and self.keep != "none" else self.orientation
        stated = module.orientation_of(own) or implied
        if stated == self.orientation and (self.keep == "all" or not module.may_have_gps(own)):
            return
        if not self.put(part, lambda: self.adjusted(part, self.own)):
            alone = part == "exif" and self.orientation != 1
            self.changes.content[part] = exif.minimal(self.orientation) if alone else b""
            self.written.append("orientation" if part == "exif" else part)

    def adjusted(self, part: Literal["exif", "xmp"], of: Parts) -> bytes | None:
        """Return EXIF or XMP as it fits the output."""
        content = of.content.get(part)
        if content and len(content) > MOST_COPIED[part]:
            raise MalformedError(f"it has more than {MOST_COPIED[part]} bytes")
        module, gps = _DESCRIPTIONS[part], self.keep == "all"
        content = content and module.adjusted(content, orientation=self.orientation, size=self.own.size, gps=gps)
        if not gps and module.may_have_gps(content):
            raise MalformedError("it may state a position on Earth")
        return content

    def text(self) -> None:
        """Copy the texts whose names the output does not have."""
        own = {_keyword(content) for _, content in self.own.text}
        texts = [(name, content) for name, content in self.source.text if _keyword(content) not in own]
        if texts and self.form is not png:
            _dropped("text", _NO_PLACE)
        elif texts:
            self.changes.text = texts
            self.written.append("text")


def _dropped(part: str, reason: str) -> None:
    log.warning("Metadata was not copied (%s): %s", part, reason)


def _keyword(content: bytes) -> bytes:
    """Return the name of a text of a PNG."""
    return content.partition(b"\0")[0]
