"""The result of a look at the whole store: kept by one process, told by another."""

import asyncio
import os
import stat
from pathlib import Path

import msgspec
import pytest
from fakes.clock import START_MS, FakeClock

from gateway import verified
from gateway.core import limits
from gateway.verified import Result, Verified

DAY_MS = 86_400_000


def result(**more: object) -> Result:
    told = {"at_ms": 1_800_000_000_000, "took_s": 5, "blocks": 7, "readings": 70, "faults": 0} | more
    return msgspec.convert(told, Result)


def test_what_is_kept_is_read_back_and_only_its_owner_may(tmp_path: Path) -> None:
    assert verified.last(tmp_path) is None
    for faults in (2, 0):
        kept = result(faults=faults, what="first at block 3: \x1b[31mthe entry is missing")
        verified.keep(tmp_path, kept)
        found = verified.last(tmp_path)
        assert found is not None
        assert found.faults == faults
        assert "\x1b" not in found.what
    assert stat.S_IMODE((tmp_path / verified.FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [verified.FILE]


def test_what_root_keeps_belongs_to_the_folders_owner(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root gives a file away")
    os.chown(tmp_path, 1234, 5678)
    verified.keep(tmp_path, result())
    told = (tmp_path / verified.FILE).stat()
    assert (told.st_uid, told.st_gid) == (1234, 5678)


def test_an_interrupted_write_is_neither_read_nor_in_the_way(tmp_path: Path) -> None:
    (tmp_path / f".{verified.FILE}").write_text('{"at_ms": 1')
    assert verified.last(tmp_path) is None
    verified.keep(tmp_path, result())
    assert verified.last(tmp_path) == result()


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"x" * 100_000, b'{"at_ms": -1}', b'{"at_ms": 1e400}'])
def test_a_file_that_is_none_of_ours_is_no_result(tmp_path: Path, data: bytes) -> None:
    (tmp_path / verified.FILE).write_bytes(data)
    assert verified.last(tmp_path) is None


async def told(folder: Path, clock: FakeClock, after_days: float, *, running_days: float | None = None) -> list[str]:
    """The conditions so long after what is kept, by a gateway that ran for all of it, or for a part."""
    running = after_days if running_days is None else running_days
    clock.advance((after_days - running) * 86_400)
    watcher = Verified(folder, clock)
    task = asyncio.create_task(watcher.run())
    while watcher.status()["at_ms"] is None:
        await asyncio.sleep(0.01)
    task.cancel()
    clock.advance(running * 86_400)
    return [one.condition for one in watcher.problems]


async def test_damage_is_told_and_so_is_lateness(tmp_path: Path) -> None:
    await asyncio.to_thread(verified.keep, tmp_path, result(at_ms=START_MS, faults=1, what="first at block 3: bad"))
    late = limits.VERIFY_LATE_D + 0.1
    assert await told(tmp_path, FakeClock(), 0.5) == ["verification-failed"]
    assert await told(tmp_path, FakeClock(), late) == ["verification-failed", "verification-late"]
    await asyncio.to_thread(verified.keep, tmp_path, result(at_ms=START_MS))
    assert await told(tmp_path, FakeClock(), limits.VERIFY_LATE_D - 0.1) == []
    assert await told(tmp_path, FakeClock(), late) == ["verification-late"]
    assert await told(tmp_path, FakeClock(), late, running_days=0.5) == [], "it was off"
    assert await told(tmp_path, FakeClock(synchronised=False), late) == [], "who knows"
    assert await told(tmp_path, FakeClock(START_MS - 400 * DAY_MS), late) == [], "the clock was set back"


async def test_where_there_was_none_nothing_is_told(tmp_path: Path) -> None:
    clock = FakeClock()
    watcher = Verified(tmp_path, clock)
    clock.advance(100 * 86_400)
    assert set(watcher.status().values()) == {None}
    assert watcher.problems == []
