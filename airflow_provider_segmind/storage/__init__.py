"""
Pictures from storage and into it: whole and proved on both ways, for any store that ``ObjectStoragePath`` knows.

Each name is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_segmind.lazy_imports import lazy_getattr

if TYPE_CHECKING:
    from airflow_provider_segmind.storage.inputs import InputImage, goes_inside, list_images, load_image, read_picture
    from airflow_provider_segmind.storage.outputs import (
        StoredObject,
        publish_text,
        read_bytes,
        remove,
        sizes_in,
        store_result,
    )
    from airflow_provider_segmind.storage.paths import object_path
    from airflow_provider_segmind.storage.verification import image_size

__all__ = [
    "InputImage",
    "StoredObject",
    "goes_inside",
    "image_size",
    "list_images",
    "load_image",
    "object_path",
    "publish_text",
    "read_bytes",
    "read_picture",
    "remove",
    "sizes_in",
    "store_result",
]

_HOMES = {
    **dict.fromkeys(("InputImage", "goes_inside", "list_images", "load_image", "read_picture"), "inputs"),
    **dict.fromkeys(("StoredObject", "publish_text", "read_bytes", "remove", "sizes_in", "store_result"), "outputs"),
    "object_path": "paths",
    "image_size": "verification",
}

__getattr__ = lazy_getattr(__name__, _HOMES)
