"""A batch: many images in one task, beside one mapped task for each."""

from __future__ import annotations

import json

from benchmarks.figures import Part, Ratio, Row
from benchmarks.standalone import SET, SLOTS, Measured, Standalone, standalone

BATCH, MAPPED = "SegmindBatchOperator, one task", "SegmindEsrganOperator, mapped"
_JOB = 10.0  # seconds
#: Maximum size of an XCom in bytes.
_MOST_XCOM = 4096


def run(quick: bool) -> Part:
    """Measure 1,000 images in a batch and 100 mapped ones; ``quick``: 200 and 20."""
    mapped, batch = (20, 200) if quick else (100, 1000)
    with standalone("bench_batch", counts=(SLOTS, mapped, batch)) as airflow:
        dags = {MAPPED: ("stored", mapped), BATCH: ("batch", batch)}
        for dag, _ in dags.values():
            airflow.measure(f"{dag}_{SLOTS}", latency=_JOB)
        rows, series = [], {}
        for name, (dag, jobs) in dags.items():
            measured = airflow.measure(f"{dag}_{jobs}", latency=_JOB)
            rows.append(Row(name, f"{jobs:,} images of {_JOB:g} s", _figures(airflow, f"{dag}_{jobs}", measured, jobs)))
            series[name] = list(measured.busy)
    return Part(
        name="batch",
        title="A batch: many images in one task",
        conditions=f"{SET} Both store their outputs in files. The figures are compared per image.",
        rows=rows,
        ratios=_ratios(*rows, jobs=batch),
        series=series,
    )


def _figures(airflow: Standalone, dag_id: str, measured: Measured, jobs: int) -> dict[str, float | None]:
    instances = airflow.api.instances(dag_id, measured.run_id)
    values = [airflow.api.returned(dag_id, measured.run_id, ti["task_id"], ti["map_index"]) for ti in instances]
    manifests = (airflow.out / "batch" / measured.run_id).rglob("*.jsonl")
    return measured.figures(jobs) | {
        "wall per image (s)": measured.wall / jobs,
        "worker-slot seconds per image": measured.slot_seconds / jobs,
        "CPU of workers per image (s)": measured.cpu_seconds / jobs,
        "GETs per image": (measured.polls + measured.results) / jobs,
        "task instances": len(instances),
        "XCom of a task (bytes)": max(len(json.dumps(value)) for value in values),
        "manifest rows": sum(len(manifest.read_text().splitlines()) for manifest in manifests),
    }


def _ratios(mapped: Row, batch: Row, *, jobs: int) -> list[Ratio]:
    """Return the ratios that must hold for the batch and, without a limit, what it saves."""
    ours, theirs = ({k: v or 0.0 for k, v in row.figures.items()} for row in (batch, mapped))
    compared = (
        "wall per image (s)",
        "worker-slot seconds per image",
        "CPU of workers per image (s)",
        "GETs per image",
    )
    return [
        Ratio(f"{batch.setting}: task instances", ours["task instances"], at_least=1, at_most=1),
        Ratio(f"{batch.setting}: XCom (bytes)", ours["XCom of a task (bytes)"], at_most=_MOST_XCOM),
        Ratio(f"{batch.setting}: accepted submits per image", ours["accepted submits"] / jobs, at_least=1, at_most=1),
        Ratio(f"{batch.setting}: manifest rows per image", ours["manifest rows"] / jobs, at_least=1, at_most=1),
        *(Ratio(f"{name}, batch : mapped", ours[name] / theirs[name]) for name in compared),
    ]
