"""What all triggers of the provider share: one declaration of their arguments, and the rules around an event."""

from __future__ import annotations

import asyncio
import functools
from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

from airflow.triggers.base import BaseTrigger

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.polling.clock import steady_clock
from airflow_provider_segmind.polling.shared_client import SharedClient

T = TypeVar("T", bound="type[SegmindTrigger]")

#: Seconds for which reading the connection is retried in a triggerer, and the seconds between two attempts.
_CONNECTION_TIMEOUT, _CONNECTION_INTERVAL = 60.0, 5.0


@dataclass_transform(eq_default=False, field_specifiers=(field,))
def serializable(cls: T) -> T:
    """
    Turn the annotated fields of a trigger into its constructor, its attributes and what ``serialize()`` returns.

    The class is a dataclass with two additions: the constructor initializes Airflow's trigger first, and it ignores
    arguments that the class does not know, with a warning. Workers and triggerers are not upgraded in the same moment,
    so a newer version may have written the trigger. Otherwise Airflow would fail the task ("Trigger failed to
    inflate") while its request continues and is billed.
    """
    dataclass(eq=False, repr=False)(cls)  # changes the class in place
    assign: Callable[..., None] = cls.__init__
    names = {argument.name for argument in fields(cls)}

    @functools.wraps(assign)
    def construct(self: SegmindTrigger, *args: Any, **kwargs: Any) -> None:
        BaseTrigger.__init__(self)  # type: ignore[no-untyped-call]
        if unknown := sorted(kwargs.keys() - names):
            self.log.warning("Ignored arguments that another version of the provider wrote: %s", ", ".join(unknown))
        assign(self, *args, **{name: value for name, value in kwargs.items() if name in names})

    cls.__init__ = construct  # type: ignore[assignment,method-assign]
    return cls


@dataclass(eq=False, repr=False)
class SegmindTrigger(BaseTrigger, ABC):
    """The base of the provider's triggers. Subclasses declare their arguments as fields, see :func:`serializable`."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the path of the class and every argument of its constructor."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {argument.name: getattr(self, argument.name) for argument in fields(self)}

    @property
    def in_triggerer(self) -> bool:
        """Whether a triggerer runs this trigger. ``dag.test()`` runs triggers inline, without a scheduler."""
        return self.trigger_id is not None

    async def wait_until_allowed(self, not_before: float, clock: Callable[[], float]) -> None:
        """
        Wait until an event may be fired.

        A task that is resumed before the scheduler has seen it defer is taken for killed (apache/airflow#71580).

        :param not_before: earliest time of an event (epoch seconds); outside a triggerer it has no effect.
        :param clock: the trigger's own steady clock (epoch seconds).
        """
        if self.in_triggerer:
            await asyncio.sleep(max(0.0, not_before - clock()))

    async def connect(self, client: SharedClient, deadline: float) -> None:
        """
        Read the connection, and retry for a minute in a triggerer.

        While a secrets backend is unavailable, Airflow reports that the connection does not exist.

        :param client: the shared client of the connection.
        :param deadline: when to stop at the latest (epoch seconds).
        :raises SegmindConfigError: the connection is missing or invalid. The error is retryable, because the request
            is billed and another try may still fetch its result.
        """
        clock = steady_clock()
        until = min(deadline, clock() + _CONNECTION_TIMEOUT) if self.in_triggerer else 0.0
        while True:
            try:
                await client.get()
                return
            except SegmindConfigError as error:
                if clock() >= until:
                    error.retryable = True
                    raise
                self.log.warning("The connection cannot be read, next attempt in %g s: %s", _CONNECTION_INTERVAL, error)
                await asyncio.sleep(_CONNECTION_INTERVAL)
