"""The file of charts after eight days of 70 values and of as many as there can be, and what a look at them takes.

A reading every ten seconds of each value, with two decimals of noise, written as the rollup writes it.
"""

import random
import time
from collections.abc import Callable
from statistics import median

from bench.run import Run

from gateway.core import limits
from gateway.store.hours import HoursFile, Write
from gateway.store.minutes import MINUTE_MS, MINUTES, Hour, fold
from gateway.store.series import Taken

FIRST, A_SOURCE, EVERY_MS = 498_000, 5, 10_000  # a Unix hour
MADE = 16  # hours that are different


def run(run: Run) -> dict[str, float]:
    kept = max(2, min(limits.ROLLUP_KEPT_H, run.scale.filled // 5_000))
    hours = [_hour(random.Random(seed)) for seed in range(min(MADE, kept))]
    few = HoursFile(run.folder / "few.db", 0)
    took = [_write(few, 70, FIRST + number, hours) for number in range(kept)]
    most = HoursFile(run.folder / "most.db", 0)
    crowded = [_write(most, limits.ROLLUP_SERIES, FIRST + number, hours) for number in range(min(kept, 24))]
    end = (FIRST + kept) * MINUTES
    looks = {f"charts.{name}_ms": _look(few, end - span, end, run.scale.repeats) for name, span in SPANS.items()}
    return looks | {
        "charts.file_mib": few.path.stat().st_size / 2**20,
        "charts.crowded_hour_kib": most.path.stat().st_size / 2**10 / len(crowded),
        "charts.write_ms": median(took) * 1000,
        "charts.crowded_write_ms": median(crowded) * 1000,
    }


SPANS = {"hour": 60, "day": 1_440, "week": 10_080}


def _hour(rng: random.Random) -> Hour:
    made, value = Hour(), 21.0
    for at in range(0, MINUTES * MINUTE_MS, EVERY_MS):
        value += rng.gauss(0, 0.02)
        for part in fold([("s", [("v", None, round(value + rng.gauss(0, 0.2), 2))], at, at)]):
            made.put(part)
    return made


def _write(file: HoursFile, values: int, hour: int, hours: list[Hour]) -> float:
    names = [(f"source-{number // A_SOURCE}", f"value-{number % A_SOURCE}") for number in range(values)]
    taken = {name: Taken("Cel", {hour: hours[(hour + n) % len(hours)]}) for n, name in enumerate(names)}
    return _timed(lambda: file.write(Write(taken, [(1, hour)], (hour, 0, 0, 0), None)))


def _look(file: HoursFile, begin: int, end: int, times: int) -> float:
    return 1000 * median(_timed(lambda: file.minutes(("source-3", "value-2"), {}, begin, end)) for _ in range(times))


def _timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began
