"""Airflow's configuration, as far as tasks read it."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import conf

#: The default of ``deferrable``: ``[operators] default_deferrable``.
DEFERRABLE: bool = conf.getboolean("operators", "default_deferrable", fallback=False)


def serves_previews() -> bool:
    """Return whether previews are written and served: ``[segmind] serve_previews``, off by default."""
    return bool(conf.getboolean("segmind", "serve_previews", fallback=False))
