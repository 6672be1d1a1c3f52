"""The part of Airflow's REST API that the demo and its test need."""

from __future__ import annotations

import time
from typing import Any

import httpx

DAG_ID = "segmind_upscale_folder"
#: Task ids of the DAG and the slugs of the models that they run.
MODELS = {"esrgan": "esrgan", "nomos": "nomos-upscaler", "bria": "bria-increase-resolution"}
_FINAL = {"success", "failed"}


class Api:
    """
    A client for Airflow's API on loopback. It repeats calls while the server is busy or starting.

    :param url: the server's address, including its base path.
    :param cookies: cookies of each call.
    """

    def __init__(self, url: str, cookies: dict[str, str] | None = None) -> None:
        # No certificates: this is plain HTTP, and reading them is slow.
        self._http = httpx.Client(base_url=url, cookies=cookies, timeout=30, trust_env=False, verify=False)  # noqa: S501

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def sign_in(self) -> bool:
        """Get a token; return False while the server does not respond yet."""
        try:
            response = self._http.get("/auth/token")
        except httpx.TransportError:
            return False
        if response.status_code != 201:
            return False
        self._http.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
        return True

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON at a path."""
        return self.request("GET", path, params=query).raise_for_status().json()

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """Send JSON. The server may receive it twice."""
        return self.request("POST", path, json=body)

    def trigger_dag(self, dag_id: str, run_id: str, conf: dict[str, Any] | None = None) -> None:
        """Start a run once: if an earlier call did arrive, the server refuses a second run with the same id."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf or {}}
        response = self.post(f"/api/v2/dags/{dag_id}/dagRuns", body)
        if response.status_code != 409:
            response.raise_for_status()

    def request(self, method: str, path: str, **content: Any) -> httpx.Response:
        """
        Send a call that may arrive twice, and return the response, whatever its status.

        It tries up to five times, because a write to SQLite can fail with "database is locked": Airflow's API server
        waits for the lock (5 s) on the event loop that another call needs to release it.
        """
        for attempt in range(5):
            try:
                response = self._http.request(method, path, **content)
            except httpx.TransportError:
                if attempt == 4:
                    raise
            else:
                if response.status_code < 500 or attempt == 4:
                    break
            time.sleep(0.5)
        return response

    def has_dag(self) -> bool:
        """Return whether the DAG processor has read the DAG; raise RuntimeError if it failed."""
        if errors := self.get("/api/v2/importErrors")["import_errors"]:
            raise RuntimeError(errors[0]["stack_trace"])
        return any(dag["dag_id"] == DAG_ID for dag in self.get("/api/v2/dags")["dags"])

    def trigger(self, run_id: str, conf: dict[str, Any]) -> None:
        """Start a run of the DAG."""
        self.trigger_dag(DAG_ID, run_id, conf)

    def run_state(self, run_id: str) -> str:
        """Return the state of a run."""
        state: str = self.get(_run(run_id))["state"]
        return state

    def is_over(self, run_id: str) -> bool:
        """Return whether a run has ended."""
        return self.run_state(run_id) in _FINAL

    def task_instances(self, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run, with map indexes, states and rendered fields."""
        listing: list[dict[str, Any]] = self.get(f"{_run(run_id)}/taskInstances", limit=100)["task_instances"]
        return listing

    def xcom(self, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """Return what a task returned."""
        path = f"{_run(run_id)}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.get(path, map_index=map_index, stringify=False)["value"]

    def links(self, run_id: str, task_id: str, map_index: int) -> dict[str, str | None]:
        """Return the extra links of a mapped task instance by name."""
        path = f"{_run(run_id)}/taskInstances/{task_id}/links"
        links: dict[str, str | None] = self.get(path, map_index=map_index)["extra_links"]
        return links


def emulator_stats(url: str) -> dict[str, Any]:
    """Return the emulator's counters."""
    stats: dict[str, Any] = httpx.get(f"{url}/_emulator/stats", timeout=30, trust_env=False).raise_for_status().json()
    return stats


def _run(run_id: str) -> str:
    return f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}"
