"""Random kills: task processes die at random moments, and each image is billed once and stored whole."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.outcomes import image, left_over
from tests.chaos.random_kills import RandomKills, repeatedly
from tests.chaos.rig import Rig

DAG_ID = "chaos_kill_storm"
#: Number of mapped images, maximum number of kills in a run, and seconds between two kills.
IMAGES, KILLS, EVERY = 20, 40, 0.7
RUNS = ("first", "second", "third")
#: Figure -> the log line about a submit whose outcome an earlier process left unknown.
FOUND = {
    "unknown outcomes, found in the history": "of an earlier submit: nothing is billed again",
    "unknown outcomes, resolved by the mark": "was not sent: its mark is still on this machine",
    "unknown outcomes, resolved by a later request": "was not accepted: the request history lists later requests only",
    "tries that could not resolve one": "the request history does not show the submit",
}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Run an Airflow for this file."""
    with Rig(tmp_path_factory.mktemp("chaos") / "home", dags=(DAG_ID,)) as running:
        yield running
    assert not running.running(), "processes are left behind"


@pytest.mark.chaos
@pytest.mark.parametrize("run_id", RUNS)
def test_each_image_is_billed_once_whenever_its_process_is_killed(rig, measure, run_id):
    rig.emulator("reset", "POST")
    start, kills = time.monotonic(), RandomKills(rig.path / "marks", KILLS)
    rig.api.trigger_dag(DAG_ID, run_id)
    with repeatedly(kills.kill_one, every=EVERY):
        state = rig.finish(DAG_ID, run_id, seconds=600)
    mapped = rig.api.instances(DAG_ID, run_id)
    submits = Counter(rig.submits())
    objects = Counter(image(rig.out / run_id / f"upscale_{number}.jpg") for number in range(IMAGES))
    tries = sorted(ti["try_number"] for ti in mapped)
    measure(
        "kill storm",
        [
            {
                "run": run_id,
                "mapped images": IMAGES,
                f"processes killed while they ran the operator, one every {EVERY} s": kills.number,
                "succeeded": sum(ti["state"] == "success" for ti in mapped),
                "submits accepted": sum(submits.values()),
                "images submitted once": Counter(submits.values())[1],
                "whole objects": objects["whole"],
                "tries of a task, median and maximum": f"{tries[len(tries) // 2]} and {tries[-1]}",
                **logged(rig, run_id),
                "seconds": round(time.monotonic() - start),
            }
        ],
    )
    assert Counter(ti["state"] for ti in mapped) == {"success": IMAGES}
    assert state == "success"
    assert submits == {f"{run_id}-{number}.jpg": 1 for number in range(IMAGES)}
    assert objects == {"whole": IMAGES}
    stored = {path.name for path in (rig.out / run_id).iterdir()} - set(left_over(rig, run_id))
    assert stored == {f"upscale_{number}.jpg" for number in range(IMAGES)}
    assert 10 <= kills.number <= KILLS  # a fast machine finishes before the last kill


def logged(rig: Rig, run_id: str) -> dict[str, Any]:
    """Return how often the tasks of a run logged each line of FOUND."""
    logs = (rig.path / "logs").glob(f"dag_id={DAG_ID}/run_id={run_id}/**/*.log")
    text = "\n".join(path.read_text(errors="replace") for path in logs)
    return {what: len(re.findall(re.escape(line), text)) for what, line in FOUND.items()}
