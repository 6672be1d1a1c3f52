"""``python -m tests.simulation [N] [FIRST SEED]``: run schedules on all cores; print the story of one that fails."""

from __future__ import annotations

import gc
import multiprocessing
import sys
import time
from collections import Counter

from tests.simulation.schedule import run, silence
from tests.simulation.shrink import shrunk

_CHUNK = 500


def many(seeds: range) -> tuple[int, Counter[str], Counter[str], list[int]]:
    """Run these seeds: how many, faults by kind, exceptions by kind, and the seeds that fail."""
    faults, exceptions, failed = Counter[str](), Counter[str](), list[int]()
    gc.freeze()  # what was imported is not garbage
    with silence():
        for seed in seeds:
            outcome = run(seed)
            faults.update(outcome.world.faults)
            exceptions.update(outcome.exceptions)
            if outcome.violations:
                failed.append(seed)
    return len(seeds), faults, exceptions, failed


def main(number: int = 20_000, first: int = 0) -> int:
    """Run so many schedules, and print the table."""
    began, cores = time.perf_counter(), multiprocessing.cpu_count()
    chunks = [range(start, min(start + _CHUNK, first + number)) for start in range(first, first + number, _CHUNK)]
    faults, exceptions, failed = Counter[str](), Counter[str](), list[int]()
    with multiprocessing.Pool(cores) as pool:
        for _, some, excused, bad in pool.imap_unordered(many, chunks):
            faults.update(some)
            exceptions.update(excused)
            failed += bad
    each = number / (time.perf_counter() - began) / cores
    print(f"{number:,} schedules on {cores} cores, {each:,.0f} a second on each; {len(failed)} with violations")
    for title, counted in (("faults", faults), ("billed twice by a stated exception", exceptions)):
        print(f"\n{title}:")
        for label, times in counted.most_common():
            print(f"  {times:9,} {label.removesuffix(' at ').removesuffix(' of ')}")
    if failed:
        print("\n" + story(min(failed)))
    return 1 if failed else 0


def story(seed: int) -> str:
    """Return the shrunk story of a seed that fails."""
    with silence():
        outcome = shrunk(seed)
    violated = [f"VIOLATED {what}" for what in outcome.violations]
    return "\n".join([f"seed {seed}, shrunk:", *outcome.world.story, *violated])


if __name__ == "__main__":
    sys.exit(main(*(int(text) for text in sys.argv[1:])))
