"""
Airflow's execution API in memory: receives the calls of a task's process and returns the responses.

The task runner, the supervisor and their client are Airflow's own. Only the server is implemented here, for one DAG
run: it stores XComs and the task state store, and returns the context of a starting task. This takes a tenth of the
CPU time of a call to Airflow's server and database. It refuses calls that it does not implement: use ``run_dag`` of
``tests.airflow_env`` then.
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

#: Task id, key, map index.
XComKey = tuple[str, str, int]
#: Reports of a task about itself, to which the response is empty.
_REPORTS = {"state", "heartbeat", "rtif", "rendered-map-index"}


@dataclass
class Instance:
    """A task instance in the state of the API server. Each try has another id."""

    task_id: str
    map_index: int
    retries: int
    id: str = field(default_factory=lambda: str(uuid4()))
    state: str | None = None
    try_number: int = 1
    #: First try since the last clear; retries count from it.
    first_try: int = 1
    #: The latest deferral, as sent by the task.
    deferral: dict[str, Any] = field(default_factory=dict)
    next_method: str | None = None
    next_kwargs: Any = None
    reschedules: int = 0
    first_rescheduled: str | None = None
    rendered_map_index: str | None = None

    @property
    def max_tries(self) -> int:
        """The number of the last try that is retried if it fails, counted from the first try."""
        return self.first_try - 1 + self.retries

    def begin_again(self) -> None:
        """Start the next try. It keeps nothing of the previous one except its number."""
        self.id, self.try_number = str(uuid4()), self.try_number + 1
        self.next_method = self.next_kwargs = self.first_rescheduled = None
        self.deferral, self.reschedules = {}, 0


class MemoryApi:
    """
    The API server of one DAG run.

    :param dag_id: the DAG.
    :param run_id: the run.
    :param conf: configuration of the run.
    :param date: logical date; also used for every other date of the run.
    """

    def __init__(self, dag_id: str, run_id: str, conf: dict[str, Any] | None, date: datetime) -> None:
        self.dag_id, self.run_id, self.conf = dag_id, run_id, conf
        self.date = date.isoformat()
        self.instances: list[Instance] = []
        self.xcoms: dict[XComKey, Any] = {}
        self.stored: dict[XComKey, Any] = {}
        #: The first call that is not implemented. If there is one, the result of the task is not valid.
        self.refused: str | None = None
        self.transport = httpx.MockTransport(self._respond)

    def _respond(self, request: httpx.Request) -> httpx.Response:
        """Respond like Airflow's server; with 404 for a missing entry."""
        path = request.url.raw_path.partition(b"?")[0].decode()
        kind, *rest = (unquote(part) for part in path.strip("/").split("/"))
        known: dict[str, Callable[..., httpx.Response]] = {
            "task-instances": self._instance,
            "task-reschedules": self._rescheduled,
            "xcoms": self._xcom,
            "store": self._store,
        }
        if handler := known.get(kind):
            return handler(request, *rest)
        if kind in ("connections", "variables") and request.method == "GET":
            return _absent()  # the client reads the environment before it calls the server
        return self._refuse(request, path)

    def _refuse(self, request: httpx.Request, what: str) -> httpx.Response:
        self.refused = self.refused or f"{request.method} {what}"
        return httpx.Response(501)

    def _named(self, of: str) -> Instance:
        return next(instance for instance in self.instances if instance.id == of)

    def _states(self, request: httpx.Request) -> httpx.Response:
        """Return the states of the instances of one task, which only a queued one requests."""
        index, task = request.url.params.get("map_index"), request.url.params.get("task_ids")
        found = {
            f"{one.task_id}_{one.map_index}" if one.map_index >= 0 else one.task_id: one.state
            for one in self.instances
            if one.task_id == task and index in (None, str(one.map_index))
        }
        return httpx.Response(200, json={"task_states": {self.run_id: found} if found else {}})

    def _instance(self, request: httpx.Request, of: str, what: str = "") -> httpx.Response:
        if of == "states":
            return self._states(request)
        if what == "run":
            return httpx.Response(200, json=self._context(self._named(of)))
        if what == "validate-inlets-and-outlets":
            return httpx.Response(200, json={"inactive_assets": []})
        if what == "previous-successful-dagrun":
            return httpx.Response(200, json={})
        if what not in _REPORTS:
            return self._refuse(request, what)
        self._record(self._named(of), what, json.loads(request.content))
        return httpx.Response(204)

    def _record(self, instance: Instance, what: str, sent: Any) -> None:
        if what == "rendered-map-index":
            instance.rendered_map_index = sent
        elif what == "state":
            instance.rendered_map_index = sent.get("rendered_map_index") or instance.rendered_map_index
            instance.deferral = sent if sent["state"] == "deferred" else {}

    def _context(self, found: Instance) -> dict[str, Any]:
        """Return the context of a starting task. A task that starts again clears its XComs."""
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
            "xcom_keys_to_clear": [] if found.next_method else keys,
        }

    def _rescheduled(self, request: httpx.Request, of: str, what: str) -> httpx.Response:
        return httpx.Response(200, json=self._named(of).first_rescheduled)

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
        if request.method == "HEAD" or what:
            return _of_all(request, self.values(task, key), what, offset)
        return httpx.Response(200, json={"key": key, "value": self.xcoms[where]}) if where in self.xcoms else _absent()

    def values(self, task_id: str, key: str) -> list[Any]:
        """Return what the instances of a task pushed under a key, in the order of their map index."""
        found = {index: value for (task, name, index), value in self.xcoms.items() if (task, name) == (task_id, key)}
        return [found[index] for index in sorted(found)]

    def _store(self, request: httpx.Request, kind: str, of: str, key: str) -> httpx.Response:
        """Read or write the task state store of a task instance, which all tries share."""
        if kind != "ti":
            return self._refuse(request, f"store/{kind}")
        instance = self._named(of)
        where = (instance.task_id, key, instance.map_index)
        if request.method == "PUT":
            self.stored[where] = json.loads(request.content)["value"]
            return httpx.Response(204)
        if request.method == "DELETE":
            self.stored.pop(where, None)
            return httpx.Response(204)
        return httpx.Response(200, json={"value": self.stored[where]}) if where in self.stored else _absent()


def _of_all(request: httpx.Request, values: list[Any], what: str, offset: str) -> httpx.Response:
    """Return the response for the XComs of all instances of a mapped task."""
    if request.method == "HEAD":
        return httpx.Response(200, headers={"Content-Range": f"map_indexes {len(values)}"})
    if what == "slice":
        params = request.url.params
        bounds = (int(params[name]) if name in params else None for name in ("start", "stop", "step"))
        return httpx.Response(200, json=values[slice(*bounds)])
    return httpx.Response(200, json=values[int(offset)]) if int(offset) < len(values) else _absent()


def _absent() -> httpx.Response:
    return httpx.Response(404, json={"detail": {"reason": "not_found"}})
