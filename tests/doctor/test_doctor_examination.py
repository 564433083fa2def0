"""All checks together: side by side, each with its deadline, none harms another; and within a gateway."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway import doctor
from gateway.conditions import Problem
from gateway.conditions.found import DISK_SOON, GATEWAY_OLD, MEMORY_LOW, POWER_LOW
from gateway.doctor import Case, Checked, Outcome, Report, case, examination
from gateway.doctor.examination import Check, look_into
from gateway.settings import GatewaySettings, Settings

CASE = Case(settings=None)


async def good(_: Case) -> Outcome:
    return Outcome("all is well", (), {"count": "1"})


async def test_a_check_that_hangs_fails_or_raises_a_group_harms_no_other() -> None:
    async def hangs(_: Case) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    async def fails(_: Case) -> Outcome:
        raise ValueError("bad\x1b luck")

    async def several(_: Case) -> Outcome:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(CASE))
        raise AssertionError

    checks = [
        Check("hangs", hangs, needs=False, deadline_s=0.01),
        Check("fails", fails, needs=False),
        Check("several", several, needs=False),
        Check("needs", good),
        Check("good", good, needs=False),
    ]
    told: list[Checked] = []
    report = await look_into(checks, CASE, told.append)
    assert [(one.name, one.state) for one in report.checks] == [
        ("hangs", "unseen"),
        ("fails", "found"),
        ("several", "found"),
        ("needs", "unseen"),
        ("good", "good"),
    ]
    assert sorted(one.name for one in told) == sorted(one.name for one in report.checks)
    found = {check: problem for problem, check in report.findings}
    assert {check: problem.condition for check, problem in found.items()} == {
        "fails": "check-failed",
        "several": "check-failed",
        "hangs": "check-unseen",
        "needs": "check-unseen",
    }
    assert "ValueError: bad" in found["several"].what


async def test_the_first_error_of_several_looks_is_what_their_check_meets() -> None:
    async def fails() -> None:
        raise TimeoutError("late")

    async def waits() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match="late"):
        await case.each(waits(), fails())


async def test_all_run_at_the_same_time() -> None:
    here = asyncio.Barrier(3)

    async def meets(_: Case) -> Outcome:
        await here.wait()
        return Outcome("met")

    report = await look_into([Check(str(n), meets, needs=False) for n in range(3)], CASE, lambda _: None)
    assert [one.state for one in report.checks] == ["good"] * 3


async def test_a_cancellation_ends_all() -> None:
    begun = asyncio.Event()

    async def hangs(_: Case) -> Outcome:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(look_into([Check("hangs", hangs, needs=False)], CASE, lambda _: None))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_findings_are_worst_first_and_told_once_by_the_first_that_found_them() -> None:
    def check(name: str, *problems: Problem) -> Checked:
        return Checked(name, "found", "", problems)

    low, old = POWER_LOW.problem(), GATEWAY_OLD.problem(running="0", installed="1")
    report = Report((check("a", old, DISK_SOON.problem(days=1)), check("b", DISK_SOON.problem(days=2), low)))
    assert report.findings == [(low, "b"), (old, "a"), (DISK_SOON.problem(days=1), "a")]
    shown: dict[str, Any] = json.loads(json.dumps(report.json()))
    assert [one["check"] for one in shown["findings"]] == ["b", "a", "a"]
    assert set(shown["findings"][0]) == {"condition", "severity", "subject", "what", "cure", "values", "check"}
    assert shown["checks"][0] == {"check": "a", "state": "found", "said": "", "figures": {}}
    assert MEMORY_LOW.problem(available="1") not in [one for one, _ in report.findings]


async def test_within_a_gateway_it_takes_the_gateways_own_word(tmp_path: Path) -> None:
    settings = Settings(gateway=GatewaySettings(name="hen", data_dir=str(tmp_path / "none"), key="env:KEY"))
    told = {"condition": "page-away", "severity": "warning", "subject": "", "what": "w", "cure": "c", "values": {}}
    found = await doctor.examine(settings, state={"version": "0.1.0", "problems": [told], "sources": {}})
    names = {one.condition for one in found}
    assert {"page-away", "data-dir-missing", "store-missing", "key-unusable", "node-none"} <= names
    assert "gateway-stopped" not in names
    severities = [one.severity for one in found]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)


async def test_this_machine_itself() -> None:
    report = await examination(Case(settings=None))
    assert [one.name for one in report.checks] == [one.name for one in doctor.CHECKS]
    assert not [one for one, _ in report.findings if one.condition == "check-failed"]
