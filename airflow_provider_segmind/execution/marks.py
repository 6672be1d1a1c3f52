"""
Marks: files that show the next try on the same machine that a POST never left.

A mark is created before the intent is written, and removed right before the POST leaves. Only one process can remove
it: the one that sends, or a later try that resolves the outcome. So an existing mark shows that the POST never left,
and removing it ensures that it never will. A missing mark shows nothing: the POST was sent, or this is another machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import uuid
from pathlib import Path

#: Identifies one start of the machine: after a crash a removed file may exist again.
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f-]{36}")


def make() -> str | None:
    """Create a mark and return its name; None if the machine has no boot id, or no space for the file."""
    with contextlib.suppress(OSError):
        name = f"{uuid.uuid4().hex}-{_BOOT_ID.read_text().strip()}"
        os.close(os.open(_path(name), os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        return name
    return None


def take(name: str) -> bool:
    """Remove a mark of this start of this machine, and return whether it existed."""
    with contextlib.suppress(OSError):
        if _NAME.fullmatch(name) and name.endswith(_BOOT_ID.read_text().strip()):
            _path(name).unlink()
            return True
    return False


def _path(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"segmind-mark-{os.getuid()}-{name}"
