"""The results of a benchmark: rows of figures for each contender, and the ratios that must hold. Data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """
    One contender in one setting.

    :param contender: the name, such as ``ours`` or ``HttpSensorTrigger``.
    :param setting: the conditions, such as ``1,000 waits``.
    :param figures: column -> value; the unit is part of the column's name, such as ``CPU per job (ms)``.
    """

    contender: str
    setting: str
    figures: Mapping[str, float | None]


@dataclass(frozen=True)
class Ratio:
    """
    One figure that has to hold, mostly a ratio of two rows of the same run.

    :param name: a description.
    :param value: the measured value.
    :param at_most: the upper limit; None: no limit.
    :param at_least: the lower limit; None: no limit.
    """

    name: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        """Return whether the value is within its limits."""
        low = self.at_least is None or self.value >= self.at_least
        high = self.at_most is None or self.value <= self.at_most
        return low and high


@dataclass(frozen=True)
class Part:
    """
    One benchmark's whole outcome.

    :param name: the name on the command line.
    :param title: the heading.
    :param conditions: what was measured and how.
    :param rows: the figures.
    :param ratios: the ratios that must hold.
    :param series: lists of numbers for the plot, by name.
    """

    name: str
    title: str
    conditions: str
    rows: Sequence[Row]
    ratios: Sequence[Ratio] = ()
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the part as JSON."""
        found = asdict(self)
        for ratio, shown in zip(self.ratios, found["ratios"], strict=True):
            shown["holds"] = ratio.holds
        return found
