"""How the benchmarks process figures: limits, tables, JSON, plots. No test runs a measurement, which takes time."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from benchmarks import results
from benchmarks.figures import Part, Ratio, Row
from benchmarks.plot import PANELS, draw
from benchmarks.report import number, show
from benchmarks.soak import Soaked, part_of
from benchmarks.soak import draw as draw_soak


def part(title="Waiting", cpu=1.23456):
    return Part(
        name="wait",
        title=title,
        conditions="on [this] machine",
        rows=[
            Row("ours", "100 waits", {"CPU per job (ms)": cpu, "polls per job": 4.0, "delay (%)": None}),
            Row("HttpSensorTrigger", "100 waits", {"CPU per job (ms)": 6.0}),
        ],
        ratios=[Ratio("CPU", cpu / 6, at_most=1 / 3), Ratio("speed", 0.5, at_least=0.8), Ratio("time", 0.4)],
        series={"delay (%), ours, 100 waits": [1.0, 2.0, 30.0], "delay (%), sensor, 100 waits": [2.0, 9.0, 20.0]},
    )


@pytest.mark.parametrize(
    ("limits", "holds"),
    [
        ({}, True),
        ({"at_most": 2}, True),
        ({"at_most": 1.9}, False),
        ({"at_least": 2}, True),
        ({"at_least": 2.1}, False),
    ],
)
def test_a_ratio_holds_within_its_limits(limits, holds):
    assert Ratio("r", 2.0, **limits).holds is holds


def test_the_ratios_come_first_and_report_failures():
    console = Console(width=150)
    with console.capture() as captured:
        show(console, part())
    text = captured.get()
    assert text.index("does not hold") < text.index("polls per job")
    assert text.count("holds") == 1
    assert "on [this] machine" in text


def test_numbers_are_short():
    assert [number(value) for value in (None, 1, 0.0123456, 1234.5, 20000)] == ["-", "1", "0.0123", "1,234", "20,000"]


def test_a_part_replaces_only_its_own_figures(tmp_path):
    path = tmp_path / "results" / "latest.json"
    results.keep(path, "parse", part("Parsing"))
    results.keep(path, "wait", part(cpu=5.0))
    kept = results.keep(path, "wait", part())
    assert json.loads(path.read_text()) == json.loads(json.dumps(kept))
    assert [kept[name]["title"] for name in kept] == ["Parsing", "Waiting"]
    assert kept["wait"]["rows"][0]["figures"]["CPU per job (ms)"] == 1.235
    assert [ratio["holds"] for ratio in kept["wait"]["ratios"]] == [True, False, True]
    assert {"date", "python", "cores", "apache-airflow", "httpx"} <= set(kept["wait"]["measured"])


def test_the_plot_shows_the_parts_that_were_measured(tmp_path):
    draw({"wait": results.rounded(part().to_dict())}, tmp_path / "latest.png")
    assert (tmp_path / "latest.png").read_bytes().startswith(b"\x89PNG")
    draw({"schedule": results.rounded(part().to_dict())}, tmp_path / "nothing.png")
    assert not (tmp_path / "nothing.png").exists()
    assert {name for name, _, _ in PANELS} >= {"wait", "download", "transport"}


@pytest.mark.parametrize(
    ("leak", "opened", "holds"), [(0, 0, [True, True]), (40_000, 0, [False, True]), (0, 5, [True, False])]
)
def test_a_soak_distinguishes_growth_from_variation(tmp_path, leak, opened, holds):
    """The samples cover ten minutes: memory first fills up and then varies; a leak adds to it."""
    times = range(0, 600, 5)
    found = Soaked(
        seconds=[float(at) for at in times],
        memory=[100e6 + min(at, 60) * 1e5 + 2e5 * (at % 3) + leak * at / 5 for at in times],
        descriptors=[50.0 + opened * at / 600 + at % 2 for at in times],
        waiting=[500.0 for _ in times],
        done=[40.0 * at for at in times],
        cpu=60.0,
    )
    part = part_of(found, 10, 500)
    assert [ratio.holds for ratio in part.ratios][:2] == holds
    draw_soak(part, tmp_path / "soak.png")
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")
