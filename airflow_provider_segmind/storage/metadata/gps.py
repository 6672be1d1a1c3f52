"""
Decide whether metadata may state a position on Earth.

What cannot be read counts as stating one: a part is kept only if it is shown to be free of them.
"""

from __future__ import annotations

import re

#: Also an EXIF block, as it is or in hexadecimals, and the resources of Photoshop that have EXIF or XMP.
_MENTIONED = re.compile(rb"gps|latitude|longitude|Exif\0\0|457869660000|8BIM\x04[\x22-\x24]", re.IGNORECASE)
_COMPRESSED = b"brob"  # a box of content credentials (C2PA)


def mentioned(content: bytes) -> bool:
    """Return whether a text or other content mentions positions, in any case, in UTF-8 or UTF-16."""
    return any(_MENTIONED.search(each) for each in (content, content.replace(b"\0", b"")))


def in_credentials(content: bytes) -> bool:
    """Return whether content credentials (C2PA) may state a position."""
    return _COMPRESSED in content or mentioned(content)
