"""100 mapped images on a cluster whose parts die one after the other: each is billed once and stored whole."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.chaos.cluster.cluster import Cluster, missing
from tests.chaos.cluster.events import all_of_them
from tests.chaos.many import DAG_ID
from tests.chaos.outcomes import image, left_over

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(missing() is not None, reason=f"the cluster cannot start: {missing()}"),
]
IMAGES, LATENCY, LONGEST = 100, 20, 1500
#: Few enough that the run lasts longer than the failures, on a fast machine too: 70 s plus the recoveries.
IN_FLIGHT = 30
RUN = "cluster"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    options = ("--latency", str(LATENCY))
    with TemporaryDirectory(prefix="segmind-cluster-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL may run as another user
        with Cluster(Path(folder) / "home", dags=("chaos_many",), emulator_options=options) as running:
            yield running
        assert not running.running(), "processes are left behind"


def test_each_image_is_billed_once_whatever_dies(cluster, measure):
    cluster.api.limit_in_flight(IN_FLIGHT)
    start = time.monotonic()
    cluster.api.trigger_dag(DAG_ID, RUN, {"count": IMAGES})
    cluster.wait("some are submitted", lambda: cluster.stats()["submits_accepted"] >= 8, seconds=120)
    recoveries = []
    for recovery in all_of_them(cluster, RUN):
        recoveries.append(recovery)
        print(f"{time.monotonic() - start:.0f} s: {recovery}; {cluster.stored(RUN)} stored")
    assert cluster.stored(RUN) < IMAGES, "the run ended before the last failure"
    state = cluster.finish(DAG_ID, RUN, seconds=LONGEST)
    took = time.monotonic() - start

    mapped = [ti for ti in cluster.api.instances(DAG_ID, RUN) if ti["map_index"] >= 0]
    submits = cluster.submits()
    objects = Counter(image(cluster.out / RUN / f"{number}.jpg") for number in range(IMAGES))
    stats = cluster.stats()
    tried = Counter(ti["try_number"] for ti in mapped)
    measure("cluster", [recovery.row() for recovery in recoveries])
    measure(
        "cluster run",
        [
            {
                "images": IMAGES,
                "run": f"{state} after {took:.0f} s",
                "accepted submits": sum(submits.values()),
                "images submitted once": Counter(submits.values())[1],
                "whole objects": objects["whole"],
                "tasks by their tries": ", ".join(f"{number} with {tries}" for tries, number in sorted(tried.items())),
                "polls per image": f"{stats['polls'] / IMAGES:.1f}",
                "parts that ended unexpectedly": ", ".join(cluster.restarted) or "none",
            }
        ],
    )
    assert state == "success"
    assert submits == {f"{RUN}-{number}.jpg": 1 for number in range(IMAGES)}
    assert objects == {"whole": IMAGES}
    assert not left_over(cluster, RUN)
