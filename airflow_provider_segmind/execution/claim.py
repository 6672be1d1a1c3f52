"""
The claim of a batch: one run at a time works on a manifest, and a killed run is detected.

A claim is a file that is written before anything else and removed at the end of a run. A remaining claim whose owner is
not working any more belongs to a run that was killed, or that could not write its manifest: it may have submitted
requests that no manifest has. So the next run searches the history from the start of that run. Until a run with the
same items has done so, each run leaves a claim that has ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.execution.instance import Instance
from airflow_provider_segmind.protocol.lifetimes import OUTPUT_LIVES

SUFFIX = ".claim"
#: What identifies the owner of a claim.
_OWNER = ("dag_id", "run_id", "task_id", "map_index")


class Files(Protocol):
    """The small files of a folder, each read and written whole."""

    def uri(self, name: str) -> str:
        """Return a file's URI."""

    def sizes(self) -> Mapping[str, int]:
        """Return the names of all files, with their sizes in bytes."""

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None if it is missing."""

    def write(self, name: str, text: str) -> None:
        """Write a file."""

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""

    def probe(self, name: str) -> None:
        """Raise SegmindConfigError if a file cannot be written."""


@dataclass(frozen=True)
class Claim:
    """
    The content of the file.

    :param owner: the fields of :class:`.Instance` that identify the task instance; empty if the file cannot be read.
    :param try_number: of the owner.
    :param until: when it ends (epoch seconds) if Airflow does not report whether its owner is still working.
    :param began: when its run began (epoch seconds).
    :param items: the items of its run, as a digest.
    :param killed_since: start of an earlier run that was killed (epoch seconds); None if there was none.
    :param killed_items: the items of that run, as a digest; empty if several runs were killed.
    """

    owner: dict[str, Any]
    try_number: int = 0
    until: float = 0.0
    began: float = 0.0
    items: str = ""
    killed_since: float | None = None
    killed_items: str = ""

    @classmethod
    def read(cls, content: bytes | None) -> Claim | None:
        """Return the claim, or None if the file is missing. A claim that cannot be read has no owner."""
        if content is None:
            return None
        try:
            found = json.loads(content)
            return cls(
                {name: found["owner"][name] for name in _OWNER},
                int(found["try_number"]),
                float(found["until"]),
                float(found["began"]),
                str(found["items"]),
                None if found["killed_since"] is None else float(found["killed_since"]),
                str(found["killed_items"]),
            )
        except (ValueError, TypeError, KeyError):
            return cls({})

    def __str__(self) -> str:
        return " ".join(str(value) for value in self.owner.values())

    @property
    def submits_since(self) -> float:
        """The start of its run, or of an earlier run that was killed (epoch seconds)."""
        return self.began if self.killed_since is None else min(self.began, self.killed_since)

    @property
    def has_searched_for_all(self) -> bool:
        """True if its run has the items of the killed one, so that it has searched for each of them."""
        return self.killed_since is None or (self.killed_items == self.items and bool(self.items))


class Claims:
    """
    The claims in the folder of a batch.

    :param files: the files in the folder.
    :param instance: the task instance in one try: it names the claim.
    :param is_working: returns whether another task instance may still be working; None if Airflow does not report it.
    """

    def __init__(
        self, files: Files, instance: Instance, is_working: Callable[[Mapping[str, Any]], bool | None]
    ) -> None:
        self._files, self._instance, self._is_working = files, instance, is_working
        self._name = f"{instance.file_name}{SUFFIX}"
        self._owner = {name: getattr(instance, name) for name in _OWNER}

    def take(self, *, items: str, until: float, now: float, goes_on: bool = False) -> Claim:
        """
        Write the claim, so that no other run works on the manifest: both would pay for the missing items.

        Of two runs that start at the same moment, one finds out at its next wave only.

        :param items: the items of this run, as a digest.
        :param until: when the claim ends (epoch seconds).
        :param now: the time (epoch seconds).
        :param goes_on: the run is resumed after a deferral.
        :raises SegmindConfigError: another run is working on the manifest.
        """
        before = self._read(self._name)
        if before is not None and self._keeps_out(before, now):
            raise self._taken(before)
        mine = self._after(before, Claim(self._owner, self._instance.try_number, until, now, items), goes_on=goes_on)
        self._files.write(self._name, json.dumps(asdict(mine)))
        self.check()
        return mine

    def _after(self, before: Claim | None, mine: Claim, *, goes_on: bool) -> Claim:
        if before is None:
            return mine
        if goes_on and self._is_mine(before):
            return replace(before, until=mine.until)
        only_one = before.killed_since is None or before.killed_items == before.items
        return replace(mine, killed_since=before.submits_since, killed_items=before.items if only_one else "")

    def check(self) -> None:
        """
        Check that this run still has the claim.

        :raises SegmindConfigError: it does not: Airflow considers this process dead.
        """
        current = self._read(self._name)
        if current is None or not self._is_mine(current):
            raise self._taken(current)

    def killed_since(self, names: Iterable[str], now: float) -> float | None:
        """
        Return the start of the first killed run (epoch seconds); None if no run was killed.

        Such a run may have submitted requests that no manifest has.

        :param names: of the objects in the folder.
        :param now: the time (epoch seconds); a run whose outputs have expired by then is ignored.
        """
        mine = self._read(self._name)
        found = [self._read(name) for name in sorted(names) if name.endswith(SUFFIX) and name != self._name]
        others = (one for one in found if one is not None and not self._is_sibling(one))
        moments = [one.submits_since for one in others if not one.owner or self._is_working(one.owner) is not True]
        if mine is not None and mine.killed_since is not None:
            moments.append(mine.killed_since)
        return min((moment for moment in moments if moment == 0.0 or moment > now - OUTPUT_LIVES), default=None)

    def _is_sibling(self, claim: Claim) -> bool:
        """Return whether a claim is of the same mapped task, whose instances work on different items."""
        names = ("dag_id", "run_id", "task_id")
        return bool(claim.owner) and all(claim.owner[name] == self._owner[name] for name in names)

    def end(self, *, now: float, manifest_is_complete: bool) -> None:
        """
        End the claim, unless another run has it by now.

        :param now: the time (epoch seconds).
        :param manifest_is_complete: the manifest has all requests of this run that are paid for.
        """
        current = self._read(self._name)
        if current is None or not self._is_mine(current):
            return
        is_old = current.killed_since is not None and current.killed_since < now - OUTPUT_LIVES
        if manifest_is_complete and (current.has_searched_for_all or is_old):
            self._files.remove(self._name)
            return
        left = replace(current, until=now)
        if manifest_is_complete and current.killed_since is not None:  # only the killed run remains
            left = replace(
                left, began=current.killed_since, items=current.killed_items, killed_since=None, killed_items=""
            )
        self._files.write(self._name, json.dumps(asdict(left)))

    def _read(self, name: str) -> Claim | None:
        return Claim.read(self._files.read(name))

    def _is_mine(self, claim: Claim) -> bool:
        return claim.owner == self._owner and claim.try_number == self._instance.try_number

    def _keeps_out(self, claim: Claim, now: float) -> bool:
        if claim.owner == self._owner:
            return claim.try_number > self._instance.try_number and claim.until > now
        if not claim.owner:
            return False
        working = self._is_working(claim.owner)
        return claim.until > now if working is None else working

    def _taken(self, claim: Claim | None) -> SegmindConfigError:
        where = self._files.uri(self._name)
        what = f"another run has worked on the batch: the claim of this run, {where}, is missing"
        if claim is not None:
            until = f"at {claim.until:.0f} (epoch seconds) if Airflow does not report its state"
            what = f"another run is working on the batch: {claim}; its claim {where} ends with it, or {until}"
        return SegmindConfigError(
            what,
            next_step="This run has stopped submitting. Retry or clear the task when the other run has ended.",
            retryable=True,
        )
