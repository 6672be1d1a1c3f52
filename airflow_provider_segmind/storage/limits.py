"""Choices and default limits of inputs and outputs. Without imports of ours: operators read them at DAG parsing."""

from __future__ import annotations

from typing import Literal

#: How an output is verified before it is stored.
Verify = Literal["off", "whole", "same"]
#: Which metadata of the input the stored object keeps.
KeepMetadata = Literal["none", "icc", "all"]

#: Part of each side that an output has at least: models crop to multiples of 8, 16 or 64 pixels.
UNCROPPED = 0.92
#: Bytes of an input. An input is held in memory, and base64 makes it a third larger in the request.
MAX_INPUT_BYTES = 64 * 1024**2
#: Bytes of an output.
MAX_BYTES = 2 * 1024**3
#: Bytes of a name in a folder, where the filesystem does not report its limit.
MAX_NAME = 255
#: Bytes of a key in S3 and GCS.
MAX_KEY = 1024
