"""When the watchdog is fed: on a loop whose time is virtual, over a socket and stores that are real."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from fakes import virtual_loop
from fakes.service_manager import ServiceManager
from fakes.virtual_loop import VirtualLoop

from gateway.core import limits
from gateway.errors import StoreError, StoreFullError
from gateway.notify import Notifier
from gateway.watchdog import Watchdog, patience, wait_on

WITHIN_S = 120.0


class Fed:
    """A watchdog that runs for some virtual time, and how often it was fed and asked the store."""

    def __init__(self, folder: Path, loop: VirtualLoop, probe: Callable[[], Awaitable[None]] | None = None) -> None:
        self.manager = ServiceManager(str(folder / "notify"))
        self.loop = loop
        loop.busy = lambda: False
        self.commits, self.probes, self.is_stuck = 0, 0, False
        self._probe = probe
        self.watchdog = Watchdog(
            Notifier(self.manager.address, WITHIN_S),
            commits=lambda: self.commits,
            probe=self.probe,
            stuck=lambda: self.is_stuck,
            headline=lambda: f"{self.commits} commits",
        )

    async def probe(self) -> None:
        self.probes += 1
        if self._probe is not None:
            await self._probe()

    async def after(self, seconds: float) -> int:
        """How often it was fed within so many seconds more."""
        before = len(self.manager.told("WATCHDOG"))
        await asyncio.sleep(seconds)
        return len(self.manager.told("WATCHDOG")) - before


def fed(folder: Path, act: Callable[[Fed], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def main(loop: VirtualLoop) -> None:
        made = Fed(folder, loop, **options)
        task = asyncio.create_task(made.watchdog.run())
        try:
            await act(made)
        finally:
            task.cancel()
            await asyncio.wait([task])
            made.manager.close()

    virtual_loop.run(main)


def test_an_idle_store_is_probed_at_most_twice_a_period_and_never_too_late(tmp_path: Path) -> None:
    async def act(made: Fed) -> None:
        for _ in range(50):
            assert 1 <= await made.after(WITHIN_S) <= 2
        assert made.probes <= 100

    fed(tmp_path, act)


def test_a_store_that_is_written_to_is_not_probed(tmp_path: Path) -> None:
    async def act(made: Fed) -> None:
        for _ in range(60):
            made.commits += 1
            assert await made.after(WITHIN_S / 4)
        assert made.probes == 0

    fed(tmp_path, act)


def test_a_probe_that_hangs_feeds_nothing_until_it_ends(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def act(made: Fed) -> None:
        assert await made.after(10 * WITHIN_S) == 0
        made.commits += 1  # whatever else is counted meanwhile
        assert await made.after(WITHIN_S) == 0
        gate.set()
        assert await made.after(WITHIN_S)

    fed(tmp_path, act, probe=gate.wait)


def test_a_commit_that_does_not_end_feeds_nothing_though_the_store_answers(tmp_path: Path) -> None:
    async def act(made: Fed) -> None:
        made.is_stuck = True
        assert await made.after(10 * WITHIN_S) == 0
        made.is_stuck = False
        assert await made.after(WITHIN_S)

    fed(tmp_path, act)


def test_a_loop_that_turns_too_late_feeds_nothing(tmp_path: Path) -> None:
    async def act(made: Fed) -> None:
        def block() -> None:
            """As something that holds up the loop at each turn would."""
            made.loop.now += 20 * limits.WATCHDOG_LAG_S
            blocked.append(made.loop.call_later(0, block))

        blocked: list[asyncio.TimerHandle] = []
        block()
        assert await made.after(10 * WITHIN_S) == 0
        blocked[-1].cancel()
        assert await made.after(WITHIN_S)

    fed(tmp_path, act)


def test_no_room_is_an_answer_of_the_store(tmp_path: Path) -> None:
    async def full() -> None:
        raise StoreFullError("no room left on the disk")

    async def act(made: Fed) -> None:
        assert await made.after(WITHIN_S)

    fed(tmp_path, act, probe=full)


def test_what_else_a_probe_meets_ends_the_process(tmp_path: Path) -> None:
    async def broken() -> None:
        raise StoreError("disk I/O error (SQLITE_IOERR_FSYNC)")

    async def main(loop: VirtualLoop) -> None:
        made = Fed(tmp_path, loop, broken)
        with pytest.raises(StoreError):
            await made.watchdog.run()
        assert made.manager.told("WATCHDOG") == []
        made.manager.close()

    virtual_loop.run(main)


def test_the_headline_is_told_and_where_nobody_listens_nothing_runs(tmp_path: Path) -> None:
    async def act(made: Fed) -> None:
        made.commits = 7
        await made.after(WITHIN_S)
        assert made.manager.told("STATUS") == ["7 commits"]
        unheard = Watchdog(
            Notifier(), commits=lambda: 0, probe=made.probe, stuck=lambda: False, headline=lambda: str(1 / 0)
        )
        await unheard.run()

    fed(tmp_path, act)


def test_time_is_asked_for_while_a_start_goes_on_and_no_longer(tmp_path: Path) -> None:
    manager = ServiceManager(str(tmp_path / "notify"))
    notifier = Notifier(manager.address)

    async def main(loop: VirtualLoop) -> None:
        loop.busy = lambda: False
        async with patience(notifier, 60.0) as started:
            await asyncio.sleep(45)
            asked = [int(each) / 1_000_000 for each in manager.told("EXTEND_TIMEOUT_USEC")]
            assert all(45 / len(asked) < each for each in asked), "each is followed by another before it is over"
            started()
            await asyncio.sleep(1_000)
            assert len(manager.told("EXTEND_TIMEOUT_USEC")) == len(asked)
        async with patience(notifier, 60.0):
            await asyncio.sleep(10_000)
        more = len(manager.told("EXTEND_TIMEOUT_USEC")) - len(asked)
        assert 0 < more < 60, "what never ends is not waited for"
        wait_on(notifier, "waits for room")
        assert manager.told("STATUS") == ["waits for room"]
        assert len(manager.told("EXTEND_TIMEOUT_USEC")) == len(asked) + more + 1

    virtual_loop.run(main)
    manager.close()
