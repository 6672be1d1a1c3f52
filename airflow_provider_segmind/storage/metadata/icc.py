"""ICC profiles: check one, and make one from the chunks of a PNG or from another profile's curve."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from airflow_provider_segmind.storage.containers.chunks import MalformedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: x and y of white, red, green and blue.
Primaries = tuple[float, float, float, float, float, float, float, float]

_WHITE = (0.3127, 0.3290)  # D65
SRGB: Primaries = (*_WHITE, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
DISPLAY_P3: Primaries = (*_WHITE, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
BT2020: Primaries = (*_WHITE, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)

_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
_CLASSES = {b"mntr", b"scnr", b"prtr", b"spac"}
_CURVES = (b"rTRC", b"gTRC", b"bTRC")


def _tags(profile: bytes) -> dict[bytes, memoryview]:
    """Return the tags by name; raise MalformedError if it is not a whole profile of an image's colours."""
    if len(profile) < 132 or profile[36:40] != b"acsp":
        raise MalformedError("it does not begin like a profile")
    if int.from_bytes(profile[:4]) > len(profile):
        raise MalformedError("it is truncated")
    if profile[12:16] not in _CLASSES:
        raise MalformedError(f"it is a profile of the class {profile[12:16]!r}, which does not describe an image")
    count = int.from_bytes(profile[128:132])
    if 132 + 12 * count > len(profile):
        raise MalformedError("its table of tags is truncated")
    found = {}
    for name, start, length in struct.iter_unpack(">4sII", profile[132 : 132 + 12 * min(count, 1000)]):
        if start + length > len(profile):
            raise MalformedError("a tag of it is truncated")
        found[name] = memoryview(profile)[start : start + length]  # tags may share their bytes
    return found


def for_space(profile: bytes, space: bytes) -> bytes:
    """
    Return a profile that describes the same colours for pixels of another colour space.

    Grey pixels that became RGB, or RGB that became grey, are neutral colours: only the curve of brightness matters.

    :raises MalformedError: it is damaged, or has no equivalent in that colour space.
    """
    found, own_space = _tags(profile), profile[16:20]
    if own_space == space:
        return profile
    curves = {found.get(name) for name in ((b"kTRC",) if space == b"RGB " else _CURVES)}
    curve = curves.pop()
    if curves or curve is None or profile[20:24] != b"XYZ " or {own_space, space} != {b"RGB ", b"GRAY"}:
        raise MalformedError(f"it describes {own_space!r} pixels, and the output has {space!r}")
    return made(space, SRGB, bytes(curve))


def gamma(exponent: float) -> bytes:
    """Return the curve of a power function, as a tag."""
    return struct.pack(">4s4xHHi", b"para", 0, 0, _fixed(exponent))


def srgb_curve() -> bytes:
    """Return the curve of sRGB, as a tag."""
    numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return struct.pack(">4s4xHH5i", b"para", 3, 0, *map(_fixed, numbers))


def made(space: bytes, primaries: Primaries, curve: bytes) -> bytes:
    """
    Return a profile (version 4) of these primaries and this curve.

    :param space: ``RGB `` or ``GRAY``.
    :param primaries: of RGB.
    :param curve: a tag.
    :raises MalformedError: no colour space has these primaries.
    """
    found = {b"desc": _text("RGB" if space == b"RGB " else "Grey"), b"cprt": _text("CC0"), b"wtpt": _xyz(_D50)}
    if space == b"RGB ":
        matrix, adaptation = _matrices(primaries)
        found |= dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_xyz, matrix.T), strict=True))
        found |= {b"chad": b"sf32\0\0\0\0" + _numbers(adaptation.flat)}
    found |= dict.fromkeys(_CURVES if space == b"RGB " else (b"kTRC",), curve)
    return _packed(space, found)


def of_png(colour: Mapping[bytes, bytes], space: bytes) -> bytes | None:
    """
    Return the profile that these chunks of a PNG state; None if that is sRGB, which images without a profile have.

    As browsers do, ``gAMA`` without ``cHRM`` has the primaries of sRGB, and ``cHRM`` without ``gAMA`` is ignored.

    :raises MalformedError: they are damaged, or an ICC profile cannot state them.
    """
    if b"sRGB" in colour or b"gAMA" not in colour:
        return None
    primaries = SRGB
    if b"cHRM" in colour:
        primaries = tuple(n / 100_000 for n in _unpacked(">8I", colour[b"cHRM"]))  # type: ignore[assignment]
    exponent = _unpacked(">I", colour[b"gAMA"])[0] / 100_000
    if not 0.1 <= exponent <= 10:
        raise MalformedError(f"its gamma of {exponent} is not plausible")
    like_srgb = abs(exponent - 0.45455) < 0.001 and math.dist(primaries, SRGB) < 0.001
    return None if like_srgb else made(space, primaries, gamma(1 / exponent))


def of_cicp(content: bytes, space: bytes) -> bytes:
    """
    Return the profile that a ``cICP`` chunk states.

    :raises MalformedError: it is damaged, or an ICC profile cannot state it, such as that of an HDR image.
    """
    primaries, curve, matrix, full_range = _unpacked("4B", content)
    known_primaries = {1: SRGB, 9: BT2020, 12: DISPLAY_P3}
    known_curves = {4: gamma(2.2), 5: gamma(2.8), 8: gamma(1.0), 13: srgb_curve()}
    if primaries not in known_primaries or curve not in known_curves or (matrix, full_range) != (0, 1):
        raise MalformedError(f"no profile is known for {primaries}-{curve}-{matrix}-{full_range}")
    return made(space, known_primaries[primaries], known_curves[curve])


def _unpacked(code: str, content: bytes) -> tuple[int, ...]:
    try:
        return struct.unpack(code, content)
    except struct.error as error:
        raise MalformedError("a chunk of colours has an impossible length") from error


def _matrices(primaries: Primaries) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the matrix from linear RGB to XYZ under D50, and that from their white to D50, after Bradford."""
    import numpy as np

    if min(primaries[1::2]) <= 0:
        raise MalformedError("its primaries are not colours")
    white, *rgb = (np.array((x / y, 1, (1 - x - y) / y)) for x, y in zip(primaries[::2], primaries[1::2], strict=True))
    columns, bradford = np.transpose(rgb), np.array(_BRADFORD)
    if min(bradford @ white) <= 0:
        raise MalformedError("its white is not a colour")
    if abs(np.linalg.det(columns)) < 1e-6:
        raise MalformedError("its primaries do not span a colour space")
    adaptation = np.linalg.inv(bradford) @ np.diag(bradford @ _D50 / (bradford @ white)) @ bradford
    return adaptation @ columns @ np.diag(np.linalg.solve(columns, white)), adaptation


def _fixed(number: float) -> int:
    """Return a number in 16.16 fixed point."""
    if not -32768 < number < 32768:
        raise MalformedError("a number of it is not plausible")
    return round(number * 65536)


def _numbers(numbers: Iterable[float]) -> bytes:
    return b"".join(struct.pack(">i", _fixed(number)) for number in numbers)


def _xyz(numbers: Iterable[float]) -> bytes:
    return b"XYZ \0\0\0\0" + _numbers(numbers)


def _text(text: str) -> bytes:
    """Return a text in English, as a tag."""
    encoded = text.encode("utf-16-be")
    return struct.pack(">4s4xII4sII", b"mluc", 1, 12, b"enUS", len(encoded), 28) + encoded


def _packed(space: bytes, found: Mapping[bytes, bytes]) -> bytes:
    """Return a profile of these tags; equal contents are stored once."""
    start = 132 + 12 * len(found)
    table, body, places = b"", b"", dict[bytes, int]()
    for name, content in found.items():
        if content not in places:
            places[content] = start + len(body)
            body += content + bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, places[content], len(content))
    header = struct.pack(">I4xI4s4s4s", start + len(body), 0x04200000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _numbers(_D50)
    return header.ljust(128, b"\0") + struct.pack(">I", len(found)) + table + body
