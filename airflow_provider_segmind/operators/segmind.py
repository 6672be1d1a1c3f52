"""The operators under their public names, see ``segmind.pyi``. Each is imported when it is first used."""

from __future__ import annotations

from airflow_provider_segmind.lazy_imports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
