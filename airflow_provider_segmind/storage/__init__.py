"""
Pictures from storage and into it: whole and proved on both ways, for any store that ``ObjectStoragePath`` knows.

Each name is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_segmind.later import imported_later

if TYPE_CHECKING:
    from airflow_provider_segmind.storage.inputs import Picture, goes_inside, list_pictures, load_picture, read_picture
    from airflow_provider_segmind.storage.outputs import (
        StoredObject,
        publish_text,
        read_bytes,
        remove,
        sizes_in,
        store_result,
    )
    from airflow_provider_segmind.storage.paths import object_path
    from airflow_provider_segmind.storage.proof import picture_size

__all__ = [
    "Picture",
    "StoredObject",
    "goes_inside",
    "list_pictures",
    "load_picture",
    "object_path",
    "picture_size",
    "publish_text",
    "read_bytes",
    "read_picture",
    "remove",
    "sizes_in",
    "store_result",
]

_HOMES = {
    **dict.fromkeys(("Picture", "goes_inside", "list_pictures", "load_picture", "read_picture"), "inputs"),
    **dict.fromkeys(("StoredObject", "publish_text", "read_bytes", "remove", "sizes_in", "store_result"), "outputs"),
    "object_path": "paths",
    "picture_size": "proof",
}

__getattr__ = imported_later(__name__, _HOMES)
