"""The state in force: read it, change it, and replace it on a reset. The routes and the server share one."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

from .clock import Clock
from .faults import Faults
from .pixels import PixelPool
from .settings import Settings
from .state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from .records import RecordedRequest, Stats


class Control:
    """
    Holds the emulator's state between two resets, without a socket.

    :param clock: source of the time, in seconds since the epoch.
    :param settings: fields of :class:`~.settings.Settings`; a reset returns to them.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time, **settings: Any) -> None:
        self.faults = Faults()
        self._clock_source = clock
        self._pixels = PixelPool()
        self._first_settings = _settings(settings)
        self.state = self._new_state(self._first_settings, base_url="")

    @property
    def stats(self) -> Stats:
        """The counters now. Waits for pixel work that is due, so that billing is complete."""
        self.state.wait_for_pixels()
        return self.state.stats()

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every accepted request, oldest first."""
        self.state.wait_for_pixels()
        return self.state.requests()

    def advance(self, seconds: float) -> None:
        """Move the emulator's clock forward."""
        self.state.clock.advance(seconds)

    def reset(self, **settings: Any) -> None:
        """Drop every job, file, counter and fault, and apply ``settings`` on top of the first ones."""
        state = self._new_state(_settings(settings, self._first_settings), base_url=self.state.base_url)
        self._pixels.clear()
        self.state = state

    def close(self) -> None:
        """End the threads that compute pixels."""
        self._pixels.close()

    def _new_state(self, settings: Settings, *, base_url: str) -> State:
        self.faults.restart(settings.seed, settings.faults)
        state = State(settings, Clock(self._clock_source, settings.clock_skew), self._pixels, self.faults)
        state.base_url = base_url
        return state


def _settings(given: dict[str, Any], base: Settings | None = None) -> Settings:
    """Return the settings from keyword arguments; None means the default, as for an option that is not given."""
    given = {name: value for name, value in given.items() if value is not None}
    if "extra_models" in given:
        given["extra_models"] = tuple(given["extra_models"])
    return Settings(**given) if base is None else dataclasses.replace(base, **given)
