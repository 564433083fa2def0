"""Sealed blocks: the stored tree against core.merkle, and finding readings against looking at all of them."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
from fakes.clock import START_MS
from fakes.gateway_store import Pipeline, make_store, pipeline, sample, signer, until, values
from fakes.log_maker import LogMaker
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway import store as stores
from gateway.core import block, limits, merkle, senml, tiles
from gateway.errors import BugError, NotFoundError, StoreError
from gateway.store import Store
from gateway.store.blocks import Plan, inflate
from gateway.store.cosigned import SEEN
from gateway.store.journal import source_bit

SIZE = 777  # three full tiles and a part of a fourth


async def publish(store: Store, maker: LogMaker, *, note: str | None = None) -> None:
    """One more block of no readings."""
    made = maker.append([])
    frontier = store.blocks.frontier.append(merkle.leaf_hash(made.entry))
    last = store.blocks.sealed_row
    plan = Plan(made.header.height, 0, last + 1, last, 0, 0, 0, bytes(32), made.header.encode())
    await store.blocks.publish(plan, made.entry, frontier, maker.note(frontier.size).encode() if note is None else note)


async def opened(folder: Path) -> Store:
    await asyncio.to_thread(stores.create, folder, signer().vkey)
    return await Store.open(folder)


class Long:
    """A log of SIZE entries: as it was made, and in a store."""

    def __init__(self, store: Store, maker: LogMaker) -> None:
        self.store = store
        self.blocks = store.blocks
        self.entries = maker.entries
        self.hashes = [merkle.leaf_hash(entry) for entry in maker.entries]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LogMaker]:
    folder = tmp_path_factory.mktemp("long")
    maker = LogMaker()

    async def run() -> None:
        store = await opened(folder)
        for _ in range(SIZE):
            await publish(store, maker)
        assert store.blocks.frontier.root() == maker.root()
        await store.close()

    asyncio.run(run())
    return folder, maker


@pytest.fixture
async def log(made: tuple[Path, LogMaker]) -> AsyncIterator[Long]:
    store = await Store.open(made[0], read_only=True)
    yield Long(store, made[1])
    await store.close()


# The tree


async def test_it_is_the_same_after_a_restart(log: Long) -> None:
    assert log.blocks.size == SIZE
    assert log.blocks.frontier == merkle.Frontier().extend(log.hashes)
    assert log.blocks.prev == log.hashes[-1]
    assert log.blocks.sealed_ms == block.parse_entry(log.entries[-1]).header.sealed
    assert await log.blocks.plan() is None


async def test_every_tile_of_every_width(log: Long) -> None:
    for n in range(4):
        part = log.hashes[n * 256 : (n + 1) * 256]
        for width in (1, 2, 9, 128, 255, 256):
            expected = b"".join(part[:width]) if width <= len(part) else None
            assert await log.blocks.tile(0, n, width) == expected
    subtrees = [merkle.root(log.hashes[n * 256 : (n + 1) * 256]) for n in range(3)]
    for width in range(1, 6):
        assert await log.blocks.tile(1, 0, width) == (b"".join(subtrees[:width]) if width <= 3 else None)
    for level, n, width in ((0, 4, 1), (1, 1, 1), (2, 0, 1), (63, 0, 1), (0, 2**53 - 1, 256)):
        assert await log.blocks.tile(level, n, width) is None
    for width in (0, -1, 257):
        assert await log.blocks.tile(0, 0, width) is None
        assert await log.blocks.bundle(0, width) is None


async def test_every_tile_that_a_log_of_this_size_has_is_there(log: Long) -> None:
    for path in tiles.tiles(SIZE):
        tile = await log.blocks.tile(path.level, path.n, path.width)
        assert tile is not None
        assert len(tile) == 32 * path.width


async def test_every_bundle(log: Long) -> None:
    read: list[bytes] = []
    for path in tiles.bundles(SIZE):
        bundle = await log.blocks.bundle(path.n, path.width)
        assert bundle is not None
        read += tiles.decode_bundle(bundle)
    assert read == log.entries
    assert await log.blocks.bundle(0, 3) == tiles.encode_bundle(log.entries[:3])
    assert await log.blocks.bundle(3, SIZE % 256 + 1) is None


async def test_every_complete_subtree(log: Long) -> None:
    nodes = [(level, index) for level in range(10) for index in range(SIZE >> level)]
    expected = [merkle.root(log.hashes[index << level : (index + 1) << level]) for level, index in nodes]
    chosen = [i for i, (level, _) in enumerate(nodes) if level > 2 or i % 13 == 0]
    assert await log.blocks.node_hashes([nodes[i] for i in chosen]) == [expected[i] for i in chosen]
    for level in range(11):
        with pytest.raises(BugError):
            await log.blocks.node_hashes([(level, SIZE >> level)])


async def test_the_root_of_every_size(log: Long) -> None:
    for size in [*range(0, 20), *range(250, 260), *range(510, 515), *range(760, SIZE + 1)]:
        assert await log.blocks.root(size) == merkle.root(log.hashes[:size])
    with pytest.raises(BugError):
        await log.blocks.root(SIZE + 1)


async def test_inclusion_paths(log: Long) -> None:
    for size in (1, 2, 255, 256, 257, 512, 700, SIZE):
        for index in {0, size // 2, size // 3, max(size - 2, 0), size - 1}:
            path = await log.blocks.path(merkle.inclusion_ranges(index, size))
            assert path == merkle.inclusion_path(log.hashes[:size], index)
            merkle.verify_inclusion(log.hashes[index], index, size, path, merkle.root(log.hashes[:size]))


async def test_consistency_paths(log: Long) -> None:
    sizes = (0, 1, 2, 3, 200, 255, 256, 257, 511, 512, 513, 768, 776, SIZE)
    for old, new in pairwise(sizes):
        for later in (new, SIZE):
            path = await log.blocks.path(merkle.consistency_ranges(old, later))
            assert path == merkle.consistency_path(log.hashes[:later], old)


async def test_entries_are_bounded_by_number_and_by_bytes(log: Long) -> None:
    size = len(log.entries[3])
    assert await log.blocks.entries(0, SIZE + 5, 2**30) == log.entries
    assert await log.blocks.entries(3, 2) == log.entries[3:5]
    assert await log.blocks.entries(3, 9, 2 * size) == log.entries[3:5]
    assert await log.blocks.entries(3, 9, 2 * size - 1) == log.entries[3:4]
    assert await log.blocks.entries(3, 9, 1) == log.entries[3:4]
    assert await log.blocks.entries(SIZE, 9) == []


async def test_the_notes_that_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest, whatever was co-signed, and one in as many as one sync takes; nothing else piles up."""
    monkeypatch.setattr(stores.blocks, "_NOTES_KEPT", 6)
    monkeypatch.setattr(limits, "SYNC_ENTRIES", 8)
    store = await opened(tmp_path)
    maker = LogMaker()
    for size in range(1, 41):
        await publish(store, maker)
        if size in (3, 20):
            await store.cosigned.save("coop", SEEN, size - 1, maker.note(size - 1).encode(), "line\n")
    kept = [size for size in range(1, 42) if await store.blocks.note(size) is not None]
    assert kept == [2, 8, 16, 19, 24, 32, *range(35, 41)]
    assert await store.blocks.note() == (40, maker.note(40).encode())
    assert await store.blocks.note(19) == (19, maker.note(19).encode())
    await store.close()


# Publishing


async def test_a_block_is_published_whole_or_not(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    maker = LogMaker()
    for _ in range(255):
        await publish(store, maker)
    before = store.blocks.frontier, store.blocks.prev, await store.blocks.note()
    await store.blocks.save_plan(Plan(255, 0, 1, 0, 0, 0, 0, bytes(32), b"header"))
    made = maker.append([])
    frontier = store.blocks.frontier.append(merkle.leaf_hash(made.entry))
    plan = Plan(255, 0, 1, 0, 0, 0, 0, bytes(32), made.header.encode())
    with pytest.raises(StoreError, match="NOT NULL"):
        await store.blocks.publish(plan, made.entry, frontier, None)  # type: ignore[arg-type]
    assert (store.blocks.frontier, store.blocks.prev, await store.blocks.note()) == before
    assert await store.blocks.block(255) is None
    assert await store.blocks.tile(1, 0, 1) is None
    assert await store.blocks.plan() is not None
    await store.blocks.publish(plan, made.entry, frontier, "note\n")
    assert await store.blocks.tile(1, 0, 1) == frontier.hashes[0]
    assert await store.blocks.plan() is None
    await store.close()


async def test_only_the_next_block_is_published(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    maker = LogMaker()
    await publish(store, maker)
    with pytest.raises(BugError):
        await store.blocks.publish(
            Plan(0, 0, 1, 0, 0, 0, 0, bytes(32), b""), maker.entries[0], store.blocks.frontier, "note\n"
        )
    with pytest.raises(BugError):
        await publish(store, LogMaker())
    assert store.blocks.size == 1
    await store.close()


async def test_whoever_waits_for_more_is_woken_when_it_is_durable(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    maker = LogMaker()
    waiting = [asyncio.create_task(store.blocks.wait_beyond(size)) for size in (0, 0, 1, 2)]
    reader = await Store.open(tmp_path, read_only=True)
    for size in range(1, 4):
        await asyncio.sleep(0)
        assert [task.done() for task in waiting] == [size > wanted + 1 for wanted in (0, 0, 1, 2)]
        await publish(store, maker)
        assert len(await reader.blocks.entries(0, 9)) == size
    await asyncio.gather(*waiting)
    await store.blocks.wait_beyond(2)
    await reader.close()
    await store.close()


async def test_a_plan_is_replaced_by_the_next(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    plans = [Plan(height, 1, 1, 1, 5, 6, 7, bytes(32), b"header %d" % height) for height in range(2)]
    for plan in plans:
        await store.blocks.save_plan(plan)
        assert await store.blocks.plan() == plan
    await store.blocks.drop_plan()
    assert await store.blocks.plan() is None
    await store.close()


# Bodies and readings


async def test_what_is_beyond_the_log_is_not_found(tmp_path: Path) -> None:
    store = await make_store(tmp_path, 2)
    assert await store.blocks.block(2) is None
    assert await store.blocks.note(3) is None
    with pytest.raises(NotFoundError):
        await store.blocks.header(2)
    with pytest.raises(NotFoundError):
        await anext(store.blocks.body_chunks(2))
    with pytest.raises(NotFoundError):
        await anext(store.blocks.items(2))
    assert await store.blocks.find("nobody", 2**53) is None
    assert store.blocks.readings == 6
    await store.close()


async def test_a_row_that_does_not_inflate_stops(tmp_path: Path) -> None:
    store = await make_store(tmp_path, 1)
    ((data,),) = await store.db.read("SELECT data FROM journal LIMIT 1")
    for broken in (data[:-1], b"", b"\x78\x01"):
        with pytest.raises(StoreError, match="inflate"):
            inflate(broken)
    await store.db.transact([("UPDATE journal SET data=?", (b"not zlib",))])
    with pytest.raises(StoreError, match="inflate"):
        _ = [chunk async for chunk in store.blocks.body_chunks(0)]
    await store.close()


async def test_a_hash_that_is_missing_stops(tmp_path: Path, made: tuple[Path, LogMaker]) -> None:
    for name in (stores.DATABASE, stores.SIGN_STATE):
        (tmp_path / name).write_bytes((made[0] / name).read_bytes())
    store = await Store.open(tmp_path)
    await store.db.transact([("DELETE FROM tree WHERE n=1", ())])
    with pytest.raises(StoreError, match="lacks hashes"):
        await store.blocks.tile(1, 0, 3)
    await store.close()
    store = await Store.open(tmp_path)
    assert "lacks hashes" in str(store.blocks.damage)
    assert (store.blocks.size, store.blocks.extent) == (511, SIZE)  # what needs no more than the first 256 of them
    await store.close()


def _same_bit() -> list[str]:
    """Three sources that share one bit of a mask, and one that is part of another's name."""
    names = [f"s-{n}" for n in range(500)]
    first = names[0]
    twins = [name for name in names[1:] if source_bit(name) == source_bit(first)][:2]
    return [first, *twins, f"{first}1"]


SOURCES = _same_bit()
told = st.lists(
    st.tuples(st.sampled_from(SOURCES), st.one_of(st.none(), st.integers(-30, 30)), st.sampled_from(["", "", "cut"])),
    max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(told=told, unsealed=st.integers(0, 3), at=st.lists(st.integers(-40, 40), min_size=1, max_size=6))
@example(told=[(SOURCES[0], 0, ""), (SOURCES[1], 9, "cut"), (SOURCES[0], 0, "cut")], unsealed=0, at=[10])
def test_a_reading_is_found_as_if_all_were_looked_at(
    tmp_path_factory: pytest.TempPathFactory,
    told: list[tuple[str, int | None, str]],
    unsealed: int,
    at: list[int],
) -> None:
    folder = tmp_path_factory.mktemp("find")

    async def run() -> None:
        async with pipeline(folder, max_count=100, linger_s=3600) as gateway:
            await _tell(gateway, told)
            sealed = [
                (height, i, pack) for height, packs in (await _packs(gateway)).items() for i, pack in enumerate(packs)
            ]
            for n in range(unsealed):
                gateway.emit([sample(SOURCES[0], 1000 + n)])
            await gateway.journal.commit()
            for source in SOURCES:
                for second in at:
                    await _look(gateway, sealed, source, START_MS + second * 1000)

    asyncio.run(run())


async def _tell(gateway: Pipeline, told: list[tuple[str, int | None, str]]) -> None:
    """Sends the readings, device times as they come, a second apart; blocks end where it says."""
    for n, (source, second, end) in enumerate(told):
        gateway.clock.ms = START_MS + n * 1000
        time = None if second is None else START_MS / 1000 + second
        gateway.emit([sample(source, n, time=time, payload=b"%d" % n * (1 if n % 3 else 5000))])
        if n % 2:
            await gateway.journal.commit()
        if end:
            await gateway.journal.commit()
            await gateway.journal.cut()
    await gateway.journal.commit()
    await gateway.journal.cut()
    gateway.journal.grown.set()
    await gateway.sealed()


async def _packs(gateway: Pipeline) -> dict[int, list[bytes]]:
    blocks = gateway.store.blocks
    return {height: [pack async for pack, _ in blocks.items(height)] for height in range(blocks.size)}


async def _look(gateway: Pipeline, sealed: list[tuple[int, int, bytes]], source: str, at_ms: int) -> None:
    """Against every reading looked at: the latest time, and of several at that time the last."""
    readings = [(senml.resolve(pack), height, index, pack) for height, index, pack in sealed]
    fitting = [
        (reading.time_ms, height, index, pack)
        for reading, height, index, pack in readings
        if reading.source == source and reading.time_ms <= at_ms
    ]
    found = await gateway.store.blocks.find(source, at_ms)
    if not fitting:
        assert found is None
        return
    _, height, index, pack = max(fitting)
    assert found is not None
    assert (found.height, found.index, found.pack) == (height, index, pack)
    assert (found.payload is not None) == (senml.resolve(pack).raw_sha256 is not None)


@settings(max_examples=20, deadline=None)
@given(told=told, start=st.integers(-40, 40), length=st.integers(0, 60))
def test_readings_between_two_times(
    tmp_path_factory: pytest.TempPathFactory, told: list[tuple[str, int | None, str]], start: int, length: int
) -> None:
    folder = tmp_path_factory.mktemp("between")
    from_ms, to_ms = START_MS + start * 1000, START_MS + (start + length) * 1000

    async def run() -> None:
        async with pipeline(folder, max_count=100, linger_s=3600) as gateway:
            await _tell(gateway, told)
            packs = [pack for packs in (await _packs(gateway)).values() for pack in packs]
            gateway.clock.ms = START_MS
            gateway.emit([sample(SOURCES[0], 1000)])
            await gateway.journal.commit()
            packs.append(senml.build(SOURCES[0], [("temp", "Cel", 1000)], bt_ms=START_MS, raw=b'{"temp":1000}'))
            for source in SOURCES:
                expected = [
                    pack
                    for pack in packs
                    if (reading := senml.resolve(pack)).source == source and from_ms <= reading.time_ms < to_ms
                ]
                assert [
                    pack async for pack in gateway.store.blocks.readings_between(source, from_ms, to_ms)
                ] == expected

    asyncio.run(run())


async def test_more_candidates_than_a_page(tmp_path: Path) -> None:
    """The reading asked for is in the oldest of 40 blocks that all seem to hold it."""
    async with pipeline(tmp_path, max_count=2) as gateway:
        await gateway.emit([sample(SOURCES[1], 7), sample(SOURCES[0])])
        for n in range(40):
            gateway.clock.advance(1)
            await gateway.emit([sample(SOURCES[0], n), sample(SOURCES[0], n)])
        await until(lambda: gateway.store.blocks.size == 41)
        found = await gateway.store.blocks.find(SOURCES[1], gateway.clock.ms)
        assert found is not None
        assert (found.height, found.index) == (0, 0)
        assert values([found.pack]) == [7]
