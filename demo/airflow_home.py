"""A real Airflow and an emulator as processes, in an AIRFLOW_HOME of their own. Nothing is left when they stop."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from demo.processes import MARK, marked, signals_ignored, stop_marked

if TYPE_CHECKING:
    from types import TracebackType

PROJECT = Path(__file__).resolve().parent.parent
DAG_FILE = PROJECT / "dags_examples" / "upscale_folder.py"
CONNECTION = "AIRFLOW_CONN_SEGMIND_DEFAULT"
_BINARIES = Path(sys.executable).parent


class DemoError(Exception):
    """Something that the demo needs did not work."""


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on. All are held until the last is found, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@dataclass
class Home:
    """
    One AIRFLOW_HOME: an emulator, if asked for, and ``airflow standalone``. Use it as a context manager.

    :param path: the folder; what lies there is deleted first.
    :param connection: the Segmind connection as JSON; handed on in the environment only, never written.
    """

    path: Path
    connection: str = field(default="", repr=False)
    port: int = 0
    url: str = ""
    emulator_url: str = ""
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def prepare(self) -> None:
        """Start from an empty folder, and without what a killed run left running."""
        self.path = self.path.resolve()
        stop_marked(self.path, grace=1)
        if self.path.exists():
            shutil.rmtree(self.path)
        (self.path / "dags").mkdir(parents=True)
        shutil.copy(DAG_FILE, self.path / "dags")

    def start_emulator(self, *options: str) -> None:
        """Start the emulator on a free port and take its connection."""
        command = [sys.executable, "-m", "airflow_provider_segmind.emulator", "--port", "0", *options]
        process = self._start(command, subprocess.PIPE, "emulator.log")
        line = process.stdout.readline() if process.stdout else ""
        start, end = line.find("{"), line.rfind("}")
        if start < 0:
            raise DemoError(f"the emulator did not start: {self.tail('emulator.log')}")
        self.connection = line[start : end + 1]
        self.emulator_url = json.loads(self.connection)["host"]

    def start_airflow(self) -> None:
        """Start scheduler, triggerer, DAG processor and API server. They need some 20 seconds to be ready."""
        self.port, self._worker_logs, self._trigger_logs = free_ports(3)
        self.url = f"http://127.0.0.1:{self.port}"
        with (self.path / "standalone.log").open("w") as log:
            self._start([str(_BINARIES / "airflow"), "standalone"], log, "standalone.log")

    def check_running(self) -> None:
        """Say so at once where a process has ended by itself."""
        for process in self.processes:
            if process.poll() is not None:
                raise DemoError(f"{process.args!r} ended by itself with {process.returncode}")

    def stop(self) -> None:
        """Stop everything, and make sure that nothing is left."""
        with signals_ignored():
            left = stop_marked(self.path)
            for process in self.processes:
                process.wait(timeout=5)
                if process.stdout:
                    process.stdout.close()
            self.processes.clear()
        if left:
            raise DemoError(f"these processes could not be ended: {left}")

    def running(self) -> list[str]:
        """Name every process that belongs to this home."""
        return [f"{process.pid} {' '.join(process.cmdline())}" for process in marked(self.path)]

    def tail(self, name: str = "standalone.log", lines: int = 40) -> str:
        """Return the end of a log."""
        path = self.path / name
        text = path.read_text(errors="replace") if path.exists() else ""
        return self._without_secret("\n".join(text.splitlines()[-lines:]))

    def task_errors(self) -> list[tuple[Path, str]]:
        """Return the logs of tasks that name an error, and what they say."""
        logs = sorted((self.path / "logs").glob("dag_id=*/**/*.log"))
        found = [(path, _errors(path.read_text(errors="replace"))) for path in logs]
        return [(path, self._without_secret(reported)) for path, reported in found if reported]

    def _without_secret(self, text: str) -> str:
        """Blot out the key; Airflow does that, too, but what is shown here may come from before it can."""
        secret = json.loads(self.connection).get("password") if self.connection else None
        return text.replace(secret, "***") if secret else text

    def environment(self) -> dict[str, str]:
        """Return the environment of every process: the caller's, without its Airflow and its Segmind key."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "SEGMIND_", "_AIRFLOW"))}
        kept |= {name: _with_loopback(kept.get(name, "")) for name in ("NO_PROXY", "no_proxy")}
        kept |= {
            MARK: str(self.path),
            "PATH": f"{_BINARIES}{os.pathsep}{kept.get('PATH', '')}",  # standalone starts "airflow" by name
            "SPT_NOENV": "1",  # Airflow renames its processes; this keeps their environment, our mark, readable
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
        }
        if self.connection:
            kept[CONNECTION] = self.connection
        return kept | (self._airflow_settings() if self.port else {})

    def _airflow_settings(self) -> dict[str, str]:
        settings: dict[str, dict[str, Any]] = {
            "core": {
                "dags_folder": self.path / "dags",
                "load_examples": False,
                "dags_are_paused_at_creation": False,
                "simple_auth_manager_all_admins": True,  # on loopback only, see [api] host
                "execution_api_server_url": f"{self.url}/execution/",
                "hostname_callable": "socket.gethostname",  # the default may ask a name server
                "parallelism": 4,  # workers are forked up front
                "test_connection": "Enabled",
                "default_task_retries": 2,
                "default_task_retry_delay": 2,
            },
            # Airflow 3.3 notices up to this many seconds late that a task has deferred. Where its trigger fires
            # earlier, the scheduler takes the task for killed (apache/airflow#67287). The default is 5.
            "workers": {"min_heartbeat_interval": 1},
            "api": {"host": "127.0.0.1", "port": self.port, "base_url": self.url},
            "logging": {
                "worker_log_server_port": self._worker_logs,
                "trigger_log_server_port": self._trigger_logs,
                "colored_console_log": False,
                "namespace_levels": "http.access=WARNING",  # not a line for every look of ours
            },
            "scheduler": {"scheduler_idle_sleep_time": 0.5},
            "dag_processor": {"parsing_processes": 1, "min_file_process_interval": 600, "refresh_interval": 600},
            "triggerer": {"capacity": 100},
        }
        return {
            f"AIRFLOW__{section}__{name}".upper(): str(value)
            for section, values in settings.items()
            for name, value in values.items()
        }

    def _start(self, command: list[str], stdout: Any, log: str) -> subprocess.Popen[str]:
        """Start a process in a session of its own: a Ctrl-C in the terminal reaches only us, and we stop it."""
        with (self.path / log).open("a") as errors:
            process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def __enter__(self) -> Self:
        self.prepare()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def wait_for(what: str, ready: Any, *, home: Home, seconds: float, pause: float = 0.5) -> Any:
    """Call ``ready`` until it returns something; raise DemoError after so many seconds, or where a process ended."""
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        home.check_running()
        if time.monotonic() > deadline:
            raise DemoError(f"{what}: not within {seconds:g} s")
        time.sleep(pause)
    return found


def _with_loopback(hosts: str) -> str:
    """Add this machine to the hosts that no proxy is asked for."""
    return ",".join(dict.fromkeys([*filter(None, hosts.split(",")), "127.0.0.1", "localhost"]))


def _errors(log: str) -> str:
    """Return what a task's log, one JSON object a line, names as errors."""
    reported = []
    for line in log.splitlines():
        with contextlib.suppress(ValueError, AttributeError):
            entry = json.loads(line)
            if entry.get("level") in ("error", "critical"):
                causes = [f"{one['exc_type']}: {one['exc_value']}" for one in entry.get("error_detail") or []]
                reported.append("\n  ".join([str(entry.get("event")), *causes]))
    return "\n".join(reported)
