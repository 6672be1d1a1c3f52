"""What is done to a cluster while it works, and how long it takes to get over it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, TypeVar

import psutil  # type: ignore[import-untyped]  # Airflow brings it

from tests.chaos.cluster.cluster import TRIGGERERS, WORKERS, Cluster

#: Seconds until a dead worker is started anew, and for which PostgreSQL and the gateway are gone.
AGAIN, POSTGRES_GONE, GATEWAY_GONE = 5, 10, 30
#: A triggerer with fewer waits is not worth killing.
SOME = 4
Found = TypeVar("Found", bound=Sized)


@dataclass
class Recovery:
    """What was done, what shows that it is over, and the seconds between the two."""

    what: str
    over: str
    seconds: float

    def row(self) -> dict[str, Any]:
        """For the table."""
        return {"what": self.what, "over when": self.over, "seconds": f"{self.seconds:.0f}"}


def all_of_them(cluster: Cluster, run_id: str) -> Iterator[Recovery]:
    """Do one after the other, each while the run goes on."""
    for event in (kill_worker, kill_triggerer, kill_scheduler, stop_postgres, close_gateway):
        yield event(cluster, run_id)


def kill_worker(cluster: Cluster, run_id: str) -> Recovery:
    """SIGKILL a worker and its tasks, and start another one a little later."""
    name = WORKERS[0]
    tries = cluster.wait(f"{name} runs tasks", lambda: _enough(_run_by(cluster, name), 2), seconds=60)
    since = time.monotonic()
    cluster.kill_component(name)
    time.sleep(AGAIN)
    cluster.start_component(name)
    cluster.wait("its tasks are taken for dead", lambda: not tries & _running(cluster), seconds=120)
    what = f"`kill -9` of a worker and of the {len(tries)} tasks in it; another one is started {AGAIN} s later"
    return Recovery(what, "the tasks are up for retry", time.monotonic() - since)


def kill_triggerer(cluster: Cluster, run_id: str) -> Recovery:
    """SIGKILL a triggerer, and start another one once the other has its waits."""
    name = TRIGGERERS[0]
    before = cluster.wait("both have waits", lambda: _enough(_waits(cluster), len(TRIGGERERS)), seconds=120)
    since = time.monotonic()
    cluster.kill_component(name)
    dead = cluster.wait("it is silent", lambda: before.keys() & _silent(cluster), seconds=30).pop()
    cluster.wait("the other has its waits", lambda: dead not in _waits(cluster), seconds=120)
    took = time.monotonic() - since
    cluster.start_component(name)
    return Recovery(f"`kill -9` of a triggerer with {before[dead]} waits", "the other one has them", took)


def kill_scheduler(cluster: Cluster, run_id: str) -> Recovery:
    """SIGKILL the scheduler and start it again at once."""

    def do() -> None:
        cluster.kill_component("scheduler")
        cluster.start_component("scheduler")

    return _until_stored("`kill -9` of the scheduler; it is started again at once", cluster, run_id, do)


def stop_postgres(cluster: Cluster, run_id: str) -> Recovery:
    """Take the metadata database away for a while."""

    def do() -> None:
        cluster.postgres.stop()
        time.sleep(POSTGRES_GONE)
        cluster.postgres.start(cluster.environment())

    return _until_stored(f"PostgreSQL is stopped for {POSTGRES_GONE} s", cluster, run_id, do)


def close_gateway(cluster: Cluster, run_id: str) -> Recovery:
    """Take the gateway away for a while; the jobs that it has accepted go on."""

    def do() -> None:
        cluster.gateway.close()
        time.sleep(GATEWAY_GONE)
        cluster.gateway.open()

    return _until_stored(f"the gateway is stopped for {GATEWAY_GONE} s", cluster, run_id, do)


def _until_stored(what: str, cluster: Cluster, run_id: str, do: Callable[[], None]) -> Recovery:
    since = time.monotonic()
    do()
    before = cluster.stored(run_id)
    cluster.wait("pictures are stored again", lambda: cluster.stored(run_id) > before, seconds=180)
    return Recovery(what, "the next picture is stored", time.monotonic() - since)


def _run_by(cluster: Cluster, worker: str) -> set[tuple[int, int]]:
    """Map index and try of each task that this worker runs now."""
    family = {one.pid for one in psutil.Process(cluster.components[worker].pid).children(recursive=True)}
    rows = cluster.rows("SELECT map_index, try_number, pid FROM task_instance WHERE state = 'running'")
    return {(row["map_index"], row["try_number"]) for row in rows if row["pid"] in family}


def _running(cluster: Cluster) -> set[tuple[int, int]]:
    rows = cluster.rows("SELECT map_index, try_number FROM task_instance WHERE state = 'running'")
    return {(row["map_index"], row["try_number"]) for row in rows}


def _waits(cluster: Cluster) -> dict[int, int]:
    """How many waits each triggerer has that has some, by the id of its job."""
    rows = cluster.rows("SELECT triggerer_id, count(*) AS waits FROM trigger GROUP BY triggerer_id")
    return {row["triggerer_id"]: row["waits"] for row in rows if row["triggerer_id"] and row["waits"] >= SOME}


def _enough(found: Found, number: int) -> Found | None:
    return found if len(found) >= number else None


def _silent(cluster: Cluster) -> set[int]:
    """The jobs that have shown no heartbeat for a while; which process a job is of stands nowhere."""
    rows = cluster.rows("SELECT id FROM job WHERE latest_heartbeat < now() - interval '5 seconds'")
    return {row["id"] for row in rows}
