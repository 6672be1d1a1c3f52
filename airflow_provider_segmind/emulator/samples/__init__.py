"""Sample images, so that a DAG finds an input without a network. README.md names their authors."""

from __future__ import annotations

from importlib.resources import files

#: Media type of each sample image by its name.
CONTENT_TYPES = {"cat.jpg": "image/jpeg", "galaxies.webp": "image/webp", "portrait-alpha.png": "image/png"}


def read(name: str) -> bytes:
    """Return the bytes of a sample image."""
    return files(__package__).joinpath(name).read_bytes()
