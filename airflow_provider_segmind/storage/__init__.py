"""Pictures from storage and into it: whole and proved on both ways, for any store that ``ObjectStoragePath`` knows."""

from __future__ import annotations

from airflow_provider_segmind.storage.inputs import (
    MAX_INPUT_BYTES,
    Picture,
    data_uri_size,
    goes_inside,
    list_pictures,
    load_picture,
    read_picture,
)
from airflow_provider_segmind.storage.outputs import (
    MAX_BYTES,
    StoredObject,
    names_in,
    publish_text,
    read_text,
    remove,
    store_result,
)
from airflow_provider_segmind.storage.paths import object_path
from airflow_provider_segmind.storage.proof import picture_size

__all__ = [
    "MAX_BYTES",
    "MAX_INPUT_BYTES",
    "Picture",
    "StoredObject",
    "data_uri_size",
    "goes_inside",
    "list_pictures",
    "load_picture",
    "names_in",
    "object_path",
    "picture_size",
    "publish_text",
    "read_picture",
    "read_text",
    "remove",
    "store_result",
]
