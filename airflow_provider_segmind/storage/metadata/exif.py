"""
Adjust an EXIF block to the image that it is copied to.

The block is changed in place: what is not changed keeps its position, because the notes of a camera's maker
(``MakerNote``) contain positions that nobody else can correct. Libraries that decode and encode a block move it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from airflow_provider_segmind.storage.containers.chunks import MalformedError

_ORIENTATION, _EXIF, _GPS, _INTEROP = 0x0112, 0x8769, 0x8825, 0xA005
_THUMBNAIL, _THUMBNAIL_LENGTH = 0x0201, 0x0202
#: Directory -> tags of width and height of the image.
_SIZES = {"main": (0x0100, 0x0101), "exif": (0xA002, 0xA003), "interop": (0x1001, 0x1002)}
#: Directory -> the directory that points to it, and the tag.
_POINTERS = {"exif": ("main", _EXIF), "gps": ("main", _GPS), "interop": ("exif", _INTEROP)}
_POINTER_TAGS = {tag for _, tag in _POINTERS.values()}
_CHANGED = {("main", _ORIENTATION), ("main", _GPS), *((name, tag) for name, tags in _SIZES.items() for tag in tags)}
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # of one value of each type
_SHORT, _LONG = 3, 4


def orientation_of(exif: bytes | None) -> int | None:
    """Return the orientation (1 to 8) that a block states, if its beginning can be read; None if it states none."""
    try:
        block = _Block(exif or b"")
        entry = next((entry for entry in block.directory("main") if entry.tag == _ORIENTATION), None)
        value = block.number("H" if entry and entry.kind == _SHORT else "I", entry.position + 8) if entry else 0
    except MalformedError:
        return None
    return value if 1 <= value <= 8 else None


def has_gps(exif: bytes | None) -> bool:
    """Return whether a block has a directory of positions on Earth, if its beginning can be read."""
    try:
        return any(entry.tag == _GPS for entry in _Block(exif or b"").directory("main"))
    except MalformedError:
        return False


def minimal(orientation: int) -> bytes:
    """Return a block that states the orientation and nothing else."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, _ORIENTATION, _SHORT, 1, orientation, 0, 0)


def adjusted(exif: bytes, *, orientation: int, size: tuple[int, int], gps: bool) -> bytes:
    """
    Return a block for another image: with its orientation and size, and without a thumbnail.

    :param orientation: of the other image, 1 to 8.
    :param size: its width and height in pixels; they replace what is stated, and are not added.
    :param gps: keep positions on Earth.
    :raises MalformedError: the block is damaged.
    """
    block = _Block(exif)
    before = block.values()
    block.drop_thumbnail()
    if not gps:
        block.drop_gps()
    block.trim()
    block.set_size(size)
    block.set_orientation(orientation)
    after = _Block(bytes(block.data)).values()
    kept = {key: value for key, value in before.items() if key not in _CHANGED and (gps or key[0] != "gps")}
    if any(after.get(key) != value for key, value in kept.items()):
        raise MalformedError("parts of it overlap")
    return bytes(block.data)


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


class _Block:
    """An EXIF block: the header of a TIFF file and directories, each with entries and the position of the next one."""

    def __init__(self, exif: bytes) -> None:
        self.data = bytearray(exif)
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(exif[:4]))
        if order is None:
            raise MalformedError("it does not begin like a TIFF file")
        self.order = order

    def number(self, code: str, position: int) -> int:
        """Return the number at a position; ``code`` is that of the module ``struct``."""
        try:
            number: int = struct.unpack_from(self.order + code, self.data, position)[0]
        except struct.error as error:
            raise MalformedError("it is truncated") from error
        return number

    def put(self, code: str, position: int, *numbers: int) -> None:
        try:
            struct.pack_into(self.order + code, self.data, position, *numbers)
        except struct.error as error:
            raise MalformedError("parts of it overlap") from error

    def start_of(self, name: str) -> int:
        """Return the position of a directory; 0 if there is none."""
        if name == "main":
            if (start := self.number("I", 4)) < 8:
                raise MalformedError("it has no first directory")
            return start
        parent, tag = _POINTERS[name]
        found = [entry for entry in self.directory(parent) if entry.tag == tag and entry.count]
        return self.number("I", found[0].position + 8) if found else 0

    def directory(self, name: str) -> list[_Entry]:
        """Return the entries of a directory; none if it does not exist."""
        start = self.start_of(name)
        return self.entries(start) if start else []

    def entries(self, start: int) -> list[_Entry]:
        """Return the entries of the directory at a position."""
        count = self.number("H", start)
        if start + 2 + 12 * count > len(self.data):
            raise MalformedError("a directory of it is truncated")
        positions = range(start + 2, start + 2 + 12 * count, 12)
        return [
            _Entry(at, self.number("H", at), self.number("H", at + 2), self.number("I", at + 4)) for at in positions
        ]

    def range_of(self, entry: _Entry) -> tuple[int, int]:
        """Return start and end of an entry's value."""
        start = entry.position + 8 if entry.length <= 4 else self.number("I", entry.position + 8)
        if start + entry.length > len(self.data):
            raise MalformedError("a value of it is truncated")
        return start, start + entry.length

    def tables(self) -> Iterator[tuple[str, int, list[_Entry]]]:
        """Yield name, position and entries of each directory that is kept."""
        for name in ("main", *_POINTERS):
            if start := self.start_of(name):
                yield name, start, self.entries(start)

    def values(self) -> dict[tuple[str, int], bytes]:
        """Return every value of the directories that are kept."""
        return {
            (name, entry.tag): bytes(self.data[slice(*self.range_of(entry))])
            for name, _, entries in self.tables()
            for entry in entries
        }

    def drop_thumbnail(self) -> None:
        """Remove the second directory, which is that of the thumbnail, and the thumbnail."""
        link = self.next_of_main()
        start = self.number("I", link) if link + 4 <= len(self.data) else 0
        if not start:
            return
        self.put("I", link, 0)
        try:
            entries = self.entries(start)
            found = {entry.tag: self.number("I", entry.position + 8) for entry in entries}
            thumbnail = found.get(_THUMBNAIL, 0)
            self.erase(thumbnail, thumbnail + found.get(_THUMBNAIL_LENGTH, 0))
            self.erase_directory(start, entries)
        except MalformedError:
            return  # nothing points to it any more

    def next_of_main(self) -> int:
        """Return the position of the number that follows the first directory: the position of the second one."""
        start = self.start_of("main")
        return start + 2 + 12 * len(self.entries(start))

    def drop_gps(self) -> None:
        """Remove the directory of positions on Earth, its values, and the entry that points to it."""
        entry = next((entry for entry in self.directory("main") if entry.tag == _GPS), None)
        if entry is None:
            return
        if gps := self.start_of("gps"):
            self.erase_directory(gps, self.entries(gps))
        start, end = self.start_of("main"), self.next_of_main() + 4
        self.data[entry.position : end] = self.data[entry.position + 12 : end] + bytes(12)
        self.put("H", start, self.number("H", start) - 1)

    def erase_directory(self, start: int, entries: list[_Entry]) -> None:
        for entry in entries:
            self.erase(*self.range_of(entry))
        self.erase(start, start + 6 + 12 * len(entries))

    def erase(self, start: int, end: int) -> None:
        """Overwrite a range with zeros."""
        end = min(end, len(self.data))
        if start < end:
            self.data[start:end] = bytes(end - start)

    def trim(self) -> None:
        """Remove what follows the last value or directory, if it is zeros only."""
        ends = [start + 6 + 12 * len(entries) for _, start, entries in self.tables()]
        ends += [self.range_of(entry)[1] for _, _, entries in self.tables() for entry in entries]
        if not any(self.data[max(ends) :]):
            del self.data[max(ends) :]

    def set_size(self, size: tuple[int, int]) -> None:
        """Replace each width and height that is stated."""
        for name, tags in _SIZES.items():
            for entry in self.directory(name):
                if entry.tag in tags:
                    self.put("HHII", entry.position, entry.tag, _LONG, 1, size[tags.index(entry.tag)])

    def set_orientation(self, orientation: int) -> None:
        """Replace the orientation, or add it if it is needed."""
        entries = self.directory("main")
        for entry in entries:
            if entry.tag == _ORIENTATION:
                self.put("HHIHH", entry.position, _ORIENTATION, _SHORT, 1, orientation, 0)
                return
        if orientation != 1:
            self.add_orientation(entries, orientation)

    def add_orientation(self, entries: list[_Entry], orientation: int) -> None:
        """Move the first directory to the end of the block, with one more entry: its values keep their positions."""
        added = struct.pack(f"{self.order}HHIHH", _ORIENTATION, _SHORT, 1, orientation, 0)
        rows = [bytes(self.data[entry.position : entry.position + 12]) for entry in entries] + [added]
        rows.sort(key=lambda row: struct.unpack_from(f"{self.order}H", row)[0])
        self.data += bytes(len(self.data) % 2)
        self.put("I", 4, len(self.data))
        self.data += struct.pack(f"{self.order}H", len(rows)) + b"".join(rows) + bytes(4)
