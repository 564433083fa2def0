"""What came of an update is told where it concerns the version that runs, and whatever lies there harms nothing."""

import asyncio
import json
from pathlib import Path

import pytest
from fakes.collector import until

from gateway.upgraded import OUTCOME, Upgraded, look

TAKEN_BACK = {"from": "1", "to": "2", "result": "taken-back", "why": "the gateway does not answer", "at_ms": 7}


def put(root: Path, told: object) -> Path:
    path = root / OUTCOME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(told if isinstance(told, str) else json.dumps(told))
    return path


@pytest.mark.parametrize(
    ("told", "version", "conditions"),
    [
        (TAKEN_BACK, "1", ["upgrade-taken-back"]),
        (TAKEN_BACK, "2", []),
        (TAKEN_BACK, "3", []),
        ({**TAKEN_BACK, "result": "bad"}, "2", ["upgrade-bad"]),
        ({**TAKEN_BACK, "result": "bad"}, "1", []),
        ({**TAKEN_BACK, "result": "good"}, "2", []),
        ({**TAKEN_BACK, "result": "of tomorrow"}, "1", []),
        ({**TAKEN_BACK, "why": 7}, "1", []),
        ({"result": "taken-back"}, "1", []),
        ([], "1", []),
        ("7", "1", []),
        ("{", "1", []),
        ("[" * 50_000, "1", []),
        ("\x00\udcff".encode("utf-8", "replace").decode(), "1", []),
    ],
)
def test_what_is_told(tmp_path: Path, told: object, version: str, conditions: list[str]) -> None:
    assert [one.condition for one in look(put(tmp_path, told), version)] == conditions


def test_its_words_have_both_versions_and_the_reason_and_no_control_characters(tmp_path: Path) -> None:
    (found,) = look(put(tmp_path, {**TAKEN_BACK, "why": "bad\x1b[2J"}), "1")
    assert "Version 2 " in found.what
    assert "1 runs again" in found.what
    assert "bad" in found.what
    assert "\x1b" not in found.what


def test_nothing_is_told_where_no_update_was(tmp_path: Path) -> None:
    assert look(tmp_path / OUTCOME, "1") == []
    (tmp_path / OUTCOME).mkdir(parents=True)
    assert look(tmp_path / OUTCOME, "1") == []


async def test_it_looks_without_holding_the_loop(tmp_path: Path) -> None:
    put(tmp_path, TAKEN_BACK)
    upgraded = Upgraded("1", tmp_path)
    task = asyncio.create_task(upgraded.run())
    await until(lambda: upgraded.problems)
    task.cancel()
    assert [one.condition for one in upgraded.problems] == ["upgrade-taken-back"]
