"""
Storage: read images from object storage and store results in it, for any store that ``ObjectStoragePath`` supports.

The public names are listed in ``__init__.pyi``. Each is imported when it is first used.
"""

from __future__ import annotations

from airflow_provider_segmind.lazy_imports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
