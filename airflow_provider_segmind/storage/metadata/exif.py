"""
Adjust an EXIF block to the image that it is copied to.

The block is changed in place: what is not changed keeps its position, because the notes of a camera's maker
(``MakerNote``) contain positions that nobody else can correct. Libraries that decode and encode a block move it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from airflow_provider_segmind.storage.containers.chunks import MalformedError
from airflow_provider_segmind.storage.metadata import gps as positions

_ORIENTATION, _EXIF, _GPS, _INTEROP = 0x0112, 0x8769, 0x8825, 0xA005
_FURTHER = 0x014A  # directories that are not read
_THUMBNAIL, _THUMBNAIL_LENGTH = 0x0201, 0x0202
#: Directory -> tags of width and height of the image.
_SIZES: dict[str, tuple[int, ...]] = {"main": (0x0100, 0x0101), "exif": (0xA002, 0xA003), "interop": (0x1001, 0x1002)}
#: Directory -> the directory that points to it, and the tag.
_POINTERS = {"exif": ("main", _EXIF), "gps": ("main", _GPS), "interop": ("exif", _INTEROP)}
_POINTER_TAGS = {tag for _, tag in _POINTERS.values()}
_CHANGED = {("main", _ORIENTATION), ("main", _GPS), *((name, tag) for name, tags in _SIZES.items() for tag in tags)}
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # of one value of each type
_SHORT, _LONG, _DIRECTORY = 3, 4, 13


@dataclass(frozen=True)
class _Entry:
    """One entry of a directory: 12 bytes at a position."""

    position: int
    tag: int
    kind: int
    count: int

    @property
    def length(self) -> int:
        if self.tag in _POINTER_TAGS:
            return 4  # some writers state a type that is not that of a position
        return _BYTES.get(self.kind, 0) * self.count


class _Table(NamedTuple):
    """A directory: its start, its entries, and their end, where the position of the next directory is."""

    start: int
    entries: list[_Entry]
    end: int


def orientation_of(exif: bytes | None) -> int | None:
    """Return the orientation (1 to 8) that a block states, as far as it can be read; None if it states none."""
    found = _first(exif, _ORIENTATION)
    if found is None or found[1].kind not in (_SHORT, _LONG):
        return None
    block, entry = found
    value = block.number("H" if entry.kind == _SHORT else "I", entry.position + 8)
    return value if 1 <= value <= 8 else None


def _first(exif: bytes | None, tag: int) -> tuple[_Block, _Entry] | None:
    """Return a block and the first entry with this tag in its first directory, as far as it can be read."""
    with suppress(struct.error, MalformedError):
        block = _Block(exif or b"")
        return next(((block, entry) for entry in block.read_entries(block.number("I", 4)) if entry.tag == tag), None)
    return None


def may_have_gps(exif: bytes | None) -> bool:
    """Return whether a block may state a position on Earth; maker's notes are searched for text only."""
    if not exif:
        return False
    try:
        block = _Block(exif)
        entries = [entry for table in block.linked_tables().values() for entry in table.entries]
        unread = any(any(block.data[slice(*each)]) for each in block.unread())
    except (struct.error, MalformedError):
        return True
    return (
        unread
        or positions.mentioned(exif)
        or any(
            entry.tag in (_GPS, _FURTHER) or (entry.kind == _DIRECTORY and entry.tag not in _POINTER_TAGS)
            for entry in entries
        )
    )


def minimal(orientation: int) -> bytes:
    """Return a block that states the orientation and nothing else."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, _ORIENTATION, _SHORT, 1, orientation, 0, 0)


def adjusted(exif: bytes, *, orientation: int, size: tuple[int, int], gps: bool) -> bytes:
    """
    Return a block for another image: with its orientation and size, and without a thumbnail.

    :param orientation: of the other image, 1 to 8.
    :param size: its width and height in pixels; they replace what is stated, and are not added.
    :param gps: keep positions on Earth, and bytes that nothing in the block points to.
    :raises MalformedError: the block is damaged.
    """
    try:
        block = _Block(exif)
        before = block.values()
        block.drop_thumbnail()
        if not gps:
            block.drop_gps()
            block.erase_unread()
        block.trim()
        block.set_size(size)
        block.set_orientation(orientation)
        after = block.values()
    except struct.error as error:
        raise MalformedError("it is truncated") from error
    kept = {key: value for key, value in before.items() if key not in _CHANGED and (gps or key[0] != "gps")}
    if any(after.get(key) != value for key, value in kept.items()):
        raise MalformedError("parts of it overlap")
    return bytes(block.data)


class _Block:
    """
    An EXIF block: the header of a TIFF file and directories, each with entries and the position of the next one.

    All methods raise struct.error where the block ends too early.
    """

    def __init__(self, exif: bytes) -> None:
        self.data = bytearray(exif)
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(exif[:4]))
        if order is None:
            raise MalformedError("it does not begin like a TIFF file")
        self.order = order

    def number(self, code: str, position: int) -> int:
        """Return the number at a position; ``code`` is that of the module ``struct``."""
        number: int = struct.unpack_from(self.order + code, self.data, position)[0]
        return number

    def put(self, code: str, position: int, *numbers: int) -> None:
        struct.pack_into(self.order + code, self.data, position, *numbers)

    def read_entries(self, start: int) -> Iterator[_Entry]:
        """Yield the entries of the directory at a position."""
        if start < 8:
            raise MalformedError("it has no first directory")
        for at in range(start + 2, start + 2 + 12 * self.number("H", start), 12):
            yield _Entry(at, *struct.unpack_from(f"{self.order}HHI4x", self.data, at))

    def tables(self) -> dict[str, _Table]:
        """Return the directories that are kept, by name."""
        found = {"main": self.table(self.number("I", 4))}
        for name, (parent, tag) in _POINTERS.items():
            pointers = [entry for entry in found[parent].entries if entry.tag == tag] if parent in found else []
            if pointers and pointers[0].count and (start := self.number("I", pointers[0].position + 8)):
                found[name] = self.table(start)
        return found

    def linked_tables(self) -> dict[str, _Table]:
        """Return the directories that are kept, and that of the thumbnail; raise MalformedError if there are more."""
        tables = self.tables()
        if start := self.following(tables["main"]):
            tables["thumbnail"] = self.table(start)
            if self.following(tables["thumbnail"]):
                raise MalformedError("it has more than two directories")
        return tables

    def following(self, table: _Table) -> int:
        """Return the position of the next directory; 0 if there is none."""
        return self.number("I", table.end) if table.end + 4 <= len(self.data) else 0

    def table(self, start: int) -> _Table:
        """Return the directory at a position; its values together have no more bytes than the block."""
        entries = list(self.read_entries(start))
        if sum(entry.length for entry in entries) > len(self.data):
            raise MalformedError("parts of it overlap")
        return _Table(start, entries, start + 2 + 12 * len(entries))

    def range_of(self, entry: _Entry) -> tuple[int, int]:
        """Return start and end of an entry's value."""
        start = entry.position + 8 if entry.length <= 4 else self.number("I", entry.position + 8)
        if start + entry.length > len(self.data):
            raise MalformedError("a value of it is truncated")
        return start, start + entry.length

    def values(self) -> dict[tuple[str, int], bytes]:
        """Return every value of the directories that are kept."""
        return {
            (name, entry.tag): bytes(self.data[slice(*self.range_of(entry))])
            for name, table in self.tables().items()
            for entry in table.entries
        }

    def drop_thumbnail(self) -> None:
        """Remove the second directory, which is that of the thumbnail, and the thumbnail."""
        main = self.tables()["main"]
        start = self.following(main)
        if not start:
            return
        self.put("I", main.end, 0)
        with suppress(struct.error, MalformedError):  # nothing points to it any more
            table = self.table(start)
            self.erase(*self.thumbnail_of(table))
            self.erase_table(table)

    def drop_gps(self) -> None:
        """Remove the directory of positions on Earth, its values, and the entry that points to it."""
        start, entries, end = self.tables()["main"]
        entry = next((entry for entry in entries if entry.tag == _GPS), None)
        if entry is None:
            return
        if gps := self.number("I", entry.position + 8):
            self.erase_table(self.table(gps))
        self.data[entry.position : end + 4] = self.data[entry.position + 12 : end + 4] + bytes(12)
        self.put("H", start, len(entries) - 1)

    def erase_table(self, table: _Table) -> None:
        for entry in table.entries:
            self.erase(*self.range_of(entry))
        self.erase(table.start, table.end + 4)

    def erase_unread(self) -> None:
        """Overwrite what no directory points to: what is left there by other software may be positions on Earth."""
        for start, end in list(self.unread()):
            self.erase(start, end)

    def unread(self) -> Iterator[tuple[int, int]]:
        """Yield start and end of what is neither a directory nor a value of one, nor the thumbnail."""
        tables = self.linked_tables()
        ranges = [(0, 8), *((table.start, table.end + 4) for table in tables.values())]
        ranges += [self.range_of(entry) for table in tables.values() for entry in table.entries]
        ranges += [self.thumbnail_of(tables["thumbnail"])] if "thumbnail" in tables else []
        read = 0
        for start, end in sorted([*ranges, (len(self.data), len(self.data))]):
            if start > read:
                yield read, start
            read = max(read, end)

    def thumbnail_of(self, table: _Table) -> tuple[int, int]:
        """Return start and end of the thumbnail that a directory points to."""
        found = {entry.tag: self.number("I", entry.position + 8) for entry in table.entries}
        start = found.get(_THUMBNAIL, 0)
        return start, start + found.get(_THUMBNAIL_LENGTH, 0)

    def erase(self, start: int, end: int) -> None:
        """Overwrite a range with zeros."""
        end = min(end, len(self.data))
        self.data[start:end] = bytes(max(0, end - start))

    def trim(self) -> None:
        """Remove what follows the last value or directory, if it is zeros only."""
        tables = self.tables().values()
        end = max(table.end + 4 for table in tables)
        end = max([end, *(self.range_of(entry)[1] for table in tables for entry in table.entries)])
        if not any(self.data[end:]):
            del self.data[end:]

    def set_size(self, size: tuple[int, int]) -> None:
        """Replace each width and height that is stated."""
        for name, table in self.tables().items():
            for entry in table.entries:
                if entry.tag in (tags := _SIZES.get(name, ())):
                    self.put("HHII", entry.position, entry.tag, _LONG, 1, size[tags.index(entry.tag)])

    def set_orientation(self, orientation: int) -> None:
        """
        Replace the orientation, or add it if it is needed.

        The first directory then moves to the end of the block, and its values keep their positions.
        """
        start, entries, end = self.tables()["main"]
        stated = [entry for entry in entries if entry.tag == _ORIENTATION]
        for entry in stated:
            self.put("HHIHH", entry.position, _ORIENTATION, _SHORT, 1, orientation, 0)
        if stated or orientation == 1:
            return
        added = struct.pack(f"{self.order}HHIHH", _ORIENTATION, _SHORT, 1, orientation, 0)
        rows = [bytes(self.data[entry.position : entry.position + 12]) for entry in entries] + [added]
        rows.sort(key=lambda row: struct.unpack_from(f"{self.order}H", row)[0])
        self.erase(start, end)
        self.data += bytes(len(self.data) % 2)
        self.put("I", 4, len(self.data))
        self.data += struct.pack(f"{self.order}H", len(rows)) + b"".join(rows) + bytes(4)
