"""Invariant 5 while nothing can be stored: what had to be thrown away is counted to the last message, and sealed."""

import asyncio
import hashlib
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.clock import START_MS
from fakes.gateway_store import Pipeline, balanced, check_chain, pipeline, sample, until
from fakes.pty_line import Line, feed

from drivers.api import Dropped, Link
from drivers.limits import PENDING_LINES
from drivers.serial_line import KIND, SerialLineOptions
from gateway.core import limits, senml
from gateway.core.senml import OWN
from gateway.store import journal
from gateway.supervise import Supervisor


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_FULL_RETRY_S", 0.005)


async def _full(gateway: Pipeline) -> None:
    """From here on nothing can be stored, and something waits."""
    ((now,),) = await gateway.store.db.read("PRAGMA page_count")
    await gateway.store.db.insert(f"PRAGMA max_page_count={now + 1}", ())
    gateway.emit([sample("first", payload=hashlib.shake_256(b"").digest(4_000))])
    await until(lambda: gateway.journal.full)


async def _room(gateway: Pipeline) -> None:
    await gateway.store.db.insert("PRAGMA max_page_count=1000000", ())
    await gateway.journal.commit()
    await gateway.journal.commit()  # of what the first one had to tell


async def _sealed(gateway: Pipeline) -> list[senml.Reading]:
    await gateway.age()
    return [senml.resolve(pack) for pack in await check_chain(gateway.store)]


def _events(found: list[senml.Reading], what: str) -> list[dict[str, Any]]:
    told = [{one.name: one.value for one in reading.records} for reading in found if reading.source == OWN]
    return [event for event in told if event["event"] == what]


async def test_a_serial_line_is_read_on_and_every_line_is_stored_or_counted(tmp_path: Path) -> None:
    sent = PENDING_LINES + 3_000
    async with pipeline(tmp_path, max_count=limits.BLOCK_LEAVES, linger_s=0.01) as gateway:
        with Line() as line:
            table = {"port": str(line.path), "format": "text", "values": {"n": {}}}
            driver = KIND.driver("scale", msgspec.convert(table, SerialLineOptions))
            intake = gateway.intake
            emit = intake.emitter(driver.name, {"scale": "none"})
            supervisor = Supervisor(driver, emit, monotonic=gateway.clock.monotonic, rng=random.Random(1))
            running = asyncio.create_task(supervisor.run())
            await until(lambda: intake.tallies["scale"].up)
            tally = intake.tallies["scale"]
            await _full(gateway)
            gateway.clock.advance(100)
            await feed(line, b"\n" + b"".join(b"%d\n" % n for n in range(sent)))
            await until(lambda: tally.arrived == sent)
            assert balanced(intake)
            assert tally.stored == 0
            assert 0 < tally.dropped <= sent - PENDING_LINES
            gateway.clock.advance(50)
            await _room(gateway)
            await feed(line, b"-1\n")
            await until(lambda: tally.arrived == sent + 1)
            await gateway.journal.commit()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert balanced(intake)
        found = await _sealed(gateway)
        kept = [reading.records[0].value for reading in found if reading.source == "scale"]
        assert kept == [*range(sent - tally.dropped), -1]
        at = START_MS / 1000 + 100
        assert _events(found, "dropped") == [
            {"event": "dropped", "source": "scale", "count": tally.dropped, "from": at, "to": at, "reason": "no_room"}
        ]


async def test_a_stretch_of_dropping_is_one_reading_however_long_it_lasts(tmp_path: Path) -> None:
    async with pipeline(tmp_path, linger_s=0.01) as gateway:
        emit = gateway.intake.emitter("fake", {"a": "in", "b": "in"})
        await _full(gateway)
        for _ in range(500):
            emit([Dropped("a", 3, "no_room"), Dropped("b", 1, "no_room"), Dropped("b", 2, "worn_out")])
            gateway.clock.advance(1)
            assert balanced(gateway.intake)
        assert len(gateway.intake._stretches) == 3
        await _room(gateway)
        emit([Dropped("a", 7, "no_room")])
        await gateway.journal.commit()
        await gateway.journal.commit()
        begin = START_MS / 1000
        told = [(e["source"], e["reason"], e["count"], e["from"], e["to"]) for e in await _told(gateway)]
        assert told == [
            ("a", "no_room", 1500, begin, begin + 499),
            ("b", "no_room", 500, begin, begin + 499),
            ("b", "worn_out", 1000, begin, begin + 499),
            ("a", "no_room", 7, begin + 500, begin + 500),
        ]
        assert (gateway.intake.tallies["a"].dropped, gateway.intake.tallies["b"].dropped) == (1507, 1500)
        assert balanced(gateway.intake)


async def _told(gateway: Pipeline) -> list[dict[str, Any]]:
    return _events(await _sealed(gateway), "dropped")


async def test_what_was_dropped_is_told_before_the_stop(tmp_path: Path) -> None:
    async with pipeline(tmp_path, linger_s=0.01) as gateway:
        await _full(gateway)
        gateway.emit([Dropped("a", 3, "no_room")])
        gateway.intake.stop()
        await gateway.store.db.insert("PRAGMA max_page_count=1000000", ())
        await gateway.journal.commit()
        found = await _sealed(gateway)
        assert [reading.records[0].value for reading in found if reading.source == OWN] == ["dropped", "stop"]


async def test_own_events_are_bounded_while_nothing_can_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OWN_EVENTS_WAITING", 20)
    async with pipeline(tmp_path, linger_s=0.01) as gateway:
        intake = gateway.intake
        await intake.event("start")
        await _full(gateway)
        for n in range(50):
            intake.event("clock-step", n=n)
            gateway.emit([Link(bool(n % 2), "loose", ("a",))])
            assert balanced(intake)
        assert intake.waiting(OWN) == 20
        await _room(gateway)
        await intake.event("clock-step", n=50)
        found = await _sealed(gateway)
        own = [reading for reading in found if reading.source == OWN]
        (dropped,) = _events(found, "dropped")
        assert (dropped["source"], dropped["reason"]) == (OWN, "too_many_events")
        assert dropped["count"] == 100 - 20 == intake.tallies[OWN].dropped
        assert len(own) == 1 + 20 + 1 + 1
        assert [event["n"] for event in _events(found, "clock-step")] == [*range(10), 50]
        assert balanced(intake)


async def test_a_link_of_thousands_of_sources_is_told_in_many_turns(tmp_path: Path) -> None:
    """Each source once, in order, a later change behind an earlier one."""
    number = limits.OWN_EVENTS_A_TURN * 3 + 5
    async with pipeline(tmp_path, linger_s=3600, max_count=10_000) as gateway:
        emit = gateway.intake.emitter("fake", {f"s{n}": "none" for n in range(number)})
        emit([Link(False, "gone")])
        assert gateway.intake.waiting(OWN) == limits.OWN_EVENTS_A_TURN
        emit([Link(True, "there", ("s1",))])
        assert gateway.intake.waiting(OWN) <= 2 * limits.OWN_EVENTS_A_TURN
        await until(lambda: gateway.intake.waiting(OWN) == number + 1)
        await gateway.journal.commit()
        found = await _sealed(gateway)
        assert [e["source"] for e in _events(found, "source-lost")] == [f"s{n}" for n in range(number)]
        assert [reading.records[0].value for reading in found][-1] == "source-back"


async def test_a_stop_tells_of_thousands_of_sources_first(tmp_path: Path) -> None:
    number = limits.OWN_EVENTS_A_TURN * 3 + 5
    async with pipeline(tmp_path, linger_s=3600, max_count=10_000) as gateway:
        emit = gateway.intake.emitter("fake", {f"s{n}": "none" for n in range(number)})
        emit([Link(False, "gone")])
        gateway.intake.stop()
        await gateway.journal.commit()
        found = await _sealed(gateway)
        assert [reading.records[0].value for reading in found] == ["source-lost"] * number + ["stop"]
