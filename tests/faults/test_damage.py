"""Flipped bits, lost pages and cut-off ends in each file of a store: found and told, harmless to what is sound and to
the log, and mended from a node.

More seeds run at night; one that fails is in the message.
"""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes import damaged
from fakes.damaged import A_BLOCK, DATABASE, SEALED, SIGN_STATE, Truth
from fakes.gateway_store import Pipeline, sample, signer, until
from fakes.recorder import Recorder

from gateway import recover
from gateway.core import block as cose
from gateway.core.senml import resolve
from gateway.errors import FieldgateError, HeldError, StoreError
from gateway.scrub import Report, Walk, newest
from gateway.store import Store, wal

SEEDS = [*range(40), *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(40, 1_500))]
WAL = f"{DATABASE}-wal"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    """A closed store, and what it holds."""
    folder = tmp_path_factory.mktemp("damage") / "good"
    folder.mkdir()
    truth = asyncio.run(damaged.make(folder))
    assert len(truth.entries) == SEALED
    assert len(truth.unsealed) >= 3
    return folder, truth


async def checked(folder: Path) -> Report:
    """As `verify --store` does it."""
    report = Report()
    unread = await asyncio.to_thread(wal.damage_at_rest, folder)
    try:
        store = await Store.open(folder, read_only=True)
    except FieldgateError as error:
        report.fault(0, str(error))
        return report
    try:
        async for _ in Walk(store, report).blocks():
            pass
        for what in (*await store.file_damage(), *filter(None, [unread])):
            report.fault(store.blocks.extent, what)
    finally:
        await store.close()
    return report


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_verify_calls_good_is_what_was_stored(tmp_path: Path, good: tuple[Path, Truth], seed: int) -> None:
    folder, truth = good
    what = await asyncio.to_thread(damaged.spoil, folder, tmp_path / "copy", DATABASE, seed)
    report = await checked(tmp_path / "copy")
    if not report.faulty:
        now = await damaged.read(tmp_path / "copy")
        assert (now.entries, now.blocks) == (truth.entries, truth.blocks), what


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_gateway_on_a_damaged_store_signs_nothing_else_and_harms_nothing(
    tmp_path: Path, good: tuple[Path, Truth], seed: int
) -> None:
    """It ends with StoreError, is held and journals, or goes on where the log stood; nothing else."""
    folder, truth = good
    name = (DATABASE, DATABASE, SIGN_STATE)[seed % 3]
    what = await asyncio.to_thread(damaged.spoil, folder, tmp_path / "copy", name, seed)
    key = Recorder(signer())
    try:
        made = await Pipeline.open(tmp_path / "copy", max_count=A_BLOCK)
    except StoreError:
        return
    try:
        held = await made.recover(key)  # type: ignore[arg-type]
        if held is not None:
            assert "fieldgate recover" in held.cure, what
        await newest(made.store)
        made.start()
        await made.running(_durable(made))
        made.clock.advance(3_600)
        made.journal.grown.set()
        await made.running(until(lambda: made.sealer.held is not None or made.store.blocks.size > len(truth.entries)))
    except StoreError:
        pass
    finally:
        await made.kill()
    for height, header in key.headers.items():
        if height < len(truth.entries):
            assert cose.parse_entry(truth.entries[height]).header_bytes == header, what
        elif height == len(truth.entries):
            assert cose.decode_header(header).prev == cose.next_prev(truth.entries[-1]), what


async def _durable(made: Pipeline) -> None:
    await made.emit([sample("s-1", 4711)])


@pytest.fixture
async def node(tmp_path: Path, good: tuple[Path, Truth]) -> AsyncIterator[recover.NodeReader]:
    async with damaged.node_with(tmp_path / "node", good[0]) as reader:
        yield reader


@pytest.mark.parametrize("first", [0, *(pytest.param(n, marks=pytest.mark.nightly) for n in range(12, 600, 12))])
async def test_a_node_gives_back_what_was_damaged(
    tmp_path: Path, good: tuple[Path, Truth], node: recover.NodeReader, first: int
) -> None:
    folder, truth = good
    copy = tmp_path / "copy"
    for seed in range(first, first + 12):
        what = await asyncio.to_thread(damaged.spoil, folder, copy, DATABASE, seed)
        outcome = await recover.rebuild(await damaged.job(copy, node))
        report = await checked(copy)
        assert report.bad == [], what
        now = await damaged.read(copy)
        assert (now.entries, now.blocks) == (truth.entries, truth.blocks), what
        assert not outcome.missing, what
        # Payloads apart have another digest in another block; everything else of a reading is the same.
        kept = [resolve(pack).records[0].value for pack in now.unsealed if resolve(pack).source != "gateway"]
        all_of_them = [resolve(pack).records[0].value for pack in truth.unsealed]
        assert set(kept) <= set(all_of_them), what
        assert len(kept) == len(set(kept)), what
        if len(kept) < len(all_of_them):
            assert outcome.lost.rows, what
            assert any(resolve(pack).source == "gateway" for pack in now.unsealed), what
        made = await Pipeline.open(copy, max_count=A_BLOCK)
        try:
            assert await made.recover() is None, what
            made.start()
            await made.age()
            assert made.store.blocks.size > SEALED, what
        finally:
            await made.kill()
        assert (await checked(copy)).bad == [], what


async def test_a_damaged_body_is_told_with_its_height_and_everything_else_stays_readable(
    tmp_path: Path, good: tuple[Path, Truth], node: recover.NodeReader
) -> None:
    folder, truth = good
    copy = tmp_path / "copy"
    await asyncio.to_thread(shutil.copytree, folder, copy)
    _change(
        copy, "UPDATE journal SET data=zeroblob(length(data)) WHERE row=(SELECT first_row FROM block WHERE height=2)"
    )
    report = await checked(copy)
    assert report.faulty == {2}
    store = await Store.open(copy)
    try:
        assert store.blocks.damage is None  # signing goes on
        for height in (0, 1, 3, 5):
            assert [item async for item in store.blocks.items(height)] == truth.blocks[height]
        with pytest.raises(StoreError, match="inflate"):
            [item async for item in store.blocks.items(2)]
    finally:
        await store.close()
    outcome = await recover.rebuild(await damaged.job(copy, node))
    assert (outcome.entries, outcome.bodies, outcome.lost.rows) == (0, 1, 0)
    assert outcome.carried == len(truth.unsealed)
    kept = next(copy.glob("damaged-*"))
    assert (kept / DATABASE).exists()
    assert (await damaged.read(copy)).blocks == truth.blocks
    _change(copy, "UPDATE journal SET data=x'00' WHERE row=(SELECT last_row FROM block WHERE height=2)")
    await recover.rebuild(await damaged.job(copy, node))  # by a clock that stands
    assert (await damaged.read(copy)).blocks == truth.blocks
    assert len(list(copy.glob("damaged-*"))) == 2


async def test_a_block_that_no_node_has_keeps_what_is_sound(tmp_path: Path, good: tuple[Path, Truth]) -> None:
    folder, truth = good
    copy = tmp_path / "copy"
    await asyncio.to_thread(shutil.copytree, folder, copy)
    _change(copy, "UPDATE journal SET data=x'00' WHERE row=(SELECT last_row FROM block WHERE height=2)")
    outcome = await recover.rebuild(await damaged.job(copy, None))
    assert outcome.missing == [2]
    report = await checked(copy)
    assert report.faulty == {2}
    store = await Store.open(copy, read_only=True)
    found = [item async for item in store.blocks.items(2)]
    await store.close()
    assert found == truth.blocks[2][: len(found)]
    assert found


async def test_a_damaged_reading_in_no_block_holds_signing_and_ends_nothing(
    tmp_path: Path, good: tuple[Path, Truth]
) -> None:
    folder, truth = good
    copy = tmp_path / "copy"
    await asyncio.to_thread(shutil.copytree, folder, copy)
    _change(copy, "UPDATE journal SET data=zeroblob(9) WHERE row=(SELECT max(last_row)+2 FROM block)")
    made = await Pipeline.open(copy, max_count=A_BLOCK)
    try:
        assert await made.recover() is None
        made.start()
        made.clock.advance(3_600)
        made.journal.grown.set()
        await made.running(until(lambda: made.sealer.held is not None))
        assert isinstance(made.sealer.held, HeldError)
        assert "not sealed yet, are damaged" in made.sealer.held.what
        assert "--drop-damaged" in made.sealer.held.cure
        await made.running(_durable(made))  # journaling goes on
        assert made.store.blocks.size == SEALED
    finally:
        await made.kill()
    outcome = await recover.rebuild(await damaged.job(copy, None))
    assert (outcome.lost.rows, outcome.lost.readings) == (1, 1)
    made = await Pipeline.open(copy, max_count=A_BLOCK)
    try:
        assert await made.recover() is None
        made.start()
        await made.age()
        packs = [resolve(p) for h in range(SEALED, made.store.blocks.size) async for p, _ in made.store.blocks.items(h)]
    finally:
        await made.kill()
    assert sum(one.source != "gateway" for one in packs) == len(truth.unsealed) - 1 + 1
    (lost,) = [one for one in packs if one.source == "gateway"]
    said = {record.name: record.value for record in lost.records}
    assert (said["event"], said["count"]) == ("lost", 1)
    assert (await checked(copy)).bad == []


def _change(folder: Path, sql: str) -> None:
    con = sqlite3.connect(folder / DATABASE)
    assert con.execute(sql).rowcount == 1
    con.commit()
    con.close()


async def _with_wal(folder: Path) -> None:
    """A gateway that was killed over commits that are in the write-ahead log alone."""
    made = await Pipeline.open(folder / "data", max_count=1000)
    await made.recover()
    made.start()
    for number in range(30):
        made.emit([sample("s-0", number)])
        await made.journal.commit()
    await asyncio.to_thread(shutil.copytree, folder / "data", folder / "killed")
    await made.kill()


def test_a_write_ahead_log_that_was_damaged_is_told_from_a_torn_one(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    asyncio.run(_with_wal(tmp_path))
    whole = (tmp_path / "killed" / WAL).read_bytes()
    frames = (len(whole) - 32) // (1024 + 24)
    assert frames > 20
    path = tmp_path / "wal"

    def told(data: bytes) -> str:
        path.write_bytes(data)
        return wal.damage(path)

    assert told(whole) == ""
    rng = random.Random(1)
    for _ in range(60):  # cut off anywhere: what a power cut leaves, or nobody can tell
        assert told(whole[: rng.randrange(len(whole))]) == ""
    for frame in range(frames):
        flipped = bytearray(whole)
        flipped[32 + frame * 1048 + rng.randrange(1048)] ^= 1 << rng.randrange(8)
        last = frame >= frames - 3  # of the last commit, which a power cut may have torn
        assert (f"frame {frame + 1}" in told(bytes(flipped))) or last, frame
    for at in range(28):
        head = bytearray(whole)
        head[at] ^= 4
        assert "beginning" in told(bytes(head)), at


async def test_commits_that_a_damaged_write_ahead_log_takes_along_are_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    await _with_wal(tmp_path)
    path = tmp_path / "killed" / WAL
    data = bytearray(path.read_bytes())
    data[32 + 5 * 1048 + 100] ^= 1
    path.write_bytes(data)
    report = await checked(tmp_path / "killed")
    assert "write-ahead log is damaged at frame 6" in report.bad[0][1]
    made = await Pipeline.open(tmp_path / "killed")
    assert "frame 6" in made.store.lost
    await made.kill()
