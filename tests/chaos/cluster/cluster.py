"""An Airflow with several workers and triggerers, as in production: CeleryExecutor, Redis, PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from demo.airflow_home import free_ports
from tests.chaos.cluster.servers import Proxy, Redis, redis_binary
from tests.chaos.rig import Rig
from tests.databases import PostgresServer, postgres_binaries

HOME = Path(__file__).resolve().parents[3] / ".cluster"
WORKERS = ("worker-1", "worker-2")
TRIGGERERS = ("triggerer-1", "triggerer-2")
SLOTS = 4
#: Seconds without a heartbeat after which Airflow treats a task as dead. The default is 300.
HEARTBEAT_TIMEOUT = 20
TRIGGERER_THRESHOLD = 15


def missing() -> str | None:
    """Return how to install what this machine lacks for a cluster; None if nothing is missing."""
    lacks = [
        name
        for name, there in {"postgresql": postgres_binaries(), "redis-server": redis_binary()}.items()
        if there is None
    ]
    return f"install Debian's packages {' and '.join(lacks)}" if lacks else None


@dataclass
class Cluster(Rig):
    """
    Two Celery workers, two triggerers, a scheduler, a DAG processor and an API server, on PostgreSQL and Redis.

    The gateway is behind a proxy that can be closed. A part that ends is started again, as by systemd or Kubernetes,
    and is listed in ``restarted``.
    """

    parts: ClassVar[tuple[str, ...]] = ("api-server", "scheduler", "dag-processor", *TRIGGERERS, *WORKERS)
    restarted: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        super().prepare()
        self.path.chmod(0o755)
        self.gateway = Proxy()
        self.redis = Redis(self.path)
        data = self.path / "postgres"
        data.mkdir()
        self.postgres = PostgresServer(postgres_binaries() or Path(), data, {"max_connections": "400"})
        self._log_ports = dict(zip((*TRIGGERERS, *WORKERS), free_ports(4), strict=True))
        self._only_here: dict[str, str] = {}

    def start_emulator(self, *options: str) -> None:
        [port] = free_ports(1)
        super().start_emulator(*options, "--port", str(port), "--public-url", self.gateway.url)
        self.emulator_url = f"http://127.0.0.1:{port}"  # the connection has the public URL
        self.gateway.target = port
        self.gateway.open()

    def start_airflow(self) -> None:
        marked = self.environment()
        self.postgres.start(marked)
        self.redis.start(marked)
        super().start_airflow()

    def start_component(self, name: str) -> None:
        self._only_here = {}
        if name in self._log_ports:
            kind = "TRIGGER" if name in TRIGGERERS else "WORKER"
            self._only_here[f"AIRFLOW__LOGGING__{kind}_LOG_SERVER_PORT"] = str(self._log_ports[name])
        super().start_component(name)
        self._only_here = {}

    def command(self, name: str) -> list[str]:
        if name in WORKERS:
            quiet = ("--without-mingle", "--without-gossip")
            return ["celery", "worker", "--celery-hostname", f"{name}@%h", "--concurrency", str(SLOTS), *quiet]
        return ["triggerer"] if name in TRIGGERERS else [name]

    def check_running(self) -> None:
        """Start parts again that have ended."""
        for name, process in list(self.components.items()):
            if process.poll() is not None:
                self.restarted.append(name)
                self.processes.remove(process)
                self.start_component(name)

    def environment(self) -> dict[str, str]:
        return super().environment() | self._only_here

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Query the metadata database."""
        return self.postgres.access.rows(query)

    def stored(self, run_id: str) -> int:
        """Return the number of stored images of a run."""
        return len(list((self.out / run_id).glob("*.jpg")))

    def stop(self) -> None:
        self.gateway.close()
        super().stop()
        self.redis.stop()  # these two rename themselves and lose our mark
        self.postgres.stop()

    def _airflow_settings(self) -> dict[str, str]:
        database = self.postgres.access.url
        return super()._airflow_settings() | {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__PARALLELISM": "16",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CELERY__BROKER_URL": self.redis.url,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
            "AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(HEARTBEAT_TIMEOUT),
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(TRIGGERER_THRESHOLD),
        }

    def status(self) -> dict[str, Any]:
        """Return processes and addresses."""
        return {
            "home": str(self.path),
            "airflow": self.url,
            "emulator": self.emulator_url,
            "gateway": self.gateway.url,
            "postgres": self.postgres.access.port,
            "redis": self.redis.port,
            "parts": {name: process.pid for name, process in self.components.items()},
        }
