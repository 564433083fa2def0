"""What is kept for `fieldgate logs` is bounded, and whoever reads on misses nothing in silence."""

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.core import limits
from gateway.logs.ring import Ring
from gateway.logs.told import Told


def fill(ring: Ring, count: int, text: str = "x") -> None:
    for _ in range(count):
        ring.add(1, "INFO", "gateway.app", text)


def test_it_is_bounded_in_number() -> None:
    ring = Ring()
    fill(ring, limits.RING_RECORDS)
    assert len(ring.after(0)["records"]) == limits.RING_RECORDS
    assert ring.after(0)["lost"] == 0
    fill(ring, 1)
    assert len(ring.after(0)["records"]) == limits.RING_RECORDS
    assert ring.after(0)["lost"] == 1
    assert ring.after(1)["lost"] == 0


def test_it_is_bounded_in_bytes() -> None:
    """The most that a text may take, in characters of four bytes each."""
    ring = Ring()
    fill(ring, limits.RING_RECORDS, "\N{SHEEP}" * 10_000)
    kept = ring.after(0)["records"]
    assert kept
    assert sum(len(one["text"].encode()) for one in kept) <= limits.RING_BYTES
    assert {len(one["text"]) for one in kept} == {limits.RING_TEXT_CHARS}


def test_a_condition_is_told_apart() -> None:
    ring = Ring()
    ring.add(
        1, "ERROR", "gateway.watch", "Source climate is away", Told("source-away", "error", "climate", "", True, {})
    )
    ring.add(2, "INFO", "gateway.app", "stopping")
    first, second = json.loads(json.dumps(ring.after(0)))["records"]
    assert (first["condition"], first["subject"], first["holds"]) == ("source-away", "climate", True)
    assert (second["condition"], second["subject"], second["holds"]) == ("", "", None)


@given(st.lists(st.integers(0, 700), max_size=8))
def test_a_reader_who_follows_sees_each_record_once_or_knows_how_many_went_by(bursts: list[int]) -> None:
    ring, seen, lost, after = Ring(), [], 0, 0
    for burst in bursts:
        fill(ring, burst)
        told = ring.after(after)
        seen += [one["number"] for one in told["records"]]
        lost += told["lost"]
        after = told["last"]
    assert seen == sorted(set(seen))
    assert len(seen) + lost == sum(bursts)
