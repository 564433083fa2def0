"""All checks side by side, each with a deadline of its own; one that fails harms no other."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gateway.conditions import Problem, without_repeats, worst_first
from gateway.conditions.found import CHECK_FAILED
from gateway.core.limits import DOCTOR_CHECK_S
from gateway.doctor import (
    broker,
    clock,
    configuration,
    disk,
    key,
    memory,
    names,
    node,
    permissions,
    ports,
    power,
    running,
    sm2,
    store,
    versions,
)
from gateway.doctor.case import Case, Checked, Outcome, State, unseen
from gateway.settings import Settings

log = logging.getLogger(__name__)

Look = Callable[[Case], Awaitable[Outcome]]


class Check(NamedTuple):
    """One concern. `needs`: it needs the configuration; `deadline_s` for all of it."""

    name: str
    look: Look
    needs: bool = True
    deadline_s: float = DOCTOR_CHECK_S


CHECKS: tuple[Check, ...] = (
    Check("configuration", configuration.look, needs=False),
    Check("gateway", running.look, needs=False),
    Check("key", key.look),
    Check("sm2", sm2.look),
    Check("store", store.look),
    Check("disk", disk.look),
    Check("permissions", permissions.look),
    Check("clock", clock.look, needs=False),
    Check("ports", ports.look),
    Check("names", names.look),
    Check("brokers", broker.look),
    Check("nodes", node.look),
    Check("power", power.look, needs=False),
    Check("memory", memory.look, needs=False),
    Check("versions", versions.look, needs=False),
)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, in the order of CHECKS."""

    checks: tuple[Checked, ...]

    @property
    def findings(self) -> list[tuple[Problem, str]]:
        """Each problem with the check that found it, worst first. What several have found is told once."""
        made = {(one.condition, one.subject): check.name for check in reversed(self.checks) for one in check.problems}
        problems = worst_first(without_repeats(one for check in self.checks for one in check.problems))
        return [(one, made[one.condition, one.subject]) for one in problems]

    def json(self) -> dict[str, Any]:
        """As `doctor --json` shows it."""
        return {
            "findings": [{**problem.json(), "check": check} for problem, check in self.findings],
            "checks": [check.json() for check in self.checks],
        }


async def examine(
    settings: Settings, path: Path | None = None, *, state: Mapping[str, Any] | None = None
) -> list[Problem]:
    """What is wrong, worst first, as the gateway itself finds it; `state`: its own snapshot."""
    report = await examination(Case(path=path, settings=settings, state=state, inside=True))
    return [problem for problem, _ in report.findings]


async def examination(case: Case, told: Callable[[Checked], object] = lambda _: None) -> Report:
    """Makes all checks. `told` is called as each is done. It raises nothing but what cancels it."""
    return await look_into(CHECKS, case, told)


async def look_into(checks: Sequence[Check], case: Case, told: Callable[[Checked], object]) -> Report:
    """Makes these checks."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_made(check, case, told), name=f"check {check.name}") for check in checks]
    return Report(tuple(task.result() for task in tasks))


async def _made(check: Check, case: Case, told: Callable[[Checked], object]) -> Checked:
    outcome = await _outcome(check, case)
    state: State = "unseen" if outcome.unseen else "found" if outcome.problems else "good"
    said = outcome.problems[0].what if state == "found" else outcome.said
    made = Checked(check.name, state, said, tuple(outcome.problems), outcome.figures)
    told(made)
    return made


async def _outcome(check: Check, case: Case) -> Outcome:
    if check.needs and case.settings is None:
        cure = "Mend the configuration first: `fieldgate check` tells its faults"
        return unseen(check.name, "the configuration cannot be read", cure)
    try:
        async with asyncio.timeout(check.deadline_s):
            return await check.look(case)
    except TimeoutError:
        why = f"it took longer than {check.deadline_s:.0f} s"
        return unseen(check.name, why, "Try again later; a disk or a network that hangs shows itself so")
    except Exception as error:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        detail = f"{type(error).__name__}: {error}"
        log.warning("check %s: %s", check.name, detail, exc_info=log.isEnabledFor(logging.DEBUG))
        return Outcome("it failed", (CHECK_FAILED.problem(check.name, detail=detail),))
