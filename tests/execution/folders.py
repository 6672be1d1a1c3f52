"""The folder of a batch on this machine's disk, for the tests of manifests, claims and batch runs."""

from __future__ import annotations

from airflow_provider_segmind.execution.record import RequestRecord

NOW = 1_800_000_000.0


def record(key="a", **fields):
    return RequestRecord(key=key, **fields)


def claimed(there):
    """Take the claim of a folder, as a run does before anything else, and return the folder."""
    there.claims.take(items="i", until=NOW + 100, now=NOW)
    return there


def claims(tmp_path):
    return list((tmp_path / "out" / "esrgan").glob("*.claim"))
