"""A thousand waits in one event loop, as in a triggerer: our trigger and the alternatives."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean, quantiles

from benchmarks.figures import Part, Ratio, Row
from benchmarks.isolated import airflow_home, in_fresh_process
from benchmarks.waiters import INTERVAL
from benchmarks.waiting import Measured, measure

OURS, SENSOR, NEW_CLIENT = "ours", "HttpSensorTrigger", "new httpx client"
#: Contender and number of waits. The sensor blocks its loop too long for 5,000 waits, a new httpx client for 1,000.
FULL: tuple[tuple[str, int], ...] = (
    (OURS, 100), (SENSOR, 100), (NEW_CLIENT, 100), (OURS, 1000), (SENSOR, 1000), (OURS, 5000),
)  # fmt: skip
QUICK: tuple[tuple[str, int], ...] = ((NEW_CLIENT, 20), (OURS, 300), (SENSOR, 300), (OURS, 900))

_CONDITIONS = (
    "Jobs of 12 s (lognormal, sigma 0.2), all accepted at one moment; the waits start in one event loop as a triggerer "
    "starts them, each contender in a fresh process, the gateway in another. CPU is that of the loop's process from "
    "the first wait to the last event. Polls are GETs of a status; ours also GETs the result, which the others (every "
    f"{INTERVAL:g} s) leave to a worker. Delay is from the completion at the gateway to the event, as a share of the "
    "job's own time. Worst block: the longest that the loop ran without polling its sockets and timers. Memory: "
    "growth of the resident set once all wait. What the triggerer itself does for each trigger is not counted, for any."
)

Found = Mapping[tuple[str, int], Measured]


def run(quick: bool) -> Part:
    """Measure the contenders in sequence, each in its own process."""
    with airflow_home():
        found = {(who, count): in_fresh_process(measure, who, count) for who, count in (QUICK if quick else FULL)}
    middle, most = (300, 900) if quick else (1000, 5000)
    return Part(
        name="wait",
        title="Waiting in one event loop",
        conditions=_CONDITIONS,
        rows=[_row(who, count, seen) for (who, count), seen in found.items()],
        ratios=_ratios(found, middle, most),
        series={
            f"delay (%), {who}, {count:,} waits": [100 * cut for cut in quantiles(seen.shares, n=100)]
            for (who, count), seen in found.items()
        },
    )


def _row(who: str, count: int, seen: Measured) -> Row:
    seconds, shares = _tails(seen.delays), _tails(seen.shares)
    figures = {
        "CPU per job (ms)": 1000 * seen.cpu / count,
        "polls per job": seen.polls / count,
        "GETs per job": (seen.polls + seen.results) / count,
        "delay mean (%)": 100 * mean(seen.shares),
        "delay p50 (%)": 100 * shares[0],
        "delay p95 (%)": 100 * shares[1],
        "delay mean (s)": mean(seen.delays),
        "delay p50 (s)": seconds[0],
        "delay p95 (s)": seconds[1],
        "worst block (ms)": 1000 * seen.worst_block,
        "memory per wait (KB)": seen.memory / 1024,
        "all done (s)": seen.seconds,
        "gateway's CPU (%)": 100 * seen.gateway_cpu / seen.seconds,
    }
    return Row(who, f"{count:,} waits", figures)


def _tails(values: list[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile."""
    cuts = quantiles(values, n=20)
    return cuts[9], cuts[18]


def _ratios(found: Found, middle: int, most: int) -> list[Ratio]:
    ours, sensor, many = found[OURS, middle], found[SENSOR, middle], found[OURS, most]
    at = f"{middle:,} waits"
    cpu, cpu_many = ours.cpu / middle, many.cpu / most
    return [
        Ratio(f"CPU per job, ours / HttpSensorTrigger, {at}", cpu / (sensor.cpu / middle), at_most=0.3333),
        Ratio(f"polls per job, ours, {at}", ours.polls / middle, at_most=4.5),
        Ratio(f"delay mean, ours, {at} (% of the job)", 100 * mean(ours.shares), at_most=7),
        Ratio(f"worst loop block, ours, {at} (ms)", 1000 * ours.worst_block, at_most=100),
        Ratio(f"memory per trigger, ours, {at} (KB)", ours.memory / 1024, at_most=15),
        Ratio(f"share of {most:,} waits that completed, ours", len(many.delays) / most, at_least=1),
        Ratio(f"CPU per job, ours, {most:,} waits / {at}", cpu_many / cpu, at_most=1.5),
    ]
