"""End to end: mapped images on a whole Airflow, compared with what a user would write instead."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean

from benchmarks.figures import Part, Ratio, Row
from benchmarks.standalone import SET, SLOTS, Measured, Standalone, standalone

#: Contender -> prefix of its DAG ids; the number of images follows.
OURS, FROM_TRIGGER = "ours, deferrable", "ours, end_from_trigger"
SDK, HTTP = "SDK in a @task", "HttpOperator + HttpSensor (reschedule, 2 s)"
CONTENDERS = {OURS: "ours", FROM_TRIGGER: "ours_from_trigger", SDK: "sdk", HTTP: "http"}
FLOORS = {"Airflow alone, one start per image": "floor_once", "Airflow alone, two starts per image": "floor_twice"}
ONE_START, TWO_STARTS = FLOORS
#: Images and seconds of each job -> the maximum share of the SDK's wall time, without and with ``end_from_trigger``.
SETTINGS = {(20, 10.0): (0.6, 0.45), (100, 30.0): (0.27, 0.2)}
CONDITIONS = (
    f"{SET} A fresh set for each length of job. Each contender runs alone, after a throw-away run with jobs of the "
    "same length. Wall time is from the DAG run's own start to its own end. Worker-slot seconds come from polling ten "
    "times a second at which of the executor's worker processes have a task. The floors are mapped tasks that do "
    "nothing, measured before and after the contenders, mean of both. The HTTP operators poll the status only and do "
    "not fetch the result."
)
#: Number of images in a warm-up run: one for every worker.
_WARM = SLOTS


def run(quick: bool) -> Part:
    """Measure all contenders; ``quick``: 20 images of 10 s, without the HTTP operators."""
    settings = list(SETTINGS)[:1] if quick else list(SETTINGS)
    wanted = [name for name in CONTENDERS if not (quick and name == HTTP)]
    rows: list[Row] = []
    ratios: list[Ratio] = []
    series: dict[str, list[float]] = {}
    for jobs, latency in settings:
        setting = f"{jobs} images of {latency:g} s"
        with standalone("bench_floor", "bench_ours", "bench_peers", counts=(_WARM, jobs)) as airflow:
            found = _one_setting(airflow, wanted, jobs, latency)
        rows += [Row(name, setting, measured.figures(jobs)) for name, measured in found.items()]
        ratios += _ratios(found, setting, jobs, latency)
        series |= {f"{setting}: {name}": list(found[name].busy) for name in wanted}
    return Part(
        name="end-to-end",
        title="End to end: mapped images on a whole Airflow",
        conditions=CONDITIONS,
        rows=rows,
        ratios=ratios,
        series=series,
    )


def _one_setting(airflow: Standalone, contenders: list[str], jobs: int, latency: float) -> dict[str, Measured]:
    """Measure the contenders in sequence, and each floor before and after them."""
    for dag in (*FLOORS.values(), *(CONTENDERS[name] for name in contenders)):
        airflow.measure(f"{dag}_{_WARM}", latency=latency)
    before = {name: airflow.measure(f"{dag}_{jobs}", latency=latency) for name, dag in FLOORS.items()}
    found = {name: airflow.measure(f"{CONTENDERS[name]}_{jobs}", latency=latency) for name in contenders}
    after = {name: airflow.measure(f"{dag}_{jobs}", latency=latency) for name, dag in FLOORS.items()}
    return {name: _mean(before[name], after[name]) for name in FLOORS} | found


def _mean(one: Measured, other: Measured) -> Measured:
    names = ("wall", "clock", "slot_seconds", "cpu_seconds")
    values = {name: mean((getattr(one, name), getattr(other, name))) for name in names}
    return Measured(**(vars(one) | values))


def _ratios(found: dict[str, Measured], setting: str, jobs: int, latency: float) -> Iterator[Ratio]:
    """Yield the ratios that must hold: against Airflow's floor, against the alternatives, and for the submits."""
    plain, from_trigger = SETTINGS[jobs, latency]
    for name, floor, of_sdk in ((OURS, TWO_STARTS, plain), (FROM_TRIGGER, ONE_START, from_trigger)):
        ours, sdk = found[name], found[SDK]
        limit = latency + found[floor].wall
        yield Ratio(f"{setting}: wall, {name} : job + Airflow's floor", ours.wall / limit, at_most=1.2)
        yield Ratio(f"{setting}: wall, {name} : {SDK}", ours.wall / sdk.wall, at_most=of_sdk)
        if HTTP in found:
            yield Ratio(f"{setting}: wall, {name} : {HTTP}", ours.wall / found[HTTP].wall, at_most=1.0)
        yield Ratio(
            f"{setting}: worker-slot seconds, {name} : {SDK}", ours.slot_seconds / sdk.slot_seconds, at_most=0.15
        )
        yield Ratio(f"{setting}: accepted submits per image, {name}", ours.submits / jobs, at_least=1.0, at_most=1.0)
