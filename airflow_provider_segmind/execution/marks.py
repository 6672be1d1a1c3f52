"""
Marks: what a next try on the same machine finds out about a process that died right before its POST.

A mark is a file that is made before the intent is written, and removed right before the POST leaves. Whoever removes it
has it: the process that sends, or a later try that resolves. So a mark that is still there proves that the POST never
left, and removing it makes sure that it never will. A mark that is not there proves nothing: it was sent, or this is
another machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import uuid
from pathlib import Path

#: What tells one start of a machine from another: after a crash a removed file may be there again.
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f-]{36}")


def make() -> str | None:
    """Make a mark and return its name; None where the machine does not tell its starts apart, or has no room."""
    with contextlib.suppress(OSError):
        name = f"{uuid.uuid4().hex}-{_BOOT_ID.read_text().strip()}"
        os.close(os.open(_path(name), os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        return name
    return None


def take(name: str) -> bool:
    """Remove a mark of this start of this machine; False where it is not there (any more)."""
    with contextlib.suppress(OSError):
        if _NAME.fullmatch(name) and name.endswith(_BOOT_ID.read_text().strip()):
            _path(name).unlink()
            return True
    return False


def _path(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"segmind-mark-{os.getuid()}-{name}"
