"""What a benchmark finds: rows of figures for each contender, and the ratios that matter. Plain data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """
    One contender in one setting.

    :param contender: who, such as ``ours`` or ``HttpSensorTrigger``.
    :param setting: under which conditions, such as ``1,000 waits``.
    :param figures: column -> value; the unit is part of the column's name, such as ``CPU a job (ms)``.
    """

    contender: str
    setting: str
    figures: Mapping[str, float | None]


@dataclass(frozen=True)
class Ratio:
    """
    One figure that has to hold, mostly a ratio of two rows of the same run.

    :param name: what it says, in words.
    :param value: what was measured.
    :param at_most: the limit, if it has an upper one.
    :param at_least: the limit, if it has a lower one.
    """

    name: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        """Tell whether it is within its limits."""
        low = self.at_least is None or self.value >= self.at_least
        high = self.at_most is None or self.value <= self.at_most
        return low and high


@dataclass(frozen=True)
class Part:
    """
    One benchmark's whole outcome.

    :param name: short name, as on the command line.
    :param title: for people.
    :param conditions: what was measured, and how, in a sentence or two.
    :param rows: the figures.
    :param ratios: what has to hold.
    :param series: what the plot draws, by name; each a list of numbers.
    """

    name: str
    title: str
    conditions: str
    rows: Sequence[Row]
    ratios: Sequence[Ratio] = ()
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        found = asdict(self)
        for ratio, shown in zip(self.ratios, found["ratios"], strict=True):
            shown["holds"] = ratio.holds
        return found
