"""One driver's failures: those of the world are tried again, each time later; a bug is parked; no other is harmed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import pytest
from fakes.gateway_store import pipeline, sample, until

from drivers.api import DriverError, Emit, Item, Link
from gateway.supervise import Supervisor


class Jitter:
    """A random.Random that remembers between what it was asked to choose, and chooses no pause."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, float]] = []

    def uniform(self, low: float, high: float) -> float:
        self.asked.append((low, high))
        return 0.0


class FakeDriver:
    """Does one thing after another each time it is run; after the last it runs on."""

    name = "fake"
    sources: Mapping[str, object] = {"climate": None}

    def __init__(self, *acts: Callable[[Emit], Awaitable[None]]) -> None:
        self.acts = list(acts)
        self.runs = 0
        self.let_go = 0

    async def run(self, emit: Emit) -> None:
        self.runs += 1
        try:
            if self.acts:
                await self.acts.pop(0)(emit)
            else:
                await asyncio.Event().wait()
        finally:
            self.let_go += 1


class Bench:
    """A supervisor of a driver, with what it emitted."""

    def __init__(self, driver: FakeDriver) -> None:
        self.driver = driver
        self.emitted: list[Item] = []
        self.mono = 0.0
        self.jitter = Jitter()
        self.supervisor = Supervisor(driver, self.emit, monotonic=lambda: self.mono, rng=self.jitter)  # type: ignore[arg-type]

    def emit(self, items: Sequence[Item]) -> "asyncio.Future[None]":
        self.emitted += items
        future = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future


def fails(
    error: BaseException, *, after: float = 0.0, bench: list[Bench] | None = None
) -> Callable[[Emit], Awaitable[None]]:
    async def act(_: Emit) -> None:
        if bench:
            bench[0].mono += after
        raise error

    return act


async def ends(_: Emit) -> None:
    """There is nothing more to come."""


async def _stopped(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_worlds_failures_are_tried_again() -> None:
    bench = Bench(FakeDriver(*(fails(DriverError("no device", "Plug it in")) for _ in range(9))))
    task = asyncio.create_task(bench.supervisor.run())
    await until(lambda: bench.driver.runs == 10)
    assert bench.emitted == [Link(up=False, detail="no device", cure="Plug it in")] * 9
    assert bench.supervisor.parked is None
    assert bench.jitter.asked == [(p / 2, p) for p in (1, 2, 4, 8, 16, 32, 60, 60, 60)]
    await _stopped(task)
    assert bench.driver.let_go == bench.driver.runs


@pytest.mark.parametrize(("ran_s", "third"), [(0, 4), (60, 4), (61, 1)])
async def test_a_long_run_makes_the_pause_short_again(ran_s: float, third: float) -> None:
    box: list[Bench] = []
    acts = [fails(DriverError("no"), after=seconds, bench=box) for seconds in (0, 0, ran_s)]
    bench = Bench(FakeDriver(*acts))
    box.append(bench)
    task = asyncio.create_task(bench.supervisor.run())
    await until(lambda: bench.driver.runs == 4)
    assert [high for _, high in bench.jitter.asked] == [1, 2, third]
    await _stopped(task)


async def test_an_error_without_a_cure() -> None:
    bench = Bench(FakeDriver(fails(DriverError("no route")), ends))
    await bench.supervisor.run()
    assert bench.emitted == [Link(up=False, detail="no route")]


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("y"), OSError(5, "io"), ExceptionGroup("g", [ValueError()])]
)
async def test_a_bug_is_parked(error: Exception) -> None:
    bench = Bench(FakeDriver(fails(error)))
    await bench.supervisor.run()
    assert bench.driver.runs == 1
    assert bench.supervisor.parked is not None
    assert type(error).__name__ in bench.supervisor.parked
    (link,) = bench.emitted
    assert isinstance(link, Link)
    assert not link.up
    assert "Restart the gateway" in link.cure
    assert (link.condition, link.values) == ("driver-parked", {"detail": bench.supervisor.parked})


async def test_a_driver_that_cancels_itself_is_parked_and_not_gone_unseen() -> None:
    async def act(_: Emit) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    bench = Bench(FakeDriver(act))
    await bench.supervisor.run()
    assert bench.supervisor.parked is not None
    assert len(bench.emitted) == 1


async def test_the_end_of_a_driver_is_no_failure() -> None:
    bench = Bench(FakeDriver(ends))
    await bench.supervisor.run()
    assert bench.driver.runs == 1
    assert bench.supervisor.parked is None
    assert bench.emitted == []


async def test_a_stop_is_no_failure() -> None:
    bench = Bench(FakeDriver())
    task = asyncio.create_task(bench.supervisor.run())
    await until(lambda: bench.driver.runs == 1)
    await _stopped(task)
    assert bench.driver.let_go == 1
    assert bench.supervisor.parked is None
    assert bench.emitted == []


async def test_a_stop_during_a_pause() -> None:
    bench = Bench(FakeDriver(fails(DriverError("no"))))
    bench.jitter.uniform = lambda low, high: 3600.0  # type: ignore[method-assign]
    task = asyncio.create_task(bench.supervisor.run())
    await until(lambda: bool(bench.emitted))
    await _stopped(task)
    assert bench.driver.runs == 1


async def test_a_parked_driver_harms_nobody(tmp_path: Path) -> None:
    """Beside it another reads on, and the loss of the source is in the chain."""
    given: list[int] = []

    async def reads(emit: Emit) -> None:
        for n in range(20):
            await emit([sample("good", n)])
            given.append(n)

    async with pipeline(tmp_path) as gateway:
        emits = {name: gateway.intake.emitter(name, {name: "in"}) for name in ("good", "bad")}
        bad = FakeDriver(fails(RuntimeError("bug")))
        good = FakeDriver(reads)
        async with asyncio.TaskGroup() as tasks:
            for driver, name in ((bad, "bad"), (good, "good")):
                driver.name = name
                supervisor = Supervisor(driver, emits[name], monotonic=lambda: 0.0, rng=Jitter())  # type: ignore[arg-type]
                tasks.create_task(supervisor.run())
        await gateway.journal.commit()
        assert given == list(range(20))
        tallies = gateway.intake.tallies
        assert (tallies["good"].stored, tallies["good"].up) == (20, None)
        assert (tallies["bad"].up, tallies["gateway"].stored) == (False, 1)
        assert "parked after a bug" in tallies["bad"].detail
