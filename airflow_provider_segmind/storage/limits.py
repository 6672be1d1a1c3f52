"""Default limits of inputs and outputs. Without imports: the operators read them when a DAG is parsed."""

from __future__ import annotations

#: Bytes of an input. An input is held in memory, and base64 makes it a third larger in the request.
MAX_INPUT_BYTES = 64 * 1024**2
#: Bytes of an output.
MAX_BYTES = 2 * 1024**3
