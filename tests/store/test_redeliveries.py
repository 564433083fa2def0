"""Invariant 2: which deliveries are known, in memory and read back from the journal's rows."""

from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivers.api import Delivery
from gateway.core import limits
from gateway.store.redeliveries import Redeliveries, decode_keys, encode_keys

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


@given(rows=st.lists(events, max_size=6), later=events, most=st.integers(1, 7))
@example(rows=[[delivery(1)], ["local"], [delivery(2)]], later=[], most=7)
@example(rows=[[delivery(1), "local", delivery(1, 2)]], later=[], most=7)
def test_what_is_read_back_is_what_was_in_memory(rows: list[list[Event]], later: list[Event], most: int) -> None:
    """And stays so with whatever comes afterwards: the order of forgetting is read back, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "REDELIVERY_KEYS", most)
        written = [encode_keys(row) for row in rows]
        back = Redeliveries()
        back.load([keys for keys in reversed(written) if keys is not None])
        told = [event for row in rows for event in row]
        assert knows(back) == known(told, most)
        assert knows(take(back, later)) == known(told + later, most)


@given(told=events)
def test_keys_come_back_as_they_were_written(told: list[Event]) -> None:
    back: list[tuple[str, int | None, bytes]] = []
    for broker, keys in decode_keys(encode_keys(told) or b""):
        back += [(broker, *key) for key in keys] or [(broker, None, b"")]
    assert back == [
        (event, None, b"") if isinstance(event, str) else (event.broker, event.packet_id, event.digest)
        for event in told
    ]


def test_no_keys_are_no_bytes() -> None:
    assert encode_keys([]) is None


def test_a_run_longer_than_its_count_is_divided() -> None:
    told = [delivery(n % 65_535 + 1, n) for n in range(65_537)]
    runs = list(decode_keys(encode_keys(told) or b""))
    assert [len(keys) for _, keys in runs] == [65_535, 2]
    assert runs[1][1][-1] == (2, told[-1].digest)


@settings(max_examples=3)
@given(extra=st.integers(0, 2))
def test_the_limit_is_32_768(extra: int) -> None:
    seen = take(Redeliveries(), (delivery(n) for n in range(1, 32_768 + extra + 1)))
    assert [seen.knows(delivery(n)) for n in range(1, 4)] == [n > extra for n in range(1, 4)]
    assert seen.knows(delivery(32_768 + extra))
    back = Redeliveries()
    back.load([encode_keys([delivery(n) for n in range(1, 32_768 + extra + 1)]) or b""])
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
