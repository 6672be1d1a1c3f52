"""
The world of one schedule: one clock, one source of decisions, processes as greenlets.

A *process* is one try of a task. It runs the engine's plain code; each port call gives the world the chance to let time
pass, to run another process, to kill it, or to let Airflow believe that it is dead while it goes on (a zombie). Every
decision is a number in ``decisions``; 0 is always the harmless one. So a schedule is a list of numbers: a seed makes
one, and a failing one is shrunk by putting zeros into it.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

T = TypeVar("T")
#: Seconds that a port call takes.
CALL = 0.05


class Killed(BaseException):
    """SIGKILL: no code of the process runs after it."""


class World:
    """
    One schedule.

    :param seed: of the decisions.
    :param script: decisions to replay instead; zeros after its end.
    :param reports: keep a readable story.
    """

    def __init__(self, seed: int, script: Sequence[int] | None = None, *, reports: bool = False) -> None:
        self._random = random.Random(seed).random
        self._script = script
        self._reports = reports
        self.now = 1_800_000_000.0
        self.decisions: list[int] = []
        self.story: list[str] = []
        self.faults: Counter[str] = Counter()
        self._due: list[tuple[float, int, Callable[[], Any]]] = []
        self._number = 0
        self._hub = getcurrent()
        #: True once faults have stopped.
        self.calm = False

    # --- decisions ------------------------------------------------------------------------------------------

    def chance(self, label: str, probability: float, where: str = "") -> bool:
        """Decide whether a fault happens: ``label`` names it, ``where`` the call."""
        if self.calm or not probability:
            return False
        if self._script is None:
            taken = int(self._random() < probability)
        else:
            at = len(self.decisions)
            taken = self._script[at] if at < len(self._script) else 0
        self.decisions.append(taken)
        if taken:
            self.faults[label] += 1
            self.report("!!", "{}{}", label, where)
        return bool(taken)

    def pick(self, label: str, options: Sequence[T]) -> T:
        """Decide among options, of which the first one is harmless."""
        if self.calm:
            return options[0]
        if self._script is None:
            taken = int(self._random() * len(options))
        else:
            at = len(self.decisions)
            taken = min(self._script[at], len(options) - 1) if at < len(self._script) else 0
        self.decisions.append(taken)
        if taken:
            self.report("..", "{}: {}", label, options[taken])
        return options[taken]

    def report(self, who: str, what: str, *values: Any) -> None:
        """Add a line to the story; the values are put into the text only if somebody reads it."""
        if self._reports:
            self.story.append(f"{self.now - 1_800_000_000.0:10.2f} {who:<8} {what.format(*values)}")

    # --- time and processes -----------------------------------------------------------------------------------

    def at(self, moment: float, act: Callable[[], Any]) -> None:
        """Do something at a moment."""
        self._number += 1
        heapq.heappush(self._due, (moment, self._number, act))

    def run(self, most: int = 3000) -> None:
        """Do all that is due, in its order."""
        for _ in range(most):
            if not self._due:
                return
            moment, _number, act = heapq.heappop(self._due)
            self.now = max(self.now, moment)
            act()
        raise RuntimeError("the schedule does not end")

    def pass_(self, seconds: float) -> None:
        """Let time pass in a process; what is due before runs first."""
        until = self.now + seconds
        if not self._due or self._due[0][0] > until:
            self.now = until
            return
        me = getcurrent()
        self.at(until, me.switch)
        self._hub.switch()

    def spawn(self, act: Callable[[], Any]) -> None:
        """Run a process until it waits or ends."""
        greenlet(act, parent=self._hub).switch()
