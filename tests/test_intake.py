"""Intake: what becomes of each message, that every one is counted once, and that a redelivery is not stored again."""

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes.clock import START_MS, FakeClock
from fakes.dating import dated
from fakes.gateway_store import Pipeline, balanced, check_chain, pipeline, sample, until, values
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.api import (
    OUT_OF_RANGE,
    REPLAYED,
    STALE,
    UNSTABLE,
    Delivery,
    Dropped,
    Heard,
    Item,
    Link,
    Record,
    Reject,
    Sample,
    SessionLost,
)
from gateway.clock import facts
from gateway.core import block, body, limits, senml
from gateway.core.senml import OWN, Reading
from gateway.intake import UNSYNCHRONISED, Intake
from gateway.store.blocks import inflate
from gateway.store.database import Database, Params, Row
from gateway.store.redeliveries import is_snapshot

DIGEST = b"digest 8"


def delivery(packet_id: int = 1, *, dup: bool = False, digest: bytes = DIGEST, broker: str = "local") -> Delivery:
    return Delivery(broker, packet_id, digest, dup)


async def stored(gateway: Pipeline) -> list[tuple[bytes, bytes | None]]:
    """All items in the journal, sealed or not."""
    await gateway.journal.commit()
    rows = await gateway.store.db.read("SELECT data FROM journal ORDER BY row")
    return [item for (data,) in rows for item in body.read_items(inflate(data))]


async def readings(gateway: Pipeline, source: str = "climate") -> list[Reading]:
    return [reading for pack, _ in await stored(gateway) if (reading := senml.resolve(pack)).source == source]


async def events(gateway: Pipeline) -> list[dict[str, Any]]:
    return [{one.name: one.value for one in reading.records} for reading in await readings(gateway, OWN)]


def figures(intake: Intake, source: str = "climate") -> tuple[int, int, int, int]:
    tally = intake.tallies[source]
    return tally.arrived, tally.stored, tally.duplicate, tally.rejected


# One sample


async def test_a_sample_becomes_a_reading(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([Sample("climate", [("temp", "Cel", 21.5), ("fan", None, True)], b"{}")])
        (reading,) = await readings(gateway)
        assert (reading.time_ms, reading.received_ms, reading.quality) == (START_MS, START_MS, 0)
        assert [(one.name, one.unit, one.value) for one in reading.records] == [
            ("temp", "Cel", 21.5),
            ("fan", None, True),
        ]
        assert reading.raw == b"{}"
        tally = gateway.intake.tallies["climate"]
        assert list(tally.last) == [("temp", "Cel", 21.5), ("fan", None, True)]
        assert tally.last_ms == START_MS


@pytest.mark.parametrize(("time", "ms"), [(1_700_000_000.1234, 1_700_000_000_123), (2.0**28, 2**28 * 1000)])
async def test_the_devices_own_time_is_beside_the_receipt(tmp_path: Path, time: float, ms: int) -> None:
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([sample(time=time), sample()])
        own, ours = await readings(gateway)
        assert (own.time_ms, own.received_ms) == (ms, START_MS)
        assert (ours.time_ms, ours.received_ms) == (START_MS, START_MS)


@pytest.mark.parametrize("time", [0.0, -1.0, 2.0**28 - 0.001, 2.0**53, 1e300, math.inf, -math.inf, math.nan])
async def test_an_impossible_time_is_rejected(tmp_path: Path, time: float) -> None:
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([sample(time=time), sample(value=7)])
        assert values([pack for pack, _ in await stored(gateway)]) == [7]
        assert figures(gateway.intake) == (2, 1, 0, 1)
        assert gateway.intake.tallies["climate"].rejects == {"not_a_reading": 1}


@pytest.mark.parametrize("quality", [0, UNSTABLE, STALE, OUT_OF_RANGE, REPLAYED, UNSTABLE | REPLAYED])
@pytest.mark.parametrize("synchronised", [False, True])
async def test_quality_bits(tmp_path: Path, quality: int, synchronised: bool) -> None:
    async with pipeline(tmp_path, clock=FakeClock(synchronised=synchronised)) as gateway:
        await gateway.emit([sample(quality=quality)])
        (reading,) = await readings(gateway)
        assert reading.quality == quality | (0 if synchronised else UNSYNCHRONISED)


async def test_a_clock_that_reads_nonsense_still_stores(tmp_path: Path) -> None:
    """The first reading needs no clock: it is dated by the floor, and says that it is not sure."""
    clock = FakeClock(5_000)
    clock.raise_floor(START_MS)
    async with pipeline(tmp_path, clock=clock) as gateway:
        await gateway.emit([sample()])
        (reading,) = await readings(gateway)
        assert (reading.time_ms, reading.quality) == (START_MS, UNSYNCHRONISED)


# The payload


async def _with_raw(gateway: Pipeline, raw: Any, payload: bytes, **more: Any) -> tuple[Reading, bytes | None, Any]:
    emit = gateway.intake.emitter("fake", {"climate": raw})
    await emit([sample(payload=payload, **more)])
    ((pack, beside),) = await stored(gateway)
    return senml.resolve(pack), beside, gateway


@pytest.mark.parametrize(
    ("raw", "size", "kept"),
    [
        ("in", limits.RAW_INLINE_BYTES, "in"),
        ("in", limits.RAW_INLINE_BYTES + 1, "apart"),
        ("in", 65_536, "apart"),
        ("in", 0, "in"),
        ("apart", 1, "apart"),
        ("apart", 0, "apart"),
        ("none", 1, "none"),
        ("none", limits.RAW_INLINE_BYTES + 1, "none"),
    ],
)
async def test_where_the_payload_goes(tmp_path: Path, raw: str, size: int, kept: str) -> None:
    payload = bytes(n % 251 for n in range(size))
    async with pipeline(tmp_path) as gateway:
        reading, beside, _ = await _with_raw(gateway, raw, payload)
        assert reading.raw == (payload if kept == "in" else None)
        assert beside == (payload if kept == "apart" else None)
        assert (reading.raw_sha256 is not None) == (kept == "apart")
        await gateway.age()
        await check_chain(gateway.store)


@pytest.mark.parametrize("raw", ["in", "apart", "none"])
async def test_a_shared_payload_is_kept_with_none(tmp_path: Path, raw: str) -> None:
    async with pipeline(tmp_path) as gateway:
        reading, beside, _ = await _with_raw(gateway, raw, bytes(limits.RAW_INLINE_BYTES + 1), shared=True)
        assert (reading.raw, reading.raw_sha256, beside) == (None, None, None)


async def test_apart_is_salted_with_its_own_place(tmp_path: Path) -> None:
    """Two equal payloads have two digests, also over a block's end within one commit."""
    async with pipeline(tmp_path, max_count=3, linger_s=3600) as gateway:
        payload = b"the same" * 1000
        gateway.emit([sample(value=n, payload=payload if n % 2 else b"small") for n in range(10)])
        await gateway.journal.commit()
        await gateway.age()
        assert values(await check_chain(gateway.store)) == list(range(10))
        digests = [senml.resolve(pack).raw_sha256 for pack, _ in await stored(gateway)]
        assert len({digest for digest in digests if digest}) == 5
        first = await gateway.store.blocks.block(0)
        assert first is not None
        assert first.secret is not None
        assert digests[1] == block.payload_digest(block.raw_salt(first.secret, 1), payload)


# Many values


def records(number: int) -> list[Record]:
    return [(f"v{n}", None, n) for n in range(number)]


@pytest.mark.parametrize("number", [1, 8, 9, 63, 64, 65, 126, 127, 500])
@pytest.mark.parametrize("size", [10, limits.RAW_INLINE_BYTES + 1])
async def test_many_values_are_divided_in_order(tmp_path: Path, number: int, size: int) -> None:
    """All in one commit, the payload with the last of them, and still one message."""
    async with pipeline(tmp_path, linger_s=3600, max_count=100) as gateway:
        future = gateway.emit([Sample("climate", records(number), bytes(size))])
        await gateway.journal.commit()
        await future
        found = await readings(gateway)
        assert [one.value for reading in found for one in reading.records] == list(range(number))
        assert all(len(reading.records) <= limits.PACK_RECORDS for reading in found)
        kept = [reading.raw is not None or reading.raw_sha256 is not None for reading in found]
        assert kept == [False] * (len(found) - 1) + [True]
        assert figures(gateway.intake) == (1, 1, 0, 0)
        assert gateway.journal.commits == 1
        await gateway.age()
        await check_chain(gateway.store)


async def test_long_texts_are_divided_by_bytes(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        told: list[Record] = [(f"v{n}", None, chr(97 + n % 26) * limits.TEXT_BYTES) for n in range(40)]
        await gateway.emit([Sample("climate", told, bytes(limits.RAW_INLINE_BYTES))])
        found = await readings(gateway)
        assert [one.value for reading in found for one in reading.records] == [value for _, _, value in told]
        assert len(found) > 3
        assert all(len(pack) <= limits.PACK_BYTES for pack, _ in await stored(gateway))


@pytest.mark.parametrize(
    "bad",
    [
        [],
        [("temp", "Cel", math.nan)],
        [("temp", "Cel", math.inf)],
        [("temp", None, 2**53)],
        [("temp", None, "x" * (limits.TEXT_BYTES + 1))],
        [("temp", None, "\ud800")],
        [("no name", None, 1)],
        [("", None, 1)],
        [("raw", None, 1)],
        [("temp", "u" * (limits.UNIT_BYTES + 1), 1)],
        [("temp", None, bytes(limits.PACK_BYTES))],
        [*records(20), ("temp", None, math.nan)],
        [*records(100), ("temp", None, bytes(limits.PACK_BYTES))],
    ],
    ids=[
        "nothing",
        "nan",
        "infinity",
        "large integer",
        "long text",
        "surrogate",
        "bad name",
        "no name",
        "raw",
        "long unit",
        "large bytes",
        "one of many",
        "last of very many",
    ],
)
@pytest.mark.parametrize("raw", ["none", "apart"])
async def test_what_is_no_reading_is_rejected_whole(tmp_path: Path, bad: list[Record], raw: Any) -> None:
    """Nothing of it is stored, the reason and an example are kept, and the next message is not harmed."""
    async with pipeline(tmp_path) as gateway:
        if raw == "apart" and not bad:
            return  # a payload apart alone is a reading
        emit = gateway.intake.emitter("fake", {"climate": raw})
        await emit([Sample("climate", bad, b"x" * 600), sample(value=7)])
        assert values([pack for pack, _ in await stored(gateway)]) == [7]
        tally = gateway.intake.tallies["climate"]
        assert figures(gateway.intake) == (2, 1, 0, 1)
        assert tally.example is not None
        assert tally.example.example == b"x" * limits.EXAMPLE_BYTES
        assert tally.example.detail
        assert balanced(gateway.intake)


@pytest.mark.parametrize("source", ["Upper", "", "a/b", "x" * (limits.SOURCE_ID_BYTES + 1)])
async def test_a_source_that_is_no_id_is_rejected(tmp_path: Path, source: str) -> None:
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([sample(source)])
        assert await stored(gateway) == []
        assert figures(gateway.intake, source) == (1, 0, 0, 1)


async def test_rejects_are_counted_by_reason_with_the_last_example(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        for reason, payload in (("not_json", b"{"), ("not_json", b"}}"), ("too_long", b"y" * 5000)):
            await gateway.emit([Reject("climate", reason, payload, f"why {reason}")])
        tally = gateway.intake.tallies["climate"]
        assert tally.rejects == {"not_json": 2, "too_long": 1}
        assert tally.example == Reject("climate", "too_long", b"y" * limits.EXAMPLE_BYTES, "why too_long")
        assert figures(gateway.intake) == (3, 0, 0, 3)
        assert gateway.journal.commits == 0


async def test_no_payload_is_kept_for_the_page(tmp_path: Path) -> None:
    """Of thousands of sources, each with a large payload, only the values stay in memory."""
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([sample(payload=bytes(65_536))])
        assert not hasattr(gateway.intake.tallies["climate"].last, "payload")


# Redeliveries


async def test_a_redelivery_is_acknowledged_and_not_stored_again(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([sample(delivery=delivery())])
        for _ in range(3):
            await gateway.emit([sample(delivery=delivery(dup=True))])
        assert len(await stored(gateway)) == 1
        assert figures(gateway.intake) == (4, 1, 3, 0)


async def test_a_redelivery_of_what_still_waits(tmp_path: Path) -> None:
    async with pipeline(tmp_path, linger_s=3600) as gateway:
        gateway.emit([sample(delivery=delivery())])
        again = gateway.emit([sample(delivery=delivery(dup=True))])
        assert not again.done()
        await gateway.journal.commit()
        await again
        assert len(await stored(gateway)) == 1


async def test_a_redelivery_after_a_restart(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([sample(delivery=delivery(n)) for n in range(1, 6)])
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([sample(delivery=delivery(n, dup=True)) for n in range(1, 8)])
        assert figures(gateway.intake) == (7, 2, 5, 0)


@pytest.mark.nightly
async def test_an_identical_payload_one_cycle_later_is_stored(tmp_path: Path) -> None:
    """Invariant 2. The new message with the old packet id may be delivered again, too: that one is the redelivery."""
    async with pipeline(tmp_path, max_count=100_000, linger_s=3600) as gateway:
        gateway.emit([sample(value=1, delivery=delivery(1))])
        gateway.emit([sample("other", delivery=delivery(n, digest=b"%8d" % n)) for n in range(2, 65_536)])
        await gateway.journal.commit()
        gateway.emit([sample(value=2, delivery=delivery(1))])
        gateway.emit([sample(value=2, delivery=delivery(1, dup=True))])
        await gateway.journal.commit()
        assert [reading.records[0].value for reading in await readings(gateway)] == [1, 2]
        assert figures(gateway.intake) == (3, 2, 1, 0)


async def test_an_identical_message_under_a_packet_id_that_is_free_again_is_stored(tmp_path: Path) -> None:
    """A broker may use the lowest free packet id: only DUP makes a delivery a redelivery."""
    async with pipeline(tmp_path) as gateway:
        for _ in range(3):
            await gateway.emit([sample(delivery=delivery(1))])
        assert figures(gateway.intake) == (3, 3, 0, 0)


@pytest.mark.parametrize("restart", [False, True])
async def test_a_message_that_says_nothing_frees_its_packet_id_too(tmp_path: Path, restart: bool) -> None:
    """Else the identical payload that follows it under that packet id, its first copy lost, would be a redelivery."""
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([sample(value=1, delivery=delivery(1))])
        await gateway.emit([Heard(delivery(1, digest=b"learnt.."))])
        if not restart:
            await gateway.emit([sample(value=2, delivery=delivery(1, dup=True))])
            assert figures(gateway.intake) == (2, 2, 0, 0)
    if restart:
        async with pipeline(tmp_path) as gateway:
            await gateway.emit([sample(value=2, delivery=delivery(1, dup=True))])
            assert figures(gateway.intake) == (1, 1, 0, 0)


async def test_the_first_copy_was_lost_on_the_wire_one_cycle_later(tmp_path: Path) -> None:
    """DUP is set though we never saw it: the old key of that packet id is half a cycle old, and forgotten."""
    async with pipeline(tmp_path, max_count=100_000, linger_s=3600) as gateway:
        gateway.emit([sample(value=1, delivery=delivery(1))])
        gateway.emit([sample("other", delivery=delivery(n, digest=b"%8d" % n)) for n in range(2, 65_536)])
        gateway.emit([sample(value=2, delivery=delivery(1, dup=True))])
        await gateway.journal.commit()
        assert [reading.records[0].value for reading in await readings(gateway)] == [1, 2]


@pytest.mark.parametrize("restart", [False, True])
async def test_a_lost_session_makes_its_packet_ids_mean_something_else(tmp_path: Path, restart: bool) -> None:
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([sample(delivery=delivery()), sample(delivery=delivery(broker="other"))])
        await gateway.emit([SessionLost("local")])
        if not restart:
            await gateway.emit(
                [sample(delivery=delivery(dup=True)), sample(delivery=delivery(dup=True, broker="other"))]
            )
            assert figures(gateway.intake) == (4, 3, 1, 0)
    if restart:
        async with pipeline(tmp_path) as gateway:
            await gateway.emit(
                [sample(delivery=delivery(dup=True)), sample(delivery=delivery(dup=True, broker="other"))]
            )
            assert figures(gateway.intake) == (2, 1, 1, 0)


async def test_a_lost_session_is_written_at_once(tmp_path: Path) -> None:
    async with pipeline(tmp_path, linger_s=3600) as gateway:
        await gateway.emit([SessionLost("local")])
        assert gateway.journal.commits == 1


async def test_a_message_of_several_sources_is_one_delivery(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        for dup in (False, True):
            one = delivery(dup=dup)
            await gateway.emit([sample(source, delivery=one, shared=True) for source in ("a", "b", "c")])
        assert [figures(gateway.intake, source) for source in "abc"] == [(2, 1, 1, 0)] * 3


async def test_what_was_rejected_is_not_rejected_twice(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        bad = Sample("climate", [("temp", None, math.nan)], b"", delivery=delivery())
        await gateway.emit([bad])
        await gateway.emit([bad._replace(delivery=delivery(dup=True))])
        assert figures(gateway.intake) == (2, 0, 1, 1)


# Events


async def test_an_event_is_a_reading_of_the_gateway(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        await gateway.intake.event("clock-step", old=1.5, new=2.5, synchronised=True, boot="b")
        assert await events(gateway) == [
            {"event": "clock-step", "old": 1.5, "new": 2.5, "synchronised": True, "boot": "b"}
        ]
        (reading,) = await readings(gateway, OWN)
        assert (reading.raw, reading.raw_sha256) == (None, None)


async def test_a_clock_that_is_set_is_told_before_the_first_reading_with_the_new_time(tmp_path: Path) -> None:
    """So a reader can date the earlier ones, whatever came in one commit."""
    clock = FakeClock(1_400_000_000_000, synchronised=False)
    true_ms = START_MS - 1_400_000_000_000
    async with pipeline(tmp_path, clock=clock) as gateway:
        gateway.intake.event("start", **facts(clock))
        gateway.emit([sample(value=1)])
        clock.advance(5)
        gateway.emit([sample(value=2)])
        clock.jump(clock.ms - 3_600_000)  # somebody sets it, wrongly
        gateway.emit([sample(value=3)])
        clock.jump(START_MS + 5_000)
        clock.synchronised = True
        clock.advance(1)
        await gateway.emit([sample(value=4)])
        assert [event["event"] for event in await events(gateway)] == [
            "start",
            "clock-step",
            "clock-step",
            "clock-synchronised",
        ]
        step, again, synchronised = (await events(gateway))[1:]
        assert (step["old"], step["new"], step["offset"]) == (1_400_000_005, 1_399_996_405, -3600)
        assert (again["old"], again["new"]) == (1_399_996_405, START_MS / 1000 + 5)
        assert (synchronised["new"], synchronised["old"]) == (START_MS / 1000 + 6, 1_400_000_006)
        assert synchronised["offset"] == again["offset"] == true_ms / 1000
        assert (synchronised["boot"], synchronised["uptime"]) == (clock.boot_id, clock.mono)
        found = [
            one
            for one in dated([senml.resolve(pack) for pack, _ in await stored(gateway)])
            if one.reading.source == "climate"
        ]
        assert [one.reading.quality for one in found] == [1, 1, 1, 0]
        assert [one.true_ms for one in found] == [START_MS + ms for ms in (0, 5_000, 5_000, 6_000)]


async def test_each_synchronisation_is_told_and_none_at_a_start_that_is_synchronised(tmp_path: Path) -> None:
    clock = FakeClock()
    async with pipeline(tmp_path, clock=clock) as gateway:
        for synchronised in (True, False, False, True, True, False, True):
            clock.synchronised = synchronised
            await gateway.emit([sample()])
        assert [event["event"] for event in await events(gateway)] == ["clock-synchronised"] * 2


async def test_a_source_that_goes_and_comes_is_told_once_each(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        emit = gateway.intake.emitter("fake", {"a": "in", "b": "in"})
        for up in (True, True, False, False, True, True):
            await emit([Link(up, "cable", ("a",))])
        assert [(event["event"], event["source"]) for event in await events(gateway)] == [
            ("source-lost", "a"),
            ("source-back", "a"),
        ]
        assert gateway.intake.tallies["a"].up is True
        assert gateway.intake.tallies["b"].up is None


async def test_the_first_word_of_a_source_is_an_event_only_if_it_is_away(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        emit = gateway.intake.emitter("fake", {"a": "in", "b": "in"})
        await emit([Link(True, "up", ("a",)), Link(False, "no device", ("b",))])
        assert [(event["event"], event["source"], event["detail"]) for event in await events(gateway)] == [
            ("source-lost", "b", "no device")
        ]


async def test_a_link_of_no_sources_is_of_all_of_its_driver(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        first = gateway.intake.emitter("first", {"a": "in", "b": "in"})
        second = gateway.intake.emitter("second", {"c": "in"})
        await first([sample("wild"), Link(False, "x" * 5000)])
        await second([Link(True, "up")])
        tallies = gateway.intake.tallies
        assert {source: tally.up for source, tally in tallies.items()} == {
            OWN: None,
            "a": False,
            "b": False,
            "c": True,
            "wild": False,
        }
        assert sorted(event["source"] for event in await events(gateway)) == ["a", "b", "wild"]


async def test_order_within_a_source_is_kept(tmp_path: Path) -> None:
    async with pipeline(tmp_path, linger_s=0.001, max_count=7) as gateway:
        for n in range(100):
            gateway.emit([sample("a", n), sample("b", n)])
            if n % 9 == 0:
                await gateway.journal.commit()
        for source in "ab":
            assert [reading.records[0].value for reading in await readings(gateway, source)] == list(range(100))


# The balance


@st.composite
def _items(draw: st.DrawFn) -> Sequence[Item]:
    one = draw(st.sampled_from(["good", "good", "apart", "many", "bad", "reject", "link", "lost", "drop"]))
    source = draw(st.sampled_from(["a", "b"]))
    sent = draw(st.none() | st.builds(delivery, st.integers(1, 3), dup=st.booleans()))
    if one == "reject":
        return [Reject(source, "not_json", b"{")]
    if one == "drop":
        return [Dropped(source, draw(st.integers(1, 3)), "no_room")]
    if one == "link":
        return [Link(draw(st.booleans()), "cable", (source,))]
    if one == "lost":
        return [SessionLost("local")]
    told: list[Record] = {"bad": [("x", None, math.nan)], "many": records(100)}.get(one, [("x", None, 1)])
    payload = bytes(5000 if one == "apart" else 5)
    return [Sample(name, told, payload, delivery=sent) for name in draw(st.sampled_from([source, "ab"]))]


@settings(max_examples=40, deadline=None)
@given(told=st.lists(st.tuples(_items(), st.sampled_from(["", "", "turn", "commit"])), max_size=20))
def test_every_message_is_counted_once_at_every_moment(
    tmp_path_factory: pytest.TempPathFactory, told: list[tuple[Sequence[Item], str]]
) -> None:
    folder = tmp_path_factory.mktemp("balance")

    async def run() -> None:
        async with pipeline(folder, linger_s=0.0, windows={"local": 4}, max_count=5) as gateway:
            intake = gateway.intake
            arrived = 0
            for items, then in told:
                arrived += sum(item.messages if isinstance(item, Dropped) else 1 for item in items)
                arrived -= sum(isinstance(item, Link | SessionLost) for item in items)
                future = gateway.emit(items)
                future.add_done_callback(lambda _: checks.append(balanced(intake)))
                assert balanced(intake)
                if then == "turn":
                    await asyncio.sleep(0)
                    assert balanced(intake)
                if then == "commit":
                    await gateway.journal.commit()
            await gateway.journal.commit()
            await until(lambda: len(checks) == len(told))
            assert all(checks)
            await until(lambda: not any(intake.waiting(source) for source in intake.tallies))  # drops are told later
            assert balanced(intake)
            assert sum(tally.arrived for source, tally in intake.tallies.items() if source != OWN) == arrived
            kept = [senml.resolve(pack).source for pack, _ in await stored(gateway)]
            for source, tally in intake.tallies.items():
                assert tally.stored <= kept.count(source)
                assert (tally.stored == 0) == (source not in kept)

    checks: list[bool] = []
    asyncio.run(run())


# What a start finds


QUIET = [Delivery("quiet", n, bytes(8), True) for n in range(1, 6)]


async def _known_after_a_start(data_dir: Path, windows: dict[str, int]) -> int:
    """How many of the quiet broker's deliveries a new life still knows."""
    async with pipeline(data_dir, linger_s=0.0, windows=windows) as gateway:
        await gateway.emit([sample(value=0, delivery=one) for one in QUIET])
        return gateway.intake.tallies["climate"].duplicate


async def _other_rows(gateway: Pipeline, other: str, life: int, rows: int) -> None:
    for number in range(rows):
        busy = Delivery("b" * 32, life * rows + number + 1, bytes(8), False)
        if other == "lost":
            await gateway.emit([SessionLost("b" * 32)])
        elif other == "gateway":
            await gateway.intake.event("clock-step")
        else:
            await gateway.emit([sample(value=0, delivery=busy if other == "keys" else None)])


@pytest.mark.parametrize("other", ["keys", "readings", "lost", "gateway"])
async def test_a_quiet_brokers_keys_are_found_behind_any_number_of_other_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """And each start reads a bounded number of rows, however long the journal is."""
    monkeypatch.setattr(limits, "REDELIVERY_KEYS", 16)
    monkeypatch.setattr(limits, "SNAPSHOT_KEYS", 64)
    monkeypatch.setattr(limits, "SNAPSHOT_ROWS", 40)
    windows = {"quiet": 20, "b" * 32: 20}
    fetched: list[int] = []
    plain = Database.read

    async def counting(self: Database, sql: str, params: Params = ()) -> list[Row]:
        rows = await plain(self, sql, params)
        fetched.append(sum(row[-1] is not None for row in rows) if "keys" in sql else 0)
        return rows

    monkeypatch.setattr(Database, "read", counting)
    for life in range(4):
        fetched.clear()
        async with pipeline(tmp_path, linger_s=0.0, windows=windows, max_count=1000) as gateway:
            assert sum(fetched) <= 40 + 64  # a page more than there can be since a snapshot
            assert gateway.intake._seen.rows <= 40 + 1  # that SQLite has looked at
            if life == 0:
                await gateway.emit([sample(value=n, delivery=d._replace(dup=False)) for n, d in enumerate(QUIET)])
            await _other_rows(gateway, other, life, 70)
    assert await _known_after_a_start(tmp_path, windows) == 5


async def test_rows_older_than_a_snapshot_that_was_asked_for_may_go(tmp_path: Path) -> None:
    windows = {"quiet": 20}
    async with pipeline(tmp_path, linger_s=3600, windows=windows) as gateway:
        gateway.emit([sample(value=n, delivery=d._replace(dup=False)) for n, d in enumerate(QUIET[:3])])
        await gateway.journal.commit()
        gateway.emit([sample(value=n, delivery=d._replace(dup=False)) for n, d in enumerate(QUIET[3:])])
        await gateway.intake.keep_keys()
        ((newest,),) = await gateway.store.db.read("SELECT max(row) FROM journal")
        await gateway.store.db.transact([("DELETE FROM journal WHERE row<?", (newest,))])
    assert await _known_after_a_start(tmp_path, windows) == 5


async def test_whoever_gives_up_waiting_for_a_snapshot_takes_it_from_nobody(tmp_path: Path) -> None:
    async with pipeline(tmp_path, linger_s=3600) as gateway:
        gateway.intake.keep_keys().cancel()
        await gateway.journal.commit()
        rows = await gateway.store.db.read("SELECT keys FROM journal")
        assert [is_snapshot(keys) for (keys,) in rows] == [True]


@pytest.mark.parametrize("before", [False, True])
async def test_a_lost_session_stays_lost_over_a_snapshot(tmp_path: Path, before: bool) -> None:
    """Whether the snapshot comes before the loss, or after it."""
    windows = {"quiet": 20}
    async with pipeline(tmp_path, linger_s=0.0, windows=windows) as gateway:
        await gateway.emit([sample(value=n, delivery=d._replace(dup=False)) for n, d in enumerate(QUIET)])
        if before:
            await gateway.intake.keep_keys()
        gateway.emit([SessionLost("quiet")])
        gateway.emit([sample(value=9, delivery=QUIET[0]._replace(dup=False))])
        if not before:
            await gateway.intake.keep_keys()
        await gateway.journal.commit()
    assert await _known_after_a_start(tmp_path, windows) == 1


async def test_a_journal_without_a_snapshot_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And gets one with its first commit where it is long."""
    windows = {"quiet": 20}
    async with pipeline(tmp_path, linger_s=0.0, windows=windows) as gateway:
        await gateway.emit([sample(value=n, delivery=d._replace(dup=False)) for n, d in enumerate(QUIET)])
        for _ in range(100):
            await gateway.emit([sample()])
    monkeypatch.setattr(limits, "SNAPSHOT_ROWS", 100)
    assert await _known_after_a_start(tmp_path, windows) == 5
    async with pipeline(tmp_path, linger_s=0.0, windows=windows) as gateway:
        rows = await gateway.store.db.read("SELECT keys FROM journal WHERE keys IS NOT NULL ORDER BY row")
        assert [is_snapshot(keys) for (keys,) in rows] == [False, True]


async def test_a_rejected_message_takes_its_packet_id_over(tmp_path: Path) -> None:
    """Packet id 1 with A stored, with B rejected, with A again whose first copy was lost: A is stored twice."""
    async with pipeline(tmp_path) as gateway:
        first, other = delivery(1, digest=b"A" * 8), delivery(1, digest=b"B" * 8)
        await gateway.emit([sample(delivery=first)])
        await gateway.emit([Reject("climate", "invalid_json", b"{", delivery=other)])
        await gateway.emit([sample(delivery=first._replace(dup=True))])
        assert figures(gateway.intake) == (3, 2, 0, 1)


# Sources that come and go


async def test_a_source_goes_on_counting_when_its_driver_is_made_anew(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        emit = gateway.intake.emitter("d", {"climate": "in"})
        waiting = emit([sample(), Reject("climate", "bad", b"x")])
        again = gateway.intake.emitter("d", {"climate": "none", "more": "in"})
        done = again([sample(value=2.0)])
        await asyncio.gather(waiting, done)
        assert figures(gateway.intake) == (3, 2, 0, 1)
        assert balanced(gateway.intake)
        assert [reading.raw is None for reading in await readings(gateway)] == [False, True]
        assert set(gateway.intake.tallies) == {OWN, "climate", "more"}


async def test_a_removed_source_is_counted_until_nothing_of_it_waits(tmp_path: Path) -> None:
    async with pipeline(tmp_path, linger_s=3600) as gateway:
        emit = gateway.intake.emitter("d", {"climate": "in", "stays": "in"})
        emit([sample("climate"), sample("stays"), Reject("d", "unknown_topic", b"")])
        gateway.intake.change_sources("d", {"stays": "in"})
        assert set(gateway.intake.tallies) == {OWN, "d", "climate", "stays"}
        assert balanced(gateway.intake)
        await gateway.journal.commit()
        assert set(gateway.intake.tallies) == {OWN, "d", "stays"}
        gateway.intake.remove_driver("d")
        assert set(gateway.intake.tallies) == {OWN}
        assert len(await readings(gateway)) == len(await readings(gateway, "stays")) == 1


async def test_a_source_that_comes_back_while_it_leaves_stays(tmp_path: Path) -> None:
    async with pipeline(tmp_path, linger_s=3600) as gateway:
        gateway.intake.emitter("d", {"climate": "in"})([sample()])
        gateway.intake.remove_driver("d")
        gateway.intake.emitter("other", {"climate": "in"})
        await gateway.journal.commit()
        assert figures(gateway.intake) == (1, 1, 0, 0)
        gateway.intake.remove_driver("d")  # it is another's by now
        assert set(gateway.intake.tallies) == {OWN, "climate"}


async def test_sources_that_a_driver_named_leave_with_the_one_that_named_them(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        parents = {"a-1": "a", "b-1": "b"}
        emit = gateway.intake.emitter("d", {"a": "in", "b": "none"}, parents)
        await emit([sample("a-1"), sample("b-1")])
        assert gateway.intake.tallies["b-1"].raw == "none"
        del parents["a-1"]
        gateway.intake.change_sources("d", {"b": "none"})
        assert set(gateway.intake.tallies) == {OWN, "b", "b-1"}


async def test_what_comes_after_all_of_a_removed_source_is_counted(tmp_path: Path) -> None:
    """A driver that does not end when it is told to."""
    async with pipeline(tmp_path) as gateway:
        emit = gateway.intake.emitter("d", {"climate": "in"})
        gateway.intake.remove_driver("d")
        assert set(gateway.intake.tallies) == {OWN}
        await emit([sample(), Dropped("climate", 2, "no_room")])
        assert figures(gateway.intake) == (3, 1, 0, 0)
        assert balanced(gateway.intake)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(["emit", "change", "remove", "make", "commit"]), st.integers(0, 7)), max_size=20)
)
async def test_counts_add_up_whatever_comes_and_goes(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """Sources a, b and c of one driver, as bits of a number: only those with something on its way outlive a removal."""
    async with pipeline(tmp_path_factory.mktemp("g"), linger_s=3600) as gateway:
        intake = gateway.intake
        emit = intake.emitter("d", {"a": "in"})
        given, sent = {"a"}, 0
        for what, number in steps:
            chosen = {name for bit, name in enumerate("abc") if number >> bit & 1}
            if what == "emit":
                names = sorted(chosen & given)
                sent += len(names)
                if names:
                    emit([sample(name) for name in names])
            elif what == "commit":
                await gateway.journal.commit()
            elif what == "remove":
                intake.remove_driver("d")
                given = set()
            elif what == "make" or not given:
                emit, given = intake.emitter("d", dict.fromkeys(chosen, "in")), chosen
            else:
                intake.change_sources("d", dict.fromkeys(given | chosen, "in"))
                intake.change_sources("d", dict.fromkeys(chosen, "in"))
                given = chosen
            assert balanced(intake)
            assert given <= set(intake.tallies) - {OWN, "d"}
            assert all(intake.waiting(name) for name in set(intake.tallies) - given - {OWN, "d"})
        await gateway.journal.commit()
        assert set(intake.tallies) - {"d"} == given | {OWN}
        assert len(await stored(gateway)) == sent


async def test_events_by_the_hundred_take_turns(tmp_path: Path) -> None:
    async with pipeline(tmp_path, linger_s=3600) as gateway:
        gateway.intake.events("source-removed", ({"source": f"s{n}"} for n in range(300)))
        assert gateway.intake.waiting(OWN) == limits.OWN_EVENTS_A_TURN
        await until(lambda: gateway.intake.waiting(OWN) == 300)
        told = await events(gateway)
        assert [one["source"] for one in told] == [f"s{n}" for n in range(300)]


async def test_another_window_of_a_broker_counts_from_now_on(tmp_path: Path) -> None:
    def messages(first: int, count: int) -> list[Item]:
        return [sample(delivery=delivery(first + n)) for n in range(count)]

    async with pipeline(tmp_path, linger_s=3600, windows={"local": 3, "other": 3}) as gateway:
        await gateway.running(gateway.emit(messages(1, 3)))
        gateway.intake.change_windows({"local": 5})
        waiting = gateway.emit(messages(10, 3))
        await asyncio.sleep(0.05)
        assert not waiting.done(), "the broker sends more before it waits"
        await gateway.running(gateway.emit(messages(20, 2)))
