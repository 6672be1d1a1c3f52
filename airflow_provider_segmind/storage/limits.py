"""What is refused unless an argument says otherwise."""

from __future__ import annotations

#: Bytes of an input. It is held in memory, and base64 makes it a third larger on the wire.
MAX_INPUT_BYTES = 64 * 1024**2
#: Bytes of an output.
MAX_BYTES = 2 * 1024**3
