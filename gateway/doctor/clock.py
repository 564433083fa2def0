"""Does the clock tell the time, and is there something that sets it?"""

import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from gateway.clock import RELEASED_MS, day, kernel_error_us
from gateway.conditions import CLOCK_OFF, Problem
from gateway.conditions.found import CLOCK_UNSET, CLOCK_UNSYNCHRONISED
from gateway.core.block import parse_entry
from gateway.doctor.case import Case, Outcome, beside
from gateway.doctor.system import processes
from gateway.errors import FieldgateError
from gateway.store import Store

_SETTERS = {
    "systemd-timesyn": "systemd-timesyncd",
    "chronyd": "chrony",
    "ntpd": "ntpd",
    "ntpsec": "ntpd",
    "ptp4l": "ptp4l",
    "phc2sys": "phc2sys",
    "gpsd": "gpsd",
}
_ERROR_MAX_US = 16_000_000  # as in gateway/clock.py
_SLACK_MS = 60_000  # by which two clocks that are well may be apart


class Facts(NamedTuple):
    """Unix ms. `sealed`: what the newest block says that was sealed by a clock that was synchronised; 0: none."""

    now_ms: int
    error_us: int | None
    setters: Collection[str]
    sealed_ms: int = 0


async def look(case: Case) -> Outcome:
    """The machine's clock, against this program's date and the chain."""
    facts = await beside(_facts, case.root)
    return judge(facts._replace(sealed_ms=await _sealed(case.data_dir)))


def _facts(root: Path) -> Facts:
    setters = {_SETTERS[one.name] for one in processes(root) if one.name in _SETTERS}
    return Facts(time.time_ns() // 1_000_000, kernel_error_us(), setters)


async def _sealed(folder: Path | None) -> int:
    if folder is None:
        return 0
    try:
        store = await Store.open(folder, read_only=True)
    except (FieldgateError, OSError):
        return 0
    try:
        size = store.blocks.size
        newest = parse_entry((await store.blocks.entries(size - 1, 1))[0]).header if size else None
    except FieldgateError:
        return 0
    finally:
        await store.close()
    return newest.sealed if newest and newest.clock else 0


def judge(facts: Facts) -> Outcome:
    """Against the earliest time that it can be."""
    problems: list[Problem] = []
    earliest = max(RELEASED_MS, facts.sealed_ms)
    synchronised = facts.error_us is not None and facts.error_us < _ERROR_MAX_US
    if facts.now_ms + _SLACK_MS < earliest:
        problems.append(CLOCK_OFF.problem(now=day(facts.now_ms), earliest=day(earliest)))
    if not synchronised:
        problems.append((CLOCK_UNSYNCHRONISED if facts.setters else CLOCK_UNSET).problem())
    figures = {"now": day(facts.now_ms), "set by": ", ".join(sorted(facts.setters)) or "nothing that is known here"}
    if facts.error_us is not None:
        figures["off by at most"] = f"{facts.error_us // 1000} ms"
    return Outcome("the clock is synchronised", problems, figures)
