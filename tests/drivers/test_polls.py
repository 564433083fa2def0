"""The polled shape, on a clock that stands still while anything happens: what is counted hangs on no machine."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from fakes import virtual_loop
from fakes.collector import Collector
from hypothesis import given
from hypothesis import strategies as st

from drivers.api import DriverError, Dropped, Link, Reject, Sample
from drivers.codecs.base import Found, Refused
from drivers.conditions import DEVICE_SILENT
from drivers.limits import PENDING_MESSAGES, POLL_AWAY_SHARE, SOURCES_PER_BUS
from drivers.polls import Answer, PollDriver, PolledOptions, Schedule

GOOD = Answer([Found([("n", None, 1)], raw=b"1")], True, "answers")
AWAY = Answer([], False, "no answer", silent=True)


class FakeBus:
    """Devices that need so many seconds to answer; a negative one never does, and is waited for as long."""

    def __init__(self, **seconds: float) -> None:
        self.seconds = seconds
        self.asked: list[tuple[str, float, bool]] = []
        self.opened = self.closed = 0
        self.busy = False

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1

    async def poll(self, source: str, *, brief: bool) -> Answer:
        assert not self.busy, "two at once on one bus"
        self.busy = True
        self.asked.append((source, asyncio.get_running_loop().time(), brief))
        seconds = self.seconds[source]
        await asyncio.sleep(abs(seconds) if brief or seconds > 0 else 2 * abs(seconds))
        self.busy = False
        return AWAY if seconds < 0 else GOOD


def play(bus: FakeBus, every_s: dict[str, float], for_s: float, change: Callable[[], None] | None = None) -> Collector:
    """Polls for that long; half way through, `change` happens."""
    collector = Collector()
    driver = PollDriver("bus", {source: PolledOptions(every_s=seconds) for source, seconds in every_s.items()}, bus)

    async def main(loop: virtual_loop.VirtualLoop) -> None:
        loop.busy = lambda: False
        task = asyncio.create_task(driver.run(collector.emit))
        await asyncio.sleep(for_s / 2)
        if change:
            change()
        await asyncio.sleep(for_s / 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    virtual_loop.run(main)
    assert bus.closed == bus.opened == 1
    return collector


def test_a_dead_device_starves_nobody() -> None:
    """An hour of one that is asked each second, beside three dead ones for each of which 2 s are waited."""
    bus = FakeBus(live=0.02, one=-1.0, two=-1.0, three=-1.0)
    collector = play(bus, {"one": 1, "live": 1, "two": 1, "three": 1}, 3600)
    samples = Counter(sample.source for sample in collector.samples)
    asked = Counter(source for source, _, _ in bus.asked)
    waited = sum(1.0 if brief else 2.0 for source, _, brief in bus.asked if source != "live")
    assert samples == {"live": asked["live"]}
    assert samples["live"] >= 3600 * (1 - POLL_AWAY_SHARE) - 10
    assert 0 < waited <= 3600 * POLL_AWAY_SHARE + 6
    assert min(asked[name] for name in ("one", "two", "three")) >= 30, "they are asked again all the same"


def test_many_dead_ones_with_long_time_outs_take_a_tenth_of_the_time() -> None:
    dead = dict.fromkeys("bcdefg", -10.0)
    bus = FakeBus(a=0.02, **dead)
    play(bus, dict.fromkeys("abcdefg", 1), 36_000)
    waited = sum(10.0 if brief else 20.0 for source, _, brief in bus.asked if source != "a")
    assert waited <= 36_000 * POLL_AWAY_SHARE + 6 * 20
    for source in dead:
        briefs = [brief for one, _, brief in bus.asked if one == source]
        assert briefs == [False] + [True] * (len(briefs) - 1)
        assert len(briefs) > 10


def test_what_was_left_out_is_not_made_up() -> None:
    bus = FakeBus(a=30.0)
    play(bus, {"a": 1}, 1_200, lambda: bus.seconds.update(a=0.001))
    assert 20 + 560 <= len(bus.asked) <= 20 + 603


def test_one_that_comes_back_is_heard_and_keeps_its_schedule_again() -> None:
    bus = FakeBus(live=0.02, dead=-1.0)
    collector = play(bus, {"live": 1, "dead": 1}, 1200, lambda: bus.seconds.update(dead=0.02))
    assert Counter(sample.source for sample in collector.samples)["dead"] >= 500
    assert [link for link in collector.links if link.sources == ("dead",)] == [
        Link(False, "no answer", ("dead",), condition=DEVICE_SILENT, values={"detail": "no answer"}),
        Link(True, "answers", ("dead",)),
    ]


def test_a_schedule_does_not_drift() -> None:
    bus = FakeBus(a=0.013, b=0.4)
    play(bus, {"a": 0.7, "b": 5.3}, 7_000)
    assert sum(source == "a" for source, _, _ in bus.asked) == 10_000
    times = [time for source, time, _ in bus.asked if source == "a"]
    late = [(time - times[0]) % 0.7 for time in times]
    assert all(min(one, 0.7 - one) <= 0.45 for one in late)
    assert sum(min(one, 0.7 - one) < 1e-6 for one in late) > 9_000


def test_more_than_a_bus_can_do_is_done_in_turn() -> None:
    bus = FakeBus(**dict.fromkeys("abcdef", 0.5))
    play(bus, dict.fromkeys("abcdef", 1.0), 600)
    asked = Counter(source for source, _, _ in bus.asked)
    assert max(asked.values()) - min(asked.values()) <= 2
    assert 1_190 <= sum(asked.values()) <= 1_201


@given(
    every=st.dictionaries(st.sampled_from("abcde"), st.sampled_from([0.05, 1.0, 2.5, 60.0]), min_size=1),
    outcomes=st.lists(st.tuples(st.booleans(), st.floats(0, 30)), min_size=1, max_size=60),
)
def test_a_turn_always_lies_on_its_grid_and_never_before_the_last(every: dict[str, float], outcomes: Any) -> None:
    schedule, now = Schedule(every, 100.0), 100.0
    last: dict[str, float] = {}
    for silent, took in outcomes:
        source, due = schedule.next()
        assert due > last.get(source, 0.0)
        steps = (due - 100.0) / every[source]
        assert abs(steps - round(steps)) < 1e-6
        last[source] = due
        began = max(now, due)
        now = began + took
        if silent:
            schedule.missed(source, began, now)
            assert schedule.silent(source)
        else:
            schedule.answered(source, now)
            assert not schedule.silent(source)


def test_while_nothing_can_be_stored_nothing_is_asked_and_that_is_counted() -> None:
    bus = FakeBus(a=0.001)
    collector = Collector(durable=False)
    driver = PollDriver("bus", {"a": PolledOptions(every_s=0.05)}, bus)

    async def main(loop: virtual_loop.VirtualLoop) -> None:
        loop.busy = lambda: False
        task = asyncio.create_task(driver.run(collector.emit))
        await asyncio.sleep(0.05 * (PENDING_MESSAGES + 100))
        assert len(bus.asked) == len(collector.samples) == PENDING_MESSAGES
        assert sum(one.messages for one in collector.dropped) in (99, 100, 101)
        collector.commit()
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    virtual_loop.run(main)
    assert set(collector.dropped) == {Dropped("a", 1, "no_room")}
    assert len(collector.samples) > PENDING_MESSAGES


def test_devices_behind_a_source_are_sources_of_their_own() -> None:
    bus = FakeBus(silo=0.001)
    names = [f"28-00{n:03X}" for n in range(SOURCES_PER_BUS)]

    async def poll(source: str, *, brief: bool) -> Answer:
        found = [Found([("t", "Cel", 1.0)], device=name) for name in [*names, "28-FFFF"]]
        return Answer([*found, Refused("checksum", b"x", device=names[0])], True, "answers")

    bus.poll = poll  # type: ignore[method-assign]
    collector = play(bus, {"silo": 10}, 1)
    assert [sample.source for sample in collector.samples] == [f"silo-{name.lower()}" for name in names]
    assert [(one.source, one.reason) for one in collector.rejects] == [
        ("silo", "too_many_sources"),
        ("silo-28-00000", "checksum"),
    ]


async def test_a_bus_that_is_gone_ends_the_run_and_is_let_go() -> None:
    bus = FakeBus(a=0.001)

    async def poll(source: str, *, brief: bool) -> Answer:
        raise DriverError("it is gone", "Plug it in")

    bus.poll = poll  # type: ignore[method-assign]
    with pytest.raises(DriverError, match="it is gone"):
        await PollDriver("bus", {"a": PolledOptions()}, bus).run(Collector().emit)
    assert bus.closed == 1


def test_rejects_and_samples_go_out_in_order() -> None:
    bus = FakeBus(a=0.001)

    async def poll(source: str, *, brief: bool) -> Answer:
        return Answer([Refused("checksum", b"x"), *GOOD.found], True, "answers")

    bus.poll = poll  # type: ignore[method-assign]
    collector = play(bus, {"a": 10}, 1)
    assert [type(item) for item in collector.items] == [Link, Reject, Sample]
