"""Is there memory enough, and has the kernel ended programs for want of it?"""

from pathlib import Path
from typing import NamedTuple

from gateway.conditions import Problem
from gateway.conditions.found import MEMORY_KILLED, MEMORY_LOW
from gateway.doctor.case import Case, Outcome, beside
from gateway.doctor.system import text

_LEAST_KIB = 64 * 1024  # what the gateway may grow to


class Facts(NamedTuple):
    """KiB; `killed`: processes that the kernel ended since the start. None: not told."""

    available: int | None
    total: int | None
    killed: int | None


async def look(case: Case) -> Outcome:
    """The machine's memory."""
    return judge(await beside(_facts, case.root))


def _facts(root: Path) -> Facts:
    memory = _numbers(root / "proc/meminfo", ":")
    return Facts(
        memory.get("MemAvailable"), memory.get("MemTotal"), _numbers(root / "proc/vmstat", " ").get("oom_kill")
    )


def _numbers(path: Path, mark: str) -> dict[str, int]:
    found = {}
    for line in (text(path) or "").splitlines():
        name, _, rest = line.partition(mark)
        word = rest.split()
        if word and word[0].isdecimal():
            found[name] = int(word[0])
    return found


def judge(facts: Facts) -> Outcome:
    """Against what the gateway may need."""
    problems: list[Problem] = []
    if facts.available is not None and facts.available < _LEAST_KIB:
        problems.append(MEMORY_LOW.problem(available=_mib(facts.available)))
    if facts.killed:
        problems.append(MEMORY_KILLED.problem(count=facts.killed))
    figures = {}
    if facts.available is not None and facts.total is not None:
        figures = {"available": _mib(facts.available), "of": _mib(facts.total)}
    return Outcome("there is memory enough", problems, figures)


def _mib(kib: int) -> str:
    return f"{kib / 1024:.0f} MiB"
