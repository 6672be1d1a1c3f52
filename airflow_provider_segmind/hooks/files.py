"""Local files as inputs and outputs of the hook."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from airflow_provider_segmind.protocol.data_uris import data_uri


@contextmanager
def writable(target: str | Path | BinaryIO) -> Iterator[BinaryIO]:
    """
    Open a path for writing, and delete the file if an error occurs; yield a file object unchanged.

    :param target: a local path, or an open file.
    """
    if not isinstance(target, str | Path):
        yield target
        return
    path = Path(target)
    try:
        with path.open("w+b") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def data_uri_of(file: str | Path | bytes) -> str:
    """
    Return a file as a data URI.

    :param file: a local path, or the contents.
    """
    if isinstance(file, bytes):
        return data_uri(file)
    return data_uri(Path(file).read_bytes(), mimetypes.guess_type(Path(file).name)[0])
