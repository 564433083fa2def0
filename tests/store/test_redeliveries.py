"""Invariant 2: which deliveries are known, in memory and read back from the journal's rows."""

from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivers.api import Delivery
from gateway.core import limits
from gateway.store.redeliveries import Keys, Redeliveries, decode_keys, is_snapshot, key_of

BROKERS = ("local", "b", "x" * 32)
Event = Delivery | str


def delivery(packet_id: int, payload: int = 0, broker: str = "local") -> Delivery:
    return Delivery(broker, packet_id, payload.to_bytes(8, "big"), True)


deliveries = st.builds(delivery, st.integers(1, 6), st.integers(0, 2), st.sampled_from(BROKERS))
events = st.lists(st.one_of(deliveries, st.sampled_from(BROKERS)), max_size=40)


def take(seen: Redeliveries, told: Iterable[Event]) -> Redeliveries:
    for event in told:
        if isinstance(event, str):
            seen.forget(event)
        else:
            seen.add(event)
    return seen


def written(told: Iterable[Event], snapshot: bytes = b"") -> bytes | None:
    """The `keys` of a row, as intake has them made."""
    keys = Keys()
    if snapshot:
        keys.stand_on(snapshot)
    for event in told:
        if isinstance(event, str):
            keys.lost(event)
        else:
            keys.add(event.broker, key_of(event))
    return keys.encoded()


def read_back(rows: Iterable[bytes | None]) -> Redeliveries:
    seen = Redeliveries()
    for row in rows:
        if row is not None:
            seen.replay(row)
    return seen


def known(told: list[Event], most: int) -> set[tuple[str, int, bytes]]:
    """The rule, plainly: the newest of each packet id since the session began, and the newest `most` of those."""
    out = set()
    for broker in BROKERS:
        newest: list[tuple[int, bytes]] = []
        for event in reversed(told):
            if event == broker:
                break
            if isinstance(event, Delivery) and event.broker == broker and event.packet_id not in dict(newest):
                newest.append((event.packet_id, event.digest))
        out |= {(broker, *key) for key in newest[:most]}
    return out


def knows(seen: Redeliveries) -> set[tuple[str, int, bytes]]:
    every = (delivery(p, d, b) for p in range(8) for d in range(4) for b in BROKERS)
    return {(one.broker, one.packet_id, one.digest) for one in every if seen.knows(one)}


@given(told=events, most=st.integers(1, 7))
def test_the_newest_of_each_packet_id_is_known(told: list[Event], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "REDELIVERY_KEYS", most)
        assert knows(take(Redeliveries(), told)) == known(told, most)


@given(rows=st.lists(events, max_size=6), later=events, most=st.integers(1, 7), at=st.integers(0, 6))
@example(rows=[[delivery(1)], ["local"], [delivery(2)]], later=[], most=7, at=6)
@example(rows=[[delivery(1), "local", delivery(1, 2)]], later=[], most=7, at=6)
@example(rows=[[delivery(1)], ["local"], [delivery(2)]], later=[], most=7, at=2)
def test_what_is_read_back_is_what_was_in_memory(
    rows: list[list[Event]], later: list[Event], most: int, at: int
) -> None:
    """From a snapshot on, too; and it stays so with whatever comes later: the order of forgetting is read back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "REDELIVERY_KEYS", most)
        live, made = Redeliveries(), list[bytes | None]()
        for number, row in enumerate(rows):
            snapshot = live.snapshot() if number == at else b""
            made.append(written(row, snapshot))
            take(live, row)
        told = [event for row in rows for event in row]
        back = read_back(made[at:] if at < len(rows) else made)
        assert knows(back) == knows(live) == known(told, most)
        assert knows(take(back, later)) == known(told + later, most)


@given(told=events, then=events, most=st.integers(1, 7))
def test_a_snapshot_voids_what_is_older_and_has_what_the_row_had_before(
    told: list[Event], then: list[Event], most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "REDELIVERY_KEYS", most)
        live = take(Redeliveries(), told)
        row = written(then, live.snapshot()) or b""
        assert is_snapshot(row)
        stale = [written([delivery(n, 2, broker)]) for broker in BROKERS for n in range(1, 7)]
        assert knows(read_back([*stale, row])) == known(told + then, most)


@given(told=events)
def test_keys_come_back_as_they_were_written(told: list[Event]) -> None:
    """Of each broker in its order; of a lost session the mark, and what came after it."""
    back: dict[str, list[bytes | None]] = {broker: [] for broker in BROKERS}
    for broker, keys in decode_keys(written(told) or b""):
        back[broker] += keys or [None]
    wanted: dict[str, list[bytes | None]] = {broker: [] for broker in BROKERS}
    for event in told:
        if isinstance(event, str):
            wanted[event] = [None]
        else:
            wanted[event.broker].append(key_of(event))
    assert back == wanted


def test_no_keys_are_no_bytes() -> None:
    assert not Keys()
    assert written([]) is None


def test_a_run_longer_than_its_count_is_divided() -> None:
    told = [delivery(n % 65_535 + 1, n) for n in range(65_537)]
    runs = list(decode_keys(written(told) or b""))
    assert [len(keys) for _, keys in runs] == [65_535, 2]
    assert runs[1][1][-1] == key_of(told[-1]) == b"\0\2" + told[-1].digest


def test_a_snapshot_falls_due_by_keys_and_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SNAPSHOT_KEYS", 3)
    monkeypatch.setattr(limits, "SNAPSHOT_ROWS", 2)
    seen = Redeliveries()
    due = []
    for number in range(1, 4):
        seen.add(delivery(number))
        due.append(seen.snapshot_due())
    row = seen.snapshot()
    due.append(seen.snapshot_due())
    seen.rows += 1
    due.append(seen.snapshot_due())
    seen.rows += 1
    due.append(seen.snapshot_due())
    assert due == [False, False, True, False, False, True]
    assert not read_back([row]).snapshot_due()
    assert read_back([row, written([delivery(n) for n in (1, 2, 3)])]).snapshot_due()


def test_of_brokers_that_are_configured_no_more_a_few_are_remembered() -> None:
    seen = take(Redeliveries(), [delivery(1, broker=f"b{n}") for n in range(limits.FORMER_BROKERS + 3)])
    seen.let_go({"b0"})
    kept = [n for n in range(limits.FORMER_BROKERS + 3) if seen.knows(delivery(1, broker=f"b{n}"))]
    assert kept == [0, *range(3, limits.FORMER_BROKERS + 3)]


@settings(max_examples=3, deadline=None)
@given(extra=st.integers(0, 2))
def test_the_limit_is_32_768(extra: int) -> None:
    seen = take(Redeliveries(), (delivery(n) for n in range(1, 32_768 + extra + 1)))
    assert [seen.knows(delivery(n)) for n in range(1, 4)] == [n > extra for n in range(1, 4)]
    assert seen.knows(delivery(32_768 + extra))
    back = read_back([written(delivery(n) for n in range(1, 32_768 + extra + 1))])
    assert [back.knows(delivery(n)) for n in range(1, 4)] == [n > extra for n in range(1, 4)]


def test_the_limit_is_for_each_broker() -> None:
    seen = take(Redeliveries(), [delivery(1, broker="b"), *(delivery(n) for n in range(1, 40_000))])
    assert seen.knows(delivery(1, broker="b"))


def test_a_packet_id_used_again_is_young_again() -> None:
    seen = take(
        Redeliveries(), [delivery(1), *(delivery(n) for n in range(2, 32_769)), delivery(1, 5), delivery(40_000)]
    )
    assert seen.knows(delivery(1, 5))
    assert not seen.knows(delivery(1))
    assert not seen.knows(delivery(2))


def test_another_payload_under_the_same_packet_id_is_unknown() -> None:
    seen = take(Redeliveries(), [delivery(7, 1)])
    assert not seen.knows(delivery(7, 2))
    assert not seen.knows(delivery(8, 1))
    assert not seen.knows(delivery(7, 1, "b"))
