"""A new process and Airflow home for each measurement, so that no run influences the next."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: Variables of the machine with these prefixes must not influence a measurement.
_FOREIGN = ("AIRFLOW", "_AIRFLOW", "AWS_", "SEGMIND_")
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


@contextmanager
def airflow_home() -> Iterator[str]:
    """Set an empty AIRFLOW_HOME for this process and its children. Airflow must not be imported yet."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name.lower() in _PROXIES:
            del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="segmind-bench-") as home:
        os.environ.update(
            AIRFLOW_HOME=home,
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW__CORE__FERNET_KEY="",
            AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{home}/airflow.db",
            AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
        )
        yield home


def in_fresh_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function of a module in a new process; return its value or raise its exception."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()
