"""
The ledger of a task instance: what was submitted for it and not yet handed over.

It lies in Airflow's task state store (Airflow 3.3), which survives a killed process, a retry and a clear. The
intention is written before the POST, the request id right after its answer, the result once it is known, and what
is handed over before the task ends: wherever the process dies, the next try knows what may already be paid for.
Where there is no such store, a second try looks for its request in Segmind's request history.
"""

from airflow_provider_segmind.ledger.entry import KEY, RETENTION, Ledger
from airflow_provider_segmind.ledger.history import recall
from airflow_provider_segmind.ledger.reconnect import (
    Attached,
    Found,
    Known,
    Reconnector,
    Taken,
    Wanted,
    recover,
)

__all__ = [
    "KEY",
    "RETENTION",
    "Attached",
    "Found",
    "Known",
    "Ledger",
    "Reconnector",
    "Taken",
    "Wanted",
    "recall",
    "recover",
]
