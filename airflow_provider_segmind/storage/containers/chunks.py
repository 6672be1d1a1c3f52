"""What the walkers of the containers yield."""

from __future__ import annotations

from typing import BinaryIO, NamedTuple


class MalformedError(ValueError):
    """A file or a part of it is damaged, too large, or of an unknown kind. Does not leave this package's storage."""


class Chunk(NamedTuple):
    """
    A chunk of a PNG or WebP, or a segment of a JPEG.

    :param kind: its name; of a segment the second byte of its marker.
    :param start: where it starts in the file.
    :param content: where its content starts.
    :param length: the bytes of its content, as stated: the file may end before.
    :param end: where the next one starts.
    """

    kind: bytes
    start: int
    content: int
    length: int
    end: int

    def head(self, file: BinaryIO, length: int) -> bytes:
        """Return the first bytes of its content; fewer if there are no more."""
        file.seek(self.content)
        return file.read(min(length, self.length))

    def read(self, file: BinaryIO, most: int) -> bytes:
        """Return its content; raise MalformedError if it has more than ``most`` bytes, or if the file ends before."""
        if self.length > most:
            raise MalformedError(f"it has more than {most} bytes")
        content = self.head(file, most)
        if len(content) < self.length:
            raise MalformedError("the file is truncated")
        return content
