"""The models' parameters as command line options, derived from the table of models."""

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
    :param default: None if the parameter is required.
    :param choices: all allowed values, if the page lists them.
    :param low: minimum, if there is one.
    :param high: maximum, if there is one.
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
        """The allowed values as text; empty if the type allows all its values."""
        if self.choices:
            return ", ".join(map(str, self.choices))
        return "" if self.low is None else f"{self.low} to {self.high}"

    def option(self, slug: str, model: str | None = None) -> dict[str, Any]:
        """
        Return the arguments of ``add_argument``. The option's default is None: a parameter that is not given stays out.

        :param slug: the model that has the parameter.
        :param model: the model whose options are shown; options of other models are parsed, to name the mistake, but
            are not shown. Default: the options of all models are shown.
        """
        help_text = f"{self.allowed or self.kind} (default: {json.dumps(self.default).strip(chr(34))})"
        if model is None:
            help_text = f"{slug}: {help_text}"
        elif model != slug:
            help_text = argparse.SUPPRESS
        if self.kind == "boolean":
            return {"action": argparse.BooleanOptionalAction, "default": None, "help": help_text}
        kind: Callable[[str], Any] = str if self.kind == "string" else self._integer
        named: dict[str, Any] = {"choices": self.choices} if self.choices else {"metavar": "N"}
        return {"type": kind, "help": help_text, **named}

    def _integer(self, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            raise argparse.ArgumentTypeError(f"{value} is not within {self.allowed}")
        return value

    def to_dict(self) -> dict[str, Any]:
        """Return the parameter as JSON."""
        limits = {"minimum": self.low, "maximum": self.high, "choices": list(self.choices) or None}
        return {
            "name": self.name,
            "type": self.kind,
            "required": self.default is None,
            "default": self.default,
            **{name: value for name, value in limits.items() if value is not None},
        }


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
            # The schema leaves out limits that follow a validator.
            low=next((limit.ge for limit in model.model_fields[name].metadata if hasattr(limit, "ge")), None),
            high=next((limit.le for limit in model.model_fields[name].metadata if hasattr(limit, "le")), None),
        )
        for name, field in schema["properties"].items()
    )


def options() -> dict[str, tuple[str, Parameter]]:
    """Return all parameters except the image by name, each with the slug of the model that has it."""
    return {
        parameter.name: (slug, parameter)
        for slug, model in MODELS.items()
        for parameter in parameters_of(model)
        if parameter.default is not None
    }
