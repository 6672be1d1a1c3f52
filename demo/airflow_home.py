"""A real Airflow and an emulator as processes in their own AIRFLOW_HOME. No process is left when they stop."""

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
    """The demo cannot continue."""


def free_ports(count: int) -> list[int]:
    """Return free ports. All are bound until the last is found, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@dataclass
class Home:
    """
    One AIRFLOW_HOME with ``airflow standalone`` and, optionally, an emulator. Use it as a context manager.

    :param path: the folder; its former contents are deleted.
    :param connection: the Segmind connection as JSON; passed in the environment only, never written.
    """

    path: Path
    connection: str = field(default="", repr=False)
    port: int = 0
    url: str = ""
    emulator_url: str = ""
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def prepare(self) -> None:
        """Stop processes that a killed run left behind, and create an empty folder."""
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
            raise DemoError(f"the emulator did not start; the end of its log: {self.tail('emulator.log')}")
        self.connection = line[start : end + 1]
        self.emulator_url = json.loads(self.connection)["host"]

    def start_airflow(self) -> None:
        """Start scheduler, triggerer, DAG processor and API server. They are ready after about 20 seconds."""
        self.port, self._worker_logs, self._trigger_logs = free_ports(3)
        self.url = f"http://127.0.0.1:{self.port}"
        with (self.path / "standalone.log").open("w") as log:
            self._start([str(_BINARIES / "airflow"), "standalone"], log, "standalone.log")

    def check_running(self) -> None:
        """Raise DemoError if a process has ended."""
        for process in self.processes:
            if process.poll() is not None:
                raise DemoError(f"{process.args!r} ended unexpectedly with status {process.returncode}: see the log")

    def stop(self) -> None:
        """Stop all processes; raise DemoError if one cannot be stopped."""
        with signals_ignored():
            left = stop_marked(self.path)
            for process in self.processes:
                process.wait(timeout=5)
                if process.stdout:
                    process.stdout.close()
            self.processes.clear()
        if left:
            raise DemoError(f"these processes could not be stopped: {left}; kill them")

    def running(self) -> list[str]:
        """Return id and command line of every process of this home."""
        return [f"{process.pid} {' '.join(process.cmdline())}" for process in marked(self.path)]

    def tail(self, name: str = "standalone.log", lines: int = 40) -> str:
        """Return the end of a log."""
        path = self.path / name
        text = path.read_text(errors="replace") if path.exists() else ""
        return self._redacted("\n".join(text.splitlines()[-lines:]))

    def task_errors(self) -> list[tuple[Path, str]]:
        """Return the logs of tasks that contain errors, and the errors."""
        logs = sorted((self.path / "logs").glob("dag_id=*/**/*.log"))
        found = [(path, _errors(path.read_text(errors="replace"))) for path in logs]
        return [(path, self._redacted(reported)) for path, reported in found if reported]

    def _redacted(self, text: str) -> str:
        """Redact the key. Airflow also does it, but not in lines that are logged before it is configured."""
        secret = json.loads(self.connection).get("password") if self.connection else None
        return text.replace(secret, "***") if secret else text

    def environment(self) -> dict[str, str]:
        """Return the environment of every process: the caller's, without its settings for Airflow and Segmind."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "SEGMIND_", "_AIRFLOW"))}
        kept |= {name: _with_loopback(kept.get(name, "")) for name in ("NO_PROXY", "no_proxy")}
        kept |= {
            MARK: str(self.path),
            "PATH": f"{_BINARIES}{os.pathsep}{kept.get('PATH', '')}",  # standalone starts "airflow" from the PATH
            "SPT_NOENV": "1",  # keeps the environment of a process, our mark, readable although Airflow renames it
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
                "simple_auth_manager_all_admins": True,  # only on loopback, see [api] host
                "execution_api_server_url": f"{self.url}/execution/",
                "hostname_callable": "socket.gethostname",  # the default may query a name server
                "parallelism": 4,  # workers are forked at the start
                "test_connection": "Enabled",
                "default_task_retries": 2,
                "default_task_retry_delay": 2,
            },
            # Airflow 3.3 registers a deferral up to this many seconds late. If the trigger fires earlier, the scheduler
            # assumes that the task was killed (apache/airflow#67287). The default is 5.
            "workers": {"min_heartbeat_interval": 1},
            "api": {"host": "127.0.0.1", "port": self.port, "base_url": self.url},
            "logging": {
                "worker_log_server_port": self._worker_logs,
                "trigger_log_server_port": self._trigger_logs,
                "colored_console_log": False,
                "namespace_levels": "http.access=WARNING",  # not a line for every call of the demo
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
        """Start a process in its own session, so that Ctrl-C in the terminal reaches only the demo, which stops it."""
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
    """Call ``ready`` until it returns a true value; raise DemoError after ``seconds`` or when a process ends."""
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        home.check_running()
        if time.monotonic() > deadline:
            raise DemoError(f"{what} did not become ready within {seconds:g} s: see the logs in {home.path}")
        time.sleep(pause)
    return found


def _with_loopback(hosts: str) -> str:
    """Add this machine to the hosts that are reached without a proxy."""
    return ",".join(dict.fromkeys([*filter(None, hosts.split(",")), "127.0.0.1", "localhost"]))


def _errors(log: str) -> str:
    """Return the errors in a task's log, which has one JSON object per line."""
    reported = []
    for line in log.splitlines():
        with contextlib.suppress(ValueError, AttributeError):
            entry = json.loads(line)
            if entry.get("level") in ("error", "critical"):
                causes = [f"{one['exc_type']}: {one['exc_value']}" for one in entry.get("error_detail") or []]
                reported.append("\n  ".join([str(entry.get("event")), *causes]))
    return "\n".join(reported)
