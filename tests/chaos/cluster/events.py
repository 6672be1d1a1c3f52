"""Failures of a cluster during a run, and the time until it recovers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, TypeVar

import psutil  # type: ignore[import-untyped]  # Airflow brings it

from tests.chaos.cluster.cluster import TRIGGERERS, WORKERS, Cluster

#: Seconds until a dead worker is started again, and seconds for which PostgreSQL and the gateway are stopped.
RESTART, POSTGRES_STOPPED, GATEWAY_STOPPED = 5, 10, 30
#: Minimum number of waits of a triggerer that is killed.
_MIN_WAITS = 4
Found = TypeVar("Found", bound=Sized)


@dataclass
class Recovery:
    """The failure, the sign of recovery, and the seconds between the two."""

    what: str
    over: str
    seconds: float

    def row(self) -> dict[str, Any]:
        """Return the row of the table."""
        return {"what": self.what, "over when": self.over, "seconds": f"{self.seconds:.0f}"}


def all_of_them(cluster: Cluster, run_id: str) -> Iterator[Recovery]:
    """Cause one failure after the other during the run."""
    for event in (kill_worker, kill_triggerer, kill_scheduler, stop_postgres, close_gateway):
        yield event(cluster, run_id)


def kill_worker(cluster: Cluster, run_id: str) -> Recovery:
    """Send SIGKILL to a worker and its tasks, and start another one a few seconds later."""
    name = WORKERS[0]
    tries = cluster.wait(f"{name} runs tasks", lambda: _enough(_run_by(cluster, name), 2), seconds=60)
    since = time.monotonic()
    cluster.kill_component(name)
    time.sleep(RESTART)
    cluster.start_component(name)
    cluster.wait("its tasks are treated as dead", lambda: not tries & _running(cluster), seconds=120)
    what = f"`kill -9` of a worker and of the {len(tries)} tasks in it; another one is started {RESTART} s later"
    return Recovery(what, "the tasks are up for retry", time.monotonic() - since)


def kill_triggerer(cluster: Cluster, run_id: str) -> Recovery:
    """Send SIGKILL to a triggerer, and start it again once the other one has its waits."""
    name = TRIGGERERS[0]
    before = cluster.wait("both have waits", lambda: _enough(_waits(cluster), len(TRIGGERERS)), seconds=120)
    since = time.monotonic()
    cluster.kill_component(name)
    dead = cluster.wait("it has no heartbeat", lambda: before.keys() & _silent(cluster), seconds=30).pop()
    cluster.wait("the other has its waits", lambda: dead not in _waits(cluster), seconds=120)
    took = time.monotonic() - since
    cluster.start_component(name)
    return Recovery(f"`kill -9` of a triggerer with {before[dead]} waits", "the other one has them", took)


def kill_scheduler(cluster: Cluster, run_id: str) -> Recovery:
    """Send SIGKILL to the scheduler and start it again at once."""

    def do() -> None:
        cluster.kill_component("scheduler")
        cluster.start_component("scheduler")

    return _until_stored("`kill -9` of the scheduler; it is started again at once", cluster, run_id, do)


def stop_postgres(cluster: Cluster, run_id: str) -> Recovery:
    """Stop the metadata database for a while."""

    def do() -> None:
        cluster.postgres.stop()
        time.sleep(POSTGRES_STOPPED)
        cluster.postgres.start(cluster.environment())

    return _until_stored(f"PostgreSQL is stopped for {POSTGRES_STOPPED} s", cluster, run_id, do)


def close_gateway(cluster: Cluster, run_id: str) -> Recovery:
    """Stop the gateway for a while. The requests that it has accepted continue."""

    def do() -> None:
        cluster.gateway.close()
        time.sleep(GATEWAY_STOPPED)
        cluster.gateway.open()

    return _until_stored(f"the gateway is stopped for {GATEWAY_STOPPED} s", cluster, run_id, do)


def _until_stored(what: str, cluster: Cluster, run_id: str, do: Callable[[], None]) -> Recovery:
    since = time.monotonic()
    do()
    before = cluster.stored(run_id)
    cluster.wait("images are stored again", lambda: cluster.stored(run_id) > before, seconds=180)
    return Recovery(what, "the next image is stored", time.monotonic() - since)


def _run_by(cluster: Cluster, worker: str) -> set[tuple[int, int]]:
    """Return map index and try of each task that this worker runs now."""
    family = {one.pid for one in psutil.Process(cluster.components[worker].pid).children(recursive=True)}
    rows = cluster.rows("SELECT map_index, try_number, pid FROM task_instance WHERE state = 'running'")
    return {(row["map_index"], row["try_number"]) for row in rows if row["pid"] in family}


def _running(cluster: Cluster) -> set[tuple[int, int]]:
    rows = cluster.rows("SELECT map_index, try_number FROM task_instance WHERE state = 'running'")
    return {(row["map_index"], row["try_number"]) for row in rows}


def _waits(cluster: Cluster) -> dict[int, int]:
    """Return the number of waits by the job id of the triggerer, for triggerers with enough of them."""
    rows = cluster.rows("SELECT triggerer_id, count(*) AS waits FROM trigger GROUP BY triggerer_id")
    return {row["triggerer_id"]: row["waits"] for row in rows if row["triggerer_id"] and row["waits"] >= _MIN_WAITS}


def _enough(found: Found, number: int) -> Found | None:
    return found if len(found) >= number else None


def _silent(cluster: Cluster) -> set[int]:
    """Return the jobs without a recent heartbeat. The database does not contain the process of a job."""
    rows = cluster.rows("SELECT id FROM job WHERE latest_heartbeat < now() - interval '5 seconds'")
    return {row["id"] for row in rows}
