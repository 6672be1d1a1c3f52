"""
Airflow's execution API, of memory: what a task's process says to its API server, and what is answered.

The task runner, the supervisor and their client are Airflow's own; only the server behind them is made here, for one
DAG run. It keeps XComs and the task state store, and tells a task that starts what it has to know. That is a tenth of
the CPU time that a request takes to Airflow's server, its database and back.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import httpx

XComKey = tuple[str, str, int]  # task id, key, map index


@dataclass
class Instance:
    """A task instance, as the API server has it."""

    task_id: str
    map_index: int
    retries: int
    id: str = field(default_factory=lambda: str(uuid4()))
    state: str | None = None
    try_number: int = 1
    #: The try with which it began, a clear later; its retries count from there.
    first_try: int = 1
    next_method: str | None = None
    next_kwargs: Any = None
    reschedules: int = 0
    first_rescheduled: str | None = None
    rendered_map_index: str | None = None

    @property
    def max_tries(self) -> int:
        """How many tries may fail and be followed by another, counted from the very first."""
        return self.first_try - 1 + self.retries


class MemoryApi:
    """
    The API server of one DAG run.

    :param dag_id: the DAG.
    :param run_id: the run.
    :param conf: what the run was started with.
    :param date: its logical date, and every other.
    """

    def __init__(self, dag_id: str, run_id: str, conf: dict[str, Any] | None, date: datetime) -> None:
        self.dag_id, self.run_id, self.conf = dag_id, run_id, conf
        self.date = date.isoformat()
        self.instances: dict[str, Instance] = {}
        self.xcoms: dict[XComKey, Any] = {}
        self.stored: dict[tuple[str, str], Any] = {}
        self.transport = httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request as Airflow's server does; 404 for what is not here, which the client reads as absent."""
        kind, *rest = (unquote(part) for part in request.url.path.strip("/").split("/"))
        known: dict[str, Callable[..., httpx.Response]] = {
            "task-instances": self._instance,
            "task-reschedules": self._rescheduled,
            "xcoms": self._xcom,
            "store": self._store,
        }
        answer = known.get(kind)
        return answer(request, *rest) if answer else _absent()

    def _instance(self, request: httpx.Request, of: str, what: str = "") -> httpx.Response:
        found = self.instances[of]
        if what == "run":
            return httpx.Response(200, json=self._context(found))
        if what == "validate-inlets-and-outlets":
            return httpx.Response(200, json={"inactive_assets": []})
        if what == "rendered-map-index":
            found.rendered_map_index = json.loads(request.content)
        elif what == "state":
            found.rendered_map_index = json.loads(request.content).get("rendered_map_index") or found.rendered_map_index
        return httpx.Response(204) if request.method != "GET" else _absent()

    def _context(self, found: Instance) -> dict[str, Any]:
        """What a task is told when it starts. One that starts anew has to clear the XComs that it left."""
        resumed = found.next_method is not None or found.reschedules > 0
        run: dict[str, Any] = {
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            "conf": self.conf,
            "run_type": "manual",
            "state": "running",
            "consumed_asset_events": [],
            "partition_key": None,
            "end_date": None,
        }
        times = ("logical_date", "data_interval_start", "data_interval_end", "run_after", "start_date")
        keys = [key for task, key, index in self.xcoms if (task, index) == (found.task_id, found.map_index)]
        return {
            "dag_run": run | dict.fromkeys(times, self.date),
            "max_tries": found.max_tries,
            "should_retry": found.try_number <= found.max_tries,
            "task_reschedule_count": found.reschedules,
            "next_method": found.next_method,
            "next_kwargs": found.next_kwargs,
            "xcom_keys_to_clear": [] if resumed else keys,
        }

    def _rescheduled(self, request: httpx.Request, of: str, what: str) -> httpx.Response:
        return httpx.Response(200, json=self.instances[of].first_rescheduled)

    def _xcom(
        self, request: httpx.Request, dag: str, run: str, task: str, key: str, what: str = "", offset: str = ""
    ) -> httpx.Response:
        where = (task, key, int(request.url.params.get("map_index", -1)))
        if request.method == "POST":
            self.xcoms[where] = json.loads(request.content)
            return httpx.Response(201, json={})
        if request.method == "DELETE":
            self.xcoms.pop(where, None)
            return httpx.Response(200, json={})
        of_all = [
            value for (of, name, _), value in sorted(self.xcoms.items(), key=_index_of) if (of, name) == (task, key)
        ]
        if request.method == "HEAD":
            return httpx.Response(200, headers={"Content-Range": f"map_indexes {len(of_all)}"})
        if what == "slice":
            params = request.url.params
            bounds = (int(params[name]) if name in params else None for name in ("start", "stop", "step"))
            return httpx.Response(200, json=of_all[slice(*bounds)])
        if what == "item":
            return httpx.Response(200, json=of_all[int(offset)]) if int(offset) < len(of_all) else _absent()
        return httpx.Response(200, json={"key": key, "value": self.xcoms[where]}) if where in self.xcoms else _absent()

    def _store(self, request: httpx.Request, kind: str, of: str, key: str = "") -> httpx.Response:
        where = (of, key)
        if request.method == "PUT":
            self.stored[where] = json.loads(request.content)["value"]
        elif request.method == "DELETE":
            self.stored = {at: value for at, value in self.stored.items() if at != where and (key or at[0] != of)}
        elif where not in self.stored:
            return _absent()
        else:
            return httpx.Response(200, json={"value": self.stored[where]})
        return httpx.Response(204)


def _absent() -> httpx.Response:
    return httpx.Response(404, json={"detail": {"reason": "not_found"}})


def _index_of(item: tuple[XComKey, Any]) -> int:
    return item[0][2]
