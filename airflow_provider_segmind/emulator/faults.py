"""Faults on demand: which response fails, how, and how often.

One fault is ROUTE:KIND[:ARGUMENT], for example ``status:status:502`` (or, shorter, ``status:502``).

Routes: submit, sync, status, result, credits, upload, history, output, asset, any.

Kinds, by the moment at which they apply:

* before the call has any effect: ``delay:SECONDS`` (then continues), ``status:CODE``,
  ``redirect:URL``, ``html`` or ``html:CODE`` (a web page instead of JSON; default 200),
  ``drop_before`` (the connection closes, nothing is accepted);
* on the request that a submit creates, or, on ``status`` and ``result``, on one response:
  ``stuck`` (PROCESSING for ever), ``fail:MESSAGE`` (FAILED), ``unknown_status`` or
  ``unknown_status:NAME`` (default PAUSED), ``no_output`` (COMPLETED without an output);
* on the request that a submit creates: ``wrong_image:DEFECT``, COMPLETED with an output that is ``other``, ``blank``,
  ``mirrored``, ``rotated`` or ``unscaled``;
* on the response, after the call took effect: ``drop_after`` (the connection closes without a
  response), ``status_after:CODE`` (a submit is accepted, but returns an error), ``garbage`` (200
  with random bytes), ``empty`` (200 without a body), ``truncate`` (half of the body, then the connection
  closes), ``cut`` (half of the body without a ``Content-Length``, as if it were complete),
  ``partial`` (206 with half of the body, as its ``Content-Range`` states), ``success:203`` and ``success:206``
  (the whole body with this status; 206 states a ``Content-Range`` over all of it),
  ``missing_fields`` (JSON without ``request_id`` and ``status``).
"""

from __future__ import annotations

import random
import re
import threading
from dataclasses import dataclass, field
from typing import Any

from .defects import DEFECTS

ROUTES = (
    "submit", "sync", "status", "result", "credits", "upload", "history", "output", "asset", "any",
)  # fmt: skip
BEFORE = ("delay", "status", "redirect", "html", "drop_before")
ON_JOB = ("stuck", "fail", "unknown_status", "no_output", "wrong_image")
AFTER = (
    "drop_after", "status_after", "garbage", "empty", "truncate", "cut", "partial", "success", "missing_fields",
)  # fmt: skip
KINDS = BEFORE + ON_JOB + AFTER
GRAMMAR = "ROUTE:KIND[:ARGUMENT][;HEADER=VALUE...][@PROBABILITY][#TIMES][%MODEL]"

_SEPARATOR = re.compile(rf"\s*,\s*(?=(?:{'|'.join(ROUTES)}):)")
_TAIL = re.compile(r"(?:@(?P<probability>[0-9.]+))?(?:#(?P<times>\d+))?(?:%(?P<model>[\w.-]+))?$")


@dataclass
class Fault:
    """One fault, and how often it still applies."""

    route: str
    kind: str
    argument: str = ""
    times: int | None = None
    """Maximum number of times; None: no limit."""
    probability: float = 1.0
    model: str | None = None
    """Only requests of this model; None: all."""
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    """For ``status`` and ``status_after``: the body of the response (JSON; text and bytes are sent as they are)."""
    fired: int = 0

    def __post_init__(self) -> None:
        if self.route not in ROUTES:
            raise ValueError(f"fault route must be one of {', '.join(ROUTES)} (got {self.route!r})")
        if self.kind not in KINDS:
            raise ValueError(f"fault kind must be one of {', '.join(KINDS)} (got {self.kind!r})")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"fault probability must be between 0 and 1 (got {self.probability})")
        if self.kind in ("status", "status_after") and not re.fullmatch(r"[1-5]\d\d", self.argument):
            raise ValueError(f"fault kind {self.kind!r} needs an HTTP status from 100 to 599 (got {self.argument!r})")
        if self.kind == "wrong_image" and (self.route != "submit" or self.argument not in DEFECTS):
            raise ValueError(f"fault kind 'wrong_image' is for submits, and needs one of {', '.join(DEFECTS)}")
        if self.kind == "success" and self.argument not in ("203", "206"):
            raise ValueError(f"fault kind 'success' needs 203 or 206 (got {self.argument!r})")
        if self.kind == "redirect" and not self.argument:
            raise ValueError("fault kind 'redirect' needs a URL")
        if self.kind == "delay":
            float(self.argument)


def parse_kind(text: str) -> tuple[str, str]:
    """Split ``status:502`` into kind and argument; ``502`` alone is short for it."""
    kind, _, argument = text.partition(":")
    return ("status", kind) if kind.isdecimal() else (kind, argument)


def parse_faults(text: str) -> list[Fault]:
    """Read a comma-separated list in the grammar of the command line."""
    faults = []
    for item in _SEPARATOR.split(text.strip().strip(",")):
        if not item:
            continue
        tail = _TAIL.search(item)
        if tail is None:  # the pattern also matches an empty tail
            raise ValueError(f"fault {item!r} does not match {GRAMMAR}")
        route, colon, what = item[: tail.start()].partition(":")
        if not colon:
            raise ValueError(f"fault {item!r} does not match {GRAMMAR}")
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
    """The faults in force. The first one that matches a call and fires applies to it."""

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
        """
        Add one fault: ``add("submit", "status:429", times=1, headers={"Retry-After": "2"})``.

        :param route: one of ``ROUTES``.
        :param kind: kind and argument, as in the grammar of the command line.
        :param times: maximum number of times; None: no limit.
        :param probability: share of the matching calls that it applies to, from 0 to 1 (default: 1).
        :param model: only calls for this model; None: all.
        :param headers: headers of the response.
        :param body: body of the response, for ``status`` and ``status_after``.
        """
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
        """Remove all faults. Requests that a fault has already changed stay as they are."""
        with self._lock:
            self._faults.clear()

    def restart(self, seed: int, text: str) -> None:
        """Seed the random numbers again, and replace the faults by those of ``text``."""
        faults = parse_faults(text)
        with self._lock:
            self._rng.seed(seed)
            self._faults[:] = faults

    def take(self, route: str, model: str | None) -> Fault | None:
        """Return the fault that applies to a call and count it; None if no fault applies."""
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
        """Return the faults in force, for ``/_emulator/faults``."""
        with self._lock:
            return [dict(vars(fault)) for fault in self._faults]
