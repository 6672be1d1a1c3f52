"""A file that consists of parts of another one."""

from __future__ import annotations

import bisect
import io
from collections.abc import Iterable
from typing import Any, BinaryIO

#: Bytes, or the start and the end of a part of the other file.
Part = bytes | tuple[int, int]


class Spans(io.RawIOBase):
    """
    Read parts of a file as one file, without copying them.

    :param file: the other file; its position changes.
    :param parts: in the order in which they are read; adjacent ones become one. What lies beyond the end of the file is
        read as missing.
    """

    def __init__(self, file: BinaryIO, parts: Iterable[Part]) -> None:
        self._file = file
        self._parts: list[Part] = [b""]
        self._ends = [0]  # in this file
        for part in parts:
            last = self._parts[-1]
            if isinstance(part, tuple) and isinstance(last, tuple) and last[1] == part[0]:
                self._parts[-1] = last[0], part[1]
                self._ends[-1] += part[1] - part[0]
            else:
                self._parts.append(part)
                self._ends.append(self._ends[-1] + (part[1] - part[0] if isinstance(part, tuple) else len(part)))
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Change the position and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._ends[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from one part and return the number of bytes; 0 at the end."""
        index = bisect.bisect_right(self._ends, self._position)
        if index == len(self._parts):
            return 0
        left = self._ends[index] - self._position
        view = memoryview(buffer)[:left]
        part = self._parts[index]
        if isinstance(part, bytes):
            content = part[len(part) - left :][: len(view)]
        else:
            self._file.seek(part[1] - left)
            content = self._file.read(len(view))
        view[: len(content)] = content
        self._position += len(content)
        return len(content)
