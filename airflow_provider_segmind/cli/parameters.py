"""The three models' parameters as the terminal shows and takes them, read from the pydantic models."""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_provider_segmind.protocol.models import MODELS, ModelParameters


@dataclass(frozen=True)
class Parameter:
    """
    One parameter of a model.

    :param name: as on the model's page.
    :param kind: ``string``, ``integer`` or ``boolean``.
    :param default: None where it is required.
    :param choices: all that it may be, where the page lists them.
    :param low: the least that it may be, where there is one.
    :param high: the most.
    """

    name: str
    kind: str
    default: Any
    choices: tuple[Any, ...] = ()
    low: int | None = None
    high: int | None = None

    @property
    def flag(self) -> str:
        """The parameter as an option of the command."""
        return "--" + self.name.replace("_", "-")

    @property
    def allowed(self) -> str:
        """What it may be, in words; empty where its type says all."""
        if self.choices:
            return ", ".join(map(str, self.choices))
        return "" if self.low is None else f"{self.low} to {self.high}"

    def option(self, slug: str) -> dict[str, Any]:
        """Return the arguments of ``add_argument``; the default stays None, so that it is known what was given."""
        help_text = f"{slug}: {self.allowed or self.kind} (default: {json.dumps(self.default).strip(chr(34))})"
        if self.kind == "boolean":
            return {"action": argparse.BooleanOptionalAction, "default": None, "help": help_text}
        kind: Callable[[str], Any] = str if self.kind == "string" else self._integer
        named: dict[str, Any] = {"choices": self.choices} if self.choices else {"metavar": "N"}
        return {"type": kind, "help": help_text, **named}

    def _integer(self, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            raise argparse.ArgumentTypeError(f"{value} is not within {self.allowed}")
        return value


@functools.cache
def parameters_of(model: type[ModelParameters]) -> tuple[Parameter, ...]:
    """Return a model's parameters in the order of its page."""
    schema = model.model_json_schema()
    return tuple(
        Parameter(
            name=name,
            kind=field["type"],
            default=field.get("default"),
            choices=tuple(field.get("enum", ())),
            # The schema leaves limits out that stand behind a validator.
            low=next((limit.ge for limit in model.model_fields[name].metadata if hasattr(limit, "ge")), None),
            high=next((limit.le for limit in model.model_fields[name].metadata if hasattr(limit, "le")), None),
        )
        for name, field in schema["properties"].items()
    )


def options() -> dict[str, tuple[str, Parameter]]:
    """Return all parameters but the picture by name, with the slug of the model that has it."""
    return {
        parameter.name: (slug, parameter)
        for slug, model in MODELS.items()
        for parameter in parameters_of(model)
        if parameter.default is not None
    }
