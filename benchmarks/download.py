"""Store a large output: MB/s and memory, compared with httpx that discards the bytes."""

from __future__ import annotations

import gc
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # Airflow brings it

from benchmarks.figures import Part, Ratio, Row
from benchmarks.isolated import airflow_home, in_fresh_process
from benchmarks.outputs import output_host, s3_host

MIB = 1024**2
#: Seconds between two readings of the memory.
_READING = 0.005
_BUCKET = "upscaled"
_KEYS = {"login": "testing", "password": "testing"}
#: moto needs minutes to assemble a large object from its parts.
_LONG = {"read_timeout": 900, "retries": {"total_max_attempts": 1}}
BASELINE = "httpx to /dev/null"
DOWNLOAD = "hook.download to a file"
FILE = "store_result to file://"
S3 = "store_result to s3://"
BOTO = "httpx to a file, boto3 to s3://"
#: Measured once, because most of the time is spent in the server.
SLOW = (S3, BOTO)


@dataclass(frozen=True)
class Measured:
    """Seconds and CPU seconds of one way, and the peak growth of the process in bytes."""

    seconds: float
    cpu: float
    growth: int


def run(quick: bool) -> Part:
    """Transfer the same output each way, each in its own process."""
    size, times = (64 * MIB, 2) if quick else (1024 * MIB, 5)
    with output_host(size) as url, s3_host() as s3, airflow_home(), tempfile.TemporaryDirectory() as folder:
        runs: list[dict[str, Measured]] = []
        for number in range(times):
            ways = [way for way in WAYS if number == 0 or way not in SLOW]
            runs.append({way: in_fresh_process(measure, way, url, s3, folder) for way in ways})
    found = {way: _best([each[way] for each in runs if way in each]) for way in WAYS}
    rows = [_row(way, size, seen) for way, seen in found.items()]
    speed = {way: size / seen.seconds for way, seen in found.items()}
    growth = {way: seen.growth / MIB for way, seen in found.items()}
    return Part(
        name="download",
        title=f"An output of {size // MIB} MiB",
        conditions=f"The fastest of {times} runs (one to S3), each in a fresh process, in turns; the highest peak of "
        "memory, which is the growth of the resident set, read every 5 ms. The output host (sendfile) and the S3 "
        "server (moto, whose own work is most of the time to S3) are processes of their own on the same machine, "
        "without TLS. hook.download hashes (SHA-256) and writes to a file; store_result downloads into a temporary "
        "file and then copies it to its destination.",
        rows=rows,
        ratios=[
            Ratio("speed, hook.download / httpx to /dev/null", speed[DOWNLOAD] / speed[BASELINE], at_least=0.8),
            Ratio("peak memory growth of hook.download (MiB)", growth[DOWNLOAD], at_most=32),
            Ratio("peak memory growth of store_result to file:// (MiB)", growth[FILE], at_most=32),
            Ratio("peak memory growth of store_result to s3:// (MiB)", growth[S3], at_most=32),
            Ratio("speed, store_result to file:// / httpx to /dev/null", speed[FILE] / speed[BASELINE]),
            Ratio("speed, store_result to s3:// / httpx and boto3 to the same server", speed[S3] / speed[BOTO]),
        ],
    )


def measure(way: str, url: str, s3: str, folder: str) -> Measured:
    """Measure one way once in this process, with the imports done before."""
    connection = {"conn_type": "segmind", "password": "SG_0123456789abcdef", "extra": {}}
    connection["host"] = url.removesuffix("/output.bin")  # an output on the host of the gateway is trusted
    os.environ["AIRFLOW_CONN_SEGMIND_DEFAULT"] = json.dumps(connection)
    go = WAYS[way](url, s3, Path(folder))
    gc.collect()
    with _peak() as growth:
        start, cpu = time.perf_counter(), time.process_time()
        go()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return Measured(seconds, cpu, max(growth))


@contextmanager
def _peak() -> Iterator[list[int]]:
    """Sample the growth of this process's memory in bytes."""
    process, done = psutil.Process(), threading.Event()
    before = process.memory_info().rss
    growth = [0]

    def read() -> None:
        while not done.wait(_READING):
            growth.append(process.memory_info().rss - before)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield growth
    finally:
        done.set()
        reader.join()


def _httpx(url: str, s3: str, folder: Path) -> Callable[[], None]:
    import httpx

    http = httpx.Client(trust_env=False)

    def go() -> None:
        with http.stream("GET", url) as response, Path(os.devnull).open("wb") as nowhere:
            for chunk in response.iter_bytes():
                nowhere.write(chunk)

    return go


def _download(url: str, s3: str, folder: Path) -> Callable[[], None]:
    from airflow_provider_segmind.hooks.segmind import SegmindHook

    hook, target = SegmindHook(), folder / "downloaded.bin"
    hook.get_conn()

    def go() -> None:
        hook.download(url, target)

    return go


def _store(url: str, destination: str, conn_id: str | None) -> Callable[[], None]:
    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.protocol.wire import Result
    from airflow_provider_segmind.storage import object_path, store_result

    hook = SegmindHook()
    hook.get_conn()
    object_path(destination, conn_id).fs.ls("/" if conn_id is None else _BUCKET)
    result = Result(request_id="r-1", model="a-model-without-images", output=url)

    def go() -> None:
        store_result(hook, result, destination, conn_id=conn_id, name="output")

    return go


def _file(url: str, s3: str, folder: Path) -> Callable[[], None]:
    target = tempfile.mkdtemp(dir=folder)
    return _store(url, f"file://{target}/", None)


def _s3(url: str, s3: str, folder: Path) -> Callable[[], None]:
    _empty_bucket(s3)
    extra = {"endpoint_url": s3, "region_name": "us-east-1", "config_kwargs": _LONG}
    os.environ["AIRFLOW_CONN_BENCH_S3"] = json.dumps({"conn_type": "aws", **_KEYS, "extra": extra})
    return _store(url, f"s3://{_BUCKET}/images/", "bench_s3")


def _boto(url: str, s3: str, folder: Path) -> Callable[[], None]:
    """Download and upload as a user would write it."""
    import boto3
    import httpx
    from botocore.config import Config

    _empty_bucket(s3)
    keys = {"aws_access_key_id": _KEYS["login"], "aws_secret_access_key": _KEYS["password"]}
    bucket = boto3.client("s3", endpoint_url=s3, region_name="us-east-1", config=Config(**_LONG), **keys)
    http = httpx.Client(trust_env=False)

    def go() -> None:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            with http.stream("GET", url) as response:
                for chunk in response.iter_bytes():
                    file.write(chunk)
            file.flush()
            bucket.upload_file(file.name, _BUCKET, "images/output.bin")

    return go


def _empty_bucket(s3: str) -> None:
    import httpx

    httpx.post(f"{s3}/moto-api/reset", trust_env=False, timeout=60).raise_for_status()
    httpx.put(f"{s3}/{_BUCKET}", trust_env=False).raise_for_status()


WAYS: dict[str, Callable[[str, str, Path], Callable[[], None]]] = {
    BASELINE: _httpx,
    DOWNLOAD: _download,
    FILE: _file,
    S3: _s3,
    BOTO: _boto,
}


def _best(runs: list[Measured]) -> Measured:
    fastest = min(runs, key=lambda seen: seen.seconds)
    return Measured(fastest.seconds, fastest.cpu, max(seen.growth for seen in runs))


def _row(way: str, size: int, seen: Measured) -> Row:
    figures = {
        "speed (MB/s)": size / seen.seconds / 1e6,
        "time (s)": seen.seconds,
        "CPU (s)": seen.cpu,
        "peak memory (MiB)": seen.growth / MIB,
    }
    return Row(way, f"{size // MIB} MiB", figures)
