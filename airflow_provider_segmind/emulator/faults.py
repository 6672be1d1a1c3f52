"""Misbehaviour on demand: which answer to spoil, how, how often.

One fault is ROUTE:KIND[:ARGUMENT], for example ``status:status:502`` (or, shorter, ``status:502``).

Routes: submit, sync, status, result, credits, upload, history, output, asset, any.

Kinds, in the order in which they reach into a request:

* before the request has any effect: ``delay:SECONDS`` (then goes on), ``status:CODE``,
  ``redirect:URL``, ``html`` or ``html:CODE`` (a web page instead of JSON; 200 unless told),
  ``drop_before`` (the connection closes, nothing was accepted);
* on the job that a submission creates, or on one answer when set on ``status`` or ``result``:
  ``stuck`` (PROCESSING for ever), ``fail:MESSAGE`` (FAILED), ``unknown_status`` or
  ``unknown_status:NAME`` ("PAUSED" unless told), ``no_output`` (COMPLETED without an output);
* on the answer, after the request took effect: ``drop_after`` (the connection closes without an
  answer), ``status_after:CODE`` (a submission is accepted and answered by an error), ``garbage`` (200
  with random bytes), ``empty`` (200 without a body), ``truncate`` (half of the body, then the connection
  closes), ``cut`` (half of the body without a ``Content-Length``, as if that were all),
  ``missing_fields`` (JSON without ``request_id`` and ``status``).
"""

from __future__ import annotations

import random
import re
import threading
from dataclasses import dataclass, field
from typing import Any

ROUTES = (
    "submit", "sync", "status", "result", "credits", "upload", "history", "output", "asset", "any",
)  # fmt: skip
BEFORE = ("delay", "status", "redirect", "html", "drop_before")
ON_JOB = ("stuck", "fail", "unknown_status", "no_output")
AFTER = ("drop_after", "status_after", "garbage", "empty", "truncate", "cut", "missing_fields")
KINDS = BEFORE + ON_JOB + AFTER
GRAMMAR = "ROUTE:KIND[:ARGUMENT][;HEADER=VALUE...][@PROBABILITY][#TIMES][%MODEL]"

_SEPARATOR = re.compile(rf"\s*,\s*(?=(?:{'|'.join(ROUTES)}):)")
_TAIL = re.compile(r"(?:@(?P<probability>[0-9.]+))?(?:#(?P<times>\d+))?(?:%(?P<model>[\w.-]+))?$")


@dataclass
class Fault:
    """One way to misbehave, and how often it may still happen."""

    route: str
    kind: str
    argument: str = ""
    times: int | None = None
    """How many times in all; None: for ever."""
    probability: float = 1.0
    model: str | None = None
    """Only requests of this model; None: all."""
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    """For ``status`` and ``status_after``: the body to answer with (JSON, or a string as it is)."""
    fired: int = 0

    def __post_init__(self) -> None:
        if self.route not in ROUTES:
            raise ValueError(f"fault route {self.route!r} is none of {', '.join(ROUTES)}")
        if self.kind not in KINDS:
            raise ValueError(f"fault kind {self.kind!r} is none of {', '.join(KINDS)}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"fault probability {self.probability} is not between 0 and 1")
        if self.kind in ("status", "status_after") and not re.fullmatch(r"[1-5]\d\d", self.argument):
            raise ValueError(f"fault kind {self.kind!r} needs an HTTP status, not {self.argument!r}")
        if self.kind == "redirect" and not self.argument:
            raise ValueError("fault kind 'redirect' needs a URL")
        if self.kind == "delay":
            float(self.argument)


def parse_kind(text: str) -> tuple[str, str]:
    """``status:502`` -> kind and argument; ``502`` alone is short for it."""
    kind, _, argument = text.partition(":")
    return ("status", kind) if kind.isdecimal() else (kind, argument)


def parse_faults(text: str) -> list[Fault]:
    """Read a comma-separated list in the grammar of the command line."""
    faults = []
    for item in _SEPARATOR.split(text.strip().strip(",")):
        if not item:
            continue
        tail = _TAIL.search(item)
        if tail is None:  # the pattern matches the empty end too
            raise ValueError(f"fault {item!r} is not {GRAMMAR}")
        route, colon, what = item[: tail.start()].partition(":")
        if not colon:
            raise ValueError(f"fault {item!r} is not {GRAMMAR}")
        what, *headers = what.split(";")
        kind, argument = parse_kind(what)
        faults.append(
            Fault(
                route.strip(),
                kind,
                argument,
                times=int(tail["times"]) if tail["times"] else None,
                probability=float(tail["probability"]) if tail["probability"] else 1.0,
                model=tail["model"],
                headers=dict(header.split("=", 1) for header in headers),
            )
        )
    return faults


class Faults:
    """The faults in force. The first one that matches a request, and fires, is taken."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._rng = random.Random(seed)  # noqa: S311 - repeatable, not secret

    def add(
        self,
        route: str,
        kind: str,
        *,
        times: int | None = None,
        probability: float = 1.0,
        model: str | None = None,
        headers: dict[str, str] | None = None,
        body: Any = None,
    ) -> Fault:
        """Add one: ``add("submit", "status:429", times=1, headers={"Retry-After": "2"})``."""
        name, argument = parse_kind(kind)
        fault = Fault(route, name, argument, times, probability, model, dict(headers or {}), body)
        with self._lock:
            self._faults.append(fault)
        return fault

    def add_text(self, text: str) -> list[Fault]:
        """Add every fault of a list in the grammar of the command line."""
        faults = parse_faults(text)
        with self._lock:
            self._faults.extend(faults)
        return faults

    def clear(self) -> None:
        """Behave from now on. Jobs that were spoilt already stay so."""
        with self._lock:
            self._faults.clear()

    def restart(self, seed: int, text: str) -> None:
        """Back to the beginning: the seed's first number, and only the faults given here."""
        faults = parse_faults(text)
        with self._lock:
            self._rng.seed(seed)
            self._faults[:] = faults

    def take(self, route: str, model: str | None) -> Fault | None:
        """The fault that strikes this request, if one does; it is used up by one."""
        with self._lock:
            for fault in self._faults:
                if fault.route not in (route, "any") or fault.model not in (None, model):
                    continue
                if fault.times is not None and fault.fired >= fault.times:
                    continue
                if fault.probability < 1 and self._rng.random() >= fault.probability:
                    continue
                fault.fired += 1
                return fault
        return None

    def listing(self) -> list[dict[str, Any]]:
        """What is in force, for the admin page."""
        with self._lock:
            return [dict(vars(fault)) for fault in self._faults]
