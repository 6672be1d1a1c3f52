"""EXIF: the orientation."""

from __future__ import annotations

import struct

#: Bytes of EXIF data that are read: those of a JPEG have no more.
LIMIT = 64 * 1024
#: From this orientation on, width and height are swapped.
TRANSPOSED = 5
_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4


def orientation(exif: bytes) -> int:
    """Return the orientation that EXIF data states, from 1 (upright) to 8; 1 if it states none."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", exif, entry)
            if tag == _ORIENTATION and kind in (_SHORT, _LONG):
                (found,) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), exif, entry + 8)
                return int(found) if 1 <= found <= 8 else 1
    except struct.error:
        return 1
    return 1
