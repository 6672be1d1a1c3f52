"""
Metadata of image files: read it, and write a file again with other metadata.

The pixels are copied as the bytes that they are: nothing here decodes or encodes them. No output is held in memory.
"""

from __future__ import annotations

from airflow_provider_segmind.storage.metadata.copying import copy_metadata as copy_metadata
