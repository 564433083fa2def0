"""Receipts out of a real store, checked by the offline verifier."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import evm_blocks
from fakes.filled_store import make_store, publish
from fakes.log_maker import START_MS, LogMaker, signer

from gateway.core import block, cbor, limits, merkle, note, senml
from gateway.core.anchor import Statement, parse_pins
from gateway.core.anchor_row import ANCHORED, AnchorRow
from gateway.core.note import COSIGNATURE, format_line
from gateway.core.policy import make_policy, parse_policy
from gateway.core.receipt import parse_receipt
from gateway.errors import NotFoundError, StoreError
from gateway.keys import cosign
from gateway.store import Store
from gateway.store.receipts import build_receipt
from gateway.verify import verify_receipt

A, B, C = (signer(f"{name}.example", COSIGNATURE) for name in "abc")


@pytest.fixture
def log() -> LogMaker:
    return LogMaker().add(4, readings=4)


@pytest.fixture
async def store(tmp_path: Path, log: LogMaker) -> AsyncIterator[Store]:
    made = await make_store(tmp_path / "gateway", log)
    yield made
    await made.close()


async def cosigned(store: Store, *by) -> None:
    """These co-sign the log as it stands."""
    size, text = await store.blocks.note()  # type: ignore[misc]
    for one in by:
        line = format_line(cosign(one, note.parse_note(text).text, 1_800_000_000 + size))
        await store.cosigned.save(one.vkey.name, "seen", size, text, line)


def policy(log: LogMaker, *keys, quorum: str | int = "all") -> bytes:
    return make_policy([log.signer.vkey], [key.vkey for key in keys], quorum)


async def test_the_smallest_size_that_meets_the_policy(store: Store, log: LogMaker) -> None:
    for signers in ((A,), (A, B), (A, B, C)):
        await cosigned(store, *signers)
        await publish(store, log.add(1, readings=4))
    for asked, size in (((A,), 4), ((B,), 5), ((A, B), 5), ((C,), 6), ((A, B, C), 6)):
        wanted = policy(log, *asked)
        receipt = await build_receipt(store, "s-0", START_MS, parse_policy(wanted))
        verified = verify_receipt(receipt.encode(), wanted)
        assert verified.checkpoint.size == size
        assert verified.earliest == 1_800_000_000 + size
    any_two = policy(log, A, B, C, quorum=2)
    receipt = await build_receipt(store, "s-0", START_MS, parse_policy(any_two))
    assert verify_receipt(receipt.encode(), any_two).checkpoint.size == 5


async def test_what_is_not_there_yet_says_what_to_wait_for(store: Store, log: LogMaker) -> None:
    with pytest.raises(NotFoundError, match="no sealed reading of s-9") as caught:
        await build_receipt(store, "s-9", START_MS)
    assert caught.value.cure
    with pytest.raises(NotFoundError, match="no sealed reading"):
        await build_receipt(store, "s-0", START_MS - 1)
    with pytest.raises(NotFoundError, match="no node has co-signed block 0 yet") as caught:
        await build_receipt(store, "s-0", START_MS)
    assert caught.value.cure
    await cosigned(store, A)
    with pytest.raises(NotFoundError, match=r"not yet as the policy asks: 2 of a.example, b.example"):
        await build_receipt(store, "s-0", START_MS, parse_policy(policy(log, A, B)))


async def test_many_lines_leave_room_for_those_that_are_asked_for(store: Store, log: LogMaker) -> None:
    crowd = [signer(f"n{number:02}.example", COSIGNATURE) for number in range(20)]
    await cosigned(store, *crowd)
    wanted = policy(log, *crowd[-15:])
    receipt = await build_receipt(store, "s-0", START_MS, parse_policy(wanted))
    assert len(note.parse_note(receipt.split("\n\n", 1)[1]).lines) == limits.RECEIPT_COSIGNATURES
    assert verify_receipt(receipt.encode(), wanted)
    with pytest.raises(NotFoundError):
        await build_receipt(store, "s-0", START_MS, parse_policy(policy(log, *crowd[-16:])))


@pytest.mark.parametrize(("size", "kept"), [(5_000, True), (limits.RECEIPT_BYTES, False)])
async def test_a_payload_apart_goes_with_it_where_there_is_room(
    store: Store, log: LogMaker, size: int, kept: bool
) -> None:
    import hashlib

    payload = bytes(size)
    secret = hashlib.sha256(f"{log.origin} {log.tree} {log.size}".encode()).digest()  # as LogMaker makes it
    digest = block.payload_digest(block.raw_salt(secret, 0), payload)
    log.append([(senml.with_digest("gps", [], bt_ms=START_MS, raw_sha256=digest), payload)])
    await publish(store, log)
    await cosigned(store, A)
    receipt = await build_receipt(store, "gps", START_MS)
    verified = verify_receipt(receipt.encode(), policy(log, A))
    assert verified.payload == (payload if kept else None)


@pytest.mark.parametrize("readings", [1, 511, 512, 513, 1500])
async def test_places_in_large_blocks(store: Store, log: LogMaker, readings: int) -> None:
    await publish(store, log.add(readings=readings, sources=1))
    await cosigned(store, A)
    wanted = policy(log, A)
    begin = START_MS + 4 * readings * 1000  # as LogMaker dates them
    for index in {0, readings // 2, readings - 1}:
        receipt = await build_receipt(store, "s-0", begin + index * 1000 + 999)
        verified = verify_receipt(receipt.encode(), wanted)
        assert (verified.header.height, verified.index) == (4, index)


async def test_erased_readings(store: Store) -> None:
    await cosigned(store, A)
    await store.db.transact([("UPDATE block SET secret=NULL WHERE height=0", ())])
    with pytest.raises(NotFoundError, match="not here any more"):
        await build_receipt(store, "s-0", START_MS)


async def test_a_store_that_is_not_what_was_signed(store: Store) -> None:
    await cosigned(store, A)
    await store.db.transact([("UPDATE block SET secret=zeroblob(32) WHERE height=0", ())])
    with pytest.raises(StoreError, match="do not lead to its signed root"):
        await build_receipt(store, "s-0", START_MS)


# -- anchors ----------------------------------------------------------------------------------------------------------


async def anchor(store: Store, log: LogMaker, size: int, name: str = "spartan", number: int = 1_000) -> str:
    """The log is anchored at that size; the pin of its block."""
    root = merkle.root([merkle.leaf_hash(entry) for entry in log.entries[:size]])
    statement = Statement.of(store.vkey.name, size, root)
    first, *_ = evm_blocks.headers(statement, number)
    evidence = cbor.encode(evm_blocks.evidence(statement, number))
    row = AnchorRow(name, size, root, "evm", "9090", size, ANCHORED, over=True, evidence=evidence, time_s=first.time_s)
    await store.anchors.save(row)
    return evm_blocks.pin(first)


async def test_a_receipt_has_the_earliest_anchor_of_each_chain(store: Store, log: LogMaker) -> None:
    await cosigned(store, A)
    await anchor(store, log, 1, number=900)  # too early for block 1
    pin, pin_of_other = await anchor(store, log, 2), await anchor(store, log, 3, "wuhan", number=2_000)
    await anchor(store, log, 4, number=3_000)
    for height in range(4):
        made = await receipt_of_block(store, height)
        wanted = [size for size in ({0: 1, 1: 2}.get(height, 4), 3) if size > height]
        found = verify_receipt(made, make_policy([store.vkey], [A.vkey]))
        assert sorted(one.size for one, _ in found.anchors) == sorted(wanted)
    proven = verify_receipt(
        await receipt_of_block(store, 1), make_policy([store.vkey], [A.vkey]), parse_pins(pin.encode())
    )
    assert [place.by for _, place in proven.anchors if place] == ["the pinned block 1000", ""]
    assert verify_receipt(
        await receipt_of_block(store, 2), make_policy([store.vkey]), parse_pins(pin_of_other.encode())
    )


async def receipt_of_block(store: Store, height: int) -> bytes:
    """Of the block's last reading."""
    reading = senml.resolve([pack async for pack, _ in store.blocks.items(height)][-1])
    receipt = (await build_receipt(store, reading.source, reading.time_ms)).encode()
    assert parse_receipt(receipt).log_index == height
    return receipt


async def test_an_anchor_that_the_tree_does_not_lead_to_is_left_out(store: Store, log: LogMaker) -> None:
    await cosigned(store, A)
    await anchor(store, log, 4)
    (row,) = await store.anchors.listed(9)
    await store.anchors.save(replace(row, root=bytes(32)))
    assert parse_receipt(await receipt_of_block(store, 2)).anchors == ()


async def test_anchors_that_do_not_fit_are_left_out(
    store: Store, log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cosigned(store, A)
    for number, name in enumerate("abc"):
        await anchor(store, log, 4, name, number=1_000 * (number + 1))
    whole = await receipt_of_block(store, 2)
    assert len(parse_receipt(whole).anchors) == 3
    monkeypatch.setattr("gateway.core.receipt.RECEIPT_BYTES", len(whole) - 1)
    assert len(parse_receipt(await receipt_of_block(store, 2)).anchors) == 2
