"""The request records of a task instance in Airflow's task state store (Airflow 3.3), behind the engine's port."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from airflow_provider_segmind.execution.record import RequestRecord

#: Key of the records in the task state store; a batch appends a digit.
STORE_KEY = "segmind_requests"
#: Since the latest write. A little more than the 7 days for which Segmind keeps outputs.
RETENTION = timedelta(days=8)
#: Records that a task with one request keeps: the current one and those of its earlier parameters.
_MAX_KEPT = 4
_DIGITS = "0123456789abcdef"


class TaskStateRecords:
    """
    The engine's port to the request records: read once, and written at once.

    The records of a batch are spread over 16 keys by the first digit of their own key, so that a write stays small in a
    large batch: each response is written as it arrives.

    :param store: the task state store of the context; None before Airflow 3.3, and with ``durable=False``.
    :param batch: True for the records of a batch.
    """

    def __init__(self, store: Any, *, batch: bool = False) -> None:
        self._store = store
        self._keys = [f"{STORE_KEY}_{digit}" for digit in _DIGITS] if batch else [STORE_KEY]
        self._kept = None if batch else _MAX_KEPT
        #: For each key its records as JSON by their own keys, the latest written last.
        self._known: dict[str, dict[str, Any]] = {key: {} for key in self._keys}
        self.available = store is not None
        self.unreadable = False

    def read(self) -> dict[str, RequestRecord]:
        """Return the records by their keys."""
        found: dict[str, RequestRecord] = {}
        for key in self._keys if self.available else ():
            if (value := self._store.get(key)) is None:
                continue
            for one in value if isinstance(value, list) else [value]:  # the others are read even if one cannot be
                try:
                    record = RequestRecord.model_validate(one)
                except ValidationError:
                    self.unreadable = True
                else:
                    found[record.key] = record
                    self._known[key][record.key] = one
        return found

    def put(self, records: Iterable[RequestRecord]) -> None:
        """Write records."""
        changed = []
        for record in records:
            key = self._key_of(record)
            self._known[key].pop(record.key, None)
            self._known[key][record.key] = record.model_dump(mode="json", exclude_none=True, exclude={"item"})
            changed.append(key)
        self._write(changed)

    def forget(self, records: Iterable[RequestRecord]) -> None:
        """Delete records."""
        keys = [(self._key_of(record), record.key) for record in records]
        self._write([key for key, name in keys if self._known[key].pop(name, None) is not None])

    def _key_of(self, record: RequestRecord) -> str:
        return STORE_KEY if self._kept else f"{STORE_KEY}_{record.key[0]}"

    def _write(self, keys: Iterable[str]) -> None:
        for key in dict.fromkeys(keys) if self.available else ():
            if records := list(self._known[key].values())[-(self._kept or 0) :]:
                self._store.set(key, records, retention=RETENTION)
            else:
                self._store.delete(key)
