"""
The ledger of a batch: its open requests, in Airflow's task state store.

What is open is spread over a few keys, so that a write is small whatever the size of the batch: a request id is
written right after its answer, a thousand times. What is done stands in the manifest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from airflow_provider_segmind.compat import has_run_before, task_state_store
from airflow_provider_segmind.ledger.entry import RETENTION
from airflow_provider_segmind.protocol.batch import Row

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

#: One key of the store for each first digit of a picture's key.
_DIGITS = "0123456789abcdef"


class BatchLedger:
    """
    The open rows of one task instance's batch, read once and written through.

    :param context: the task's context; without a state store in it the ledger remembers nothing.
    :param durable: False to remember nothing at all.

    ``owner`` names the task instance, whatever its try.
    """

    def __init__(self, context: Context, *, durable: bool = True) -> None:
        self._store: Any = task_state_store(context) if durable else None
        ti = context["ti"]
        #: An earlier try may have submitted what nothing here remembers.
        self.blind = durable and self._store is None and has_run_before(ti)
        self.owner = f"{ti.dag_id} {ti.run_id} {ti.task_id} {ti.map_index}"
        self._shards: dict[str, dict[str, Row]] = {digit: {} for digit in _DIGITS}
        if self._store is not None:
            for digit in _DIGITS:
                self._read(digit)

    def _read(self, digit: str) -> None:
        for value in self._store.get(_key(digit)) or ():
            try:
                row = Row.model_validate(value)
            except ValidationError:
                continue  # of another version; the manifest has it, too, once a wave has ended
            self._shards[digit][row.key] = row

    @property
    def rows(self) -> dict[str, Row]:
        """What was open when the ledger was read, and since."""
        return {key: row for shard in self._shards.values() for key, row in shard.items()}

    def write(self, rows: Iterable[Row]) -> None:
        """Write how far these rows are: open ones are kept, the others dropped."""
        changed = set()
        for row in rows:
            digit = row.key[0]
            shard = self._shards[digit]
            if row.open:
                shard[row.key] = row.model_copy(update={"item": {}})
            elif shard.pop(row.key, None) is None:
                continue
            changed.add(digit)
        if self._store is None:
            return
        for digit in sorted(changed):
            if shard := self._shards[digit]:
                value = [row.model_dump(mode="json", exclude_none=True) for row in shard.values()]
                self._store.set(_key(digit), value, retention=RETENTION)
            else:
                self._store.delete(_key(digit))


def _key(digit: str) -> str:
    return f"segmind_batch_{digit}"
