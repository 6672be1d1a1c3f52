"""The part of Airflow's REST API that the chaos tests need in addition to the demo."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from demo.api import Api

_PAGE = 100  # Airflow's limit of a page


class ChaosApi(Api):
    """The demo's client, for any DAG."""

    def dag_files(self) -> set[str]:
        """Return the names of the DAG files whose DAGs are known; raise RuntimeError if one cannot be read."""
        if errors := self.get("/api/v2/importErrors")["import_errors"]:
            raise RuntimeError(errors[0]["stack_trace"])
        return {Path(dag["fileloc"]).stem for dag in self.dags()}

    def dags(self) -> list[dict[str, Any]]:
        """Return every known DAG."""
        found: list[dict[str, Any]] = self.get("/api/v2/dags", limit=_PAGE)["dags"]
        return found

    def dag_runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the runs of a DAG."""
        found: list[dict[str, Any]] = self.get(f"/api/v2/dags/{dag_id}/dagRuns", limit=_PAGE)["dag_runs"]
        return found

    def create_connection(self, connection_id: str, fields: dict[str, Any]) -> None:
        """Create a connection in Airflow's database."""
        response = self.post("/api/v2/connections", {"connection_id": connection_id, **fields})
        if response.status_code != 409:  # an earlier call did arrive
            response.raise_for_status()

    def is_healthy(self) -> bool:
        """Return whether scheduler, triggerer and DAG processor have a recent heartbeat."""
        health = self.get("/api/v2/monitor/health")
        return all(health[part]["status"] == "healthy" for part in ("scheduler", "triggerer", "dag_processor"))

    def limit_in_flight(self, tasks: int) -> None:
        """Limit the number of tasks of this Airflow that run or wait at once."""
        body = {"pool": "default_pool", "slots": tasks, "include_deferred": True}
        response = self.request(
            "PATCH", "/api/v2/pools/default_pool", params={"update_mask": ["slots", "include_deferred"]}, json=body
        )
        response.raise_for_status()

    def state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        return str(self.get(_run(dag_id, run_id))["state"])

    def has_ended(self, dag_id: str, run_id: str) -> bool:
        """Return whether a run has ended."""
        return self.state(dag_id, run_id) in ("success", "failed")

    def instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return every task instance of a run."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.get(f"{_run(dag_id, run_id)}/taskInstances", limit=_PAGE, offset=len(found))
            found += page["task_instances"]
            if len(found) >= page["total_entries"] or not page["task_instances"]:
                return found

    def count(self, dag_id: str, run_id: str, state: str) -> int:
        """Return the number of task instances of a run in a state."""
        return int(self.get(f"{_run(dag_id, run_id)}/taskInstances", state=state, limit=1)["total_entries"])

    def deferred_to(self, dag_id: str, run_id: str) -> Counter[str]:
        """Return the number of deferred task instances of a run by class of trigger, from one page of them."""
        page = self.get(f"{_run(dag_id, run_id)}/taskInstances", state="deferred", limit=_PAGE)["task_instances"]
        triggers = [instance["trigger"] for instance in page if instance["trigger"]]
        return Counter(trigger["classpath"].rpartition(".")[2] for trigger in triggers)

    def clear(self, dag_id: str, run_id: str) -> None:
        """Clear every task of a run, as a user does."""
        body = {"dry_run": False, "dag_run_id": run_id, "only_failed": False, "reset_dag_runs": True}
        self.post(f"/api/v2/dags/{dag_id}/clearTaskInstances", body).raise_for_status()

    def returned(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """Return what a task returned."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.get(path, map_index=map_index, stringify=False)["value"]


def _run(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
