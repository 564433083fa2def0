"""The law of gateway.node.store, for every engine: `engines` lists how each is opened."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fakes.log_maker import LogMaker, log_id
from fakes.memory_node_store import Disk, MemoryStore

from gateway.core import limits, merkle
from gateway.core.anchor_row import ANCHORED, FAILED, WAITING, AnchorRow
from gateway.core.merkle import Frontier
from gateway.errors import ConflictError, NotFoundError
from gateway.node.log import grow_tree
from gateway.node.sqlite import SqliteStore
from gateway.node.store import Body, Evidence, Form, Growth, Head, NodeStore, Shown, Span, Witnessed

LOG = log_id("quay.example/1")
OTHER = log_id("barn.example/1")
WHOLE = Body(Form.WHOLE, b"whole")


@dataclass
class Engine:
    """A store that a test may close and open again."""

    open: Callable[[], Awaitable[NodeStore]]
    store: NodeStore

    async def again(self) -> NodeStore:
        """What another process would find."""
        await self.store.close()
        self.store = await self.open()
        return self.store


@pytest.fixture(params=["sqlite", "memory"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    """One engine after the other."""

    async def sqlite() -> NodeStore:
        return await SqliteStore.open(tmp_path / "node.sqlite", create=True)

    disk = Disk()

    async def memory() -> NodeStore:
        return MemoryStore(disk)

    openers: dict[str, Callable[[], Awaitable[NodeStore]]] = {"sqlite": sqlite, "memory": memory}
    opener = openers[request.param]
    engine = Engine(opener, await opener())
    yield engine
    await engine.store.close()


@pytest.fixture
async def store(engine: Engine) -> NodeStore:
    """An open store with the two logs enrolled."""
    await engine.store.enrol(LOG, "vkey", 0)
    await engine.store.enrol(OTHER, "other vkey", 0)
    return engine.store


def entries(count: int, start: int = 0) -> tuple[bytes, ...]:
    """Bytes that stand for entries: the store does not look into them."""
    return tuple(b"entry %d" % number for number in range(start, start + count))


def growth(head: Head, count: int, *, witness: bool = True) -> Growth:
    """The step by `count` entries, with a note."""
    new = entries(count, head.size)
    frontier, hashes, _ = grow_tree(head.frontier, [merkle.leaf_hash(entry) for entry in new], 0)
    witnessed = Witnessed(frontier.size, frontier.root()) if witness else head.witnessed
    return Growth(head, frontier, new, hashes, witnessed, f"note {frontier.size}", frontier.size)


async def grow(store: NodeStore, count: int, log: str = LOG) -> Head:
    """Takes a step and returns what is there then."""
    await store.grow(log, growth(await store.head(log), count))
    return await store.head(log)


# Headers


async def test_a_log_begins_empty_and_stays_as_it_was_enrolled(engine: Engine) -> None:
    head = await engine.store.enrol(LOG, "vkey", 7)
    assert head == Head("vkey", stored_from=7)
    store = await engine.again()
    assert await store.enrol(LOG, "vkey", 7) == await store.head(LOG) == head
    for vkey, stored_from in (("another", 7), ("vkey", 6)):
        with pytest.raises(ConflictError, match="vkey"):
            await store.enrol(LOG, vkey, stored_from)
    assert await store.head(LOG) == head


async def test_a_log_that_is_not_enrolled_is_not_found(engine: Engine) -> None:
    with pytest.raises(NotFoundError):
        await engine.store.head(LOG)
    with pytest.raises(NotFoundError):
        await engine.store.entries(LOG, 0, 1)


async def test_a_step_is_there_whole_after_reopening(engine: Engine, store: NodeStore) -> None:
    step = growth(await store.head(LOG), 700)
    await store.grow(LOG, step)
    store = await engine.again()
    head = await store.head(LOG)
    assert head == Head("vkey", 0, step.frontier, entries(700)[-1], step.witnessed, "note 700")
    assert await store.entries(LOG, 0, 1_000) == list(entries(700))
    assert await store.entries(LOG, 698, 1_000) == list(entries(2, 698))
    assert await store.entries(LOG, 700, 10) == []
    assert await store.hashes(LOG, 1, 0, 10) == [
        merkle.root([merkle.leaf_hash(entry) for entry in entries(256, start)]) for start in (0, 256)
    ]
    assert await store.hashes(LOG, 1, 1, 10) == [step.hashes[1].hash]
    assert await store.hashes(LOG, 2, 0, 10) == []
    assert (await store.head(OTHER)).size == 0
    assert await store.entries(OTHER, 0, 10) == []


async def test_a_step_upon_an_old_head_is_refused_whole(store: NodeStore) -> None:
    old = await store.head(LOG)
    first, second = growth(old, 3), growth(old, 5)
    await store.grow(LOG, first)
    with pytest.raises(ConflictError):
        await store.grow(LOG, second)
    assert await store.entries(LOG, 0, 10) == list(entries(3))
    assert await store.note_upto(LOG, 100) == await store.note_upto(LOG, 3)
    head = await store.head(LOG)
    moved = replace(head, witnessed=Witnessed(3, b"r" * 32))
    with pytest.raises(ConflictError):
        await store.grow(LOG, growth(moved, 1))
    assert (await store.head(LOG)) == head


async def test_the_witnessed_size_goes_ahead_of_the_entries(store: NodeStore) -> None:
    head = await grow(store, 2)
    witnessed = Witnessed(9, b"r" * 32)
    await store.grow(LOG, Growth(head, head.frontier, witnessed=witnessed, note="note 9", note_size=9))
    ahead = await store.head(LOG)
    assert (ahead.size, ahead.witnessed, ahead.note) == (2, witnessed, "note 9")
    await store.grow(LOG, growth(ahead, 3, witness=False))
    behind = await store.head(LOG)
    assert (behind.size, behind.witnessed, behind.note) == (5, witnessed, "note 9")


async def test_entries_without_a_note_leave_no_note(store: NodeStore) -> None:
    step = replace(growth(await store.head(LOG), 2, witness=False), note=None, note_size=0)
    await store.grow(LOG, step)
    assert (await store.head(LOG)).size == 2
    assert await store.note_upto(LOG, 10) is None


# Notes


async def test_the_first_line_stays_and_the_latest_is_replaced(engine: Engine, store: NodeStore) -> None:
    await grow(store, 1)
    for line in ("first", "second", "third"):
        await store.keep_line(LOG, 1, "seen", line)
    await store.keep_line(LOG, 1, "stored", "kept")
    noted = await (await engine.again()).note_upto(LOG, 1)
    assert noted is not None
    assert (noted.size, noted.note) == (1, "note 1")
    assert (noted.seen, noted.seen_latest, noted.stored, noted.stored_latest) == ("first", "third", "kept", "kept")


async def test_a_line_needs_its_note(store: NodeStore) -> None:
    await grow(store, 2)
    with pytest.raises(NotFoundError):
        await store.keep_line(LOG, 1, "seen", "line")
    with pytest.raises(NotFoundError):
        await store.keep_line(OTHER, 2, "seen", "line")


async def test_notes_are_found_from_both_sides_and_by_what_they_carry(store: NodeStore) -> None:
    for _ in range(5):
        await grow(store, 2)
    for size in (2, 6, 8):
        await store.keep_line(LOG, size, "seen", f"seen {size}")
    await store.keep_line(LOG, 6, "stored", "stored 6")

    async def sizes(*asked: tuple[int, str | None]) -> list[int | None]:
        found = []
        for size, kind in asked:
            noted = await store.note_upto(LOG, size, kind)  # type: ignore[arg-type]
            found.append(noted.size if noted else None)
        return found

    assert await sizes((1, None), (2, None), (5, None), (99, None)) == [None, 2, 4, 10]
    assert await sizes((5, "seen"), (7, "seen"), (99, "seen"), (5, "stored"), (99, "stored")) == [2, 6, 8, None, 6]
    above = [await store.note_from(LOG, size, "seen") for size in (0, 3, 8, 9)]
    assert [noted.size if noted else None for noted in above] == [2, 6, 8, None]
    plain = await store.note_from(LOG, 9)
    assert plain is not None
    assert plain.size == 10


async def test_a_note_stays_as_it_first_came(store: NodeStore) -> None:
    head = await grow(store, 1)
    again = Growth(head, head.frontier, witnessed=head.witnessed, note="another text", note_size=1)
    await store.grow(LOG, again)
    noted = await store.note_upto(LOG, 1)
    assert noted is not None
    assert noted.note == "note 1"


# Bodies


async def test_wants_follow_entries_and_bodies(store: NodeStore) -> None:
    assert await store.wants(LOG, 10) == []
    await grow(store, 4)
    await grow(store, 4)
    assert await store.wants(LOG, 10) == [(0, 8)]
    for height in (3, 0, 7, 5):
        assert await store.take_body(LOG, height, WHOLE)
    assert await store.wants(LOG, 10) == [(1, 3), (4, 5), (6, 7)]
    assert await store.wants(LOG, 2) == [(1, 3), (4, 5)]
    await grow(store, 1)
    assert await store.wants(LOG, 10) == [(1, 3), (4, 5), (6, 7), (8, 9)]
    for height in (1, 2, 4, 6, 8):
        assert await store.take_body(LOG, height, WHOLE)
    assert await store.wants(LOG, 10) == []
    assert await store.wants(OTHER, 10) == []


async def test_nothing_below_the_start_is_wanted(engine: Engine) -> None:
    await engine.store.enrol(LOG, "vkey", 3)
    await grow(engine.store, 2)
    assert await engine.store.wants(LOG, 10) == []
    await grow(engine.store, 4)
    assert await engine.store.wants(LOG, 10) == [(3, 6)]


async def test_only_a_fuller_body_replaces_another(engine: Engine, store: NodeStore) -> None:
    await grow(store, 1)
    order = [Form.CUT, Form.GONE, Form.OPEN, Form.WHOLE]
    for number, form in enumerate(order):
        body = Body(form, form.name.encode())
        assert await store.take_body(LOG, 0, body)
        for lesser in order[: number + 1]:
            assert not await store.take_body(LOG, 0, Body(lesser, b"lesser"))
        assert await store.body(LOG, 0) == body
        assert await store.wants(LOG, 10) == ([] if form.fills else [(0, 1)])
        assert await store.gone(LOG, 10) == ([0] if form is Form.GONE else [])
    assert await (await engine.again()).body(LOG, 0) == Body(Form.WHOLE, b"WHOLE")


async def test_a_body_needs_its_entry(store: NodeStore) -> None:
    await grow(store, 1)
    with pytest.raises(NotFoundError):
        await store.take_body(LOG, 1, WHOLE)
    assert await store.body(LOG, 1) is None


async def test_a_body_that_is_lost_is_wanted_again(store: NodeStore) -> None:
    await grow(store, 5)
    for height in range(5):
        await store.take_body(LOG, height, Body(Form.WHOLE, b"x", (Span("pig", height, height),)))
    for height in (2, 1, 1, 4):
        await store.drop_body(LOG, height)
    assert await store.wants(LOG, 10) == [(1, 3), (4, 5)]
    assert await store.body(LOG, 2) is None
    assert await store.find(LOG, "pig", 2, 10) == [0]


async def test_blocks_are_found_by_source_and_time(store: NodeStore) -> None:
    await grow(store, 6)
    spans = [(100, 199), (200, 299), (150, 350), (400, 500), (500, 500), (300, 301)]
    for height, (first, last) in enumerate(spans):
        other = Span("hen", first + 1_000, last + 1_000)
        await store.take_body(LOG, height, Body(Form.WHOLE, b"x", (Span("pig", first, last), other)))

    async def found(at: int, source: str = "pig", limit: int = 10) -> list[int]:
        return await store.find(LOG, source, at, limit)

    assert await found(99) == []
    assert await found(100) == [0]  # begins here, ends later
    assert await found(199) == [2, 0]  # 2 lies across, 0 ends here
    assert await found(250) == [2, 1, 0]
    assert await found(500) == [4]  # of two that end here the later one
    assert await found(9_999) == [4]
    assert await found(1_349, "hen") == [2, 5]
    assert await found(500, "cow") == []
    assert await found(250, limit=2) == [2, 0]
    assert await store.find(OTHER, "pig", 500, 10) == []


async def test_a_replaced_body_leaves_nothing_in_the_index(store: NodeStore) -> None:
    await grow(store, 1)
    await store.take_body(LOG, 0, Body(Form.CUT, b"x", (Span("pig", 1, 2), Span("hen", 3, 4))))
    await store.take_body(LOG, 0, Body(Form.WHOLE, b"y", (Span("pig", 5, 6),)))
    assert await store.find(LOG, "pig", 4, 10) == []
    assert await store.find(LOG, "hen", 9, 10) == []
    assert await store.find(LOG, "pig", 9, 10) == [0]


# Proofs


async def test_evidence_stays_and_a_frozen_log_takes_no_step(engine: Engine, store: NodeStore) -> None:
    await grow(store, 1)
    harmless = Evidence("tree", 2, b"held", b"sent", 1_750_000_000)
    await store.accuse(LOG, harmless, freeze="")
    assert (await store.head(LOG)).frozen == ""
    fork = Evidence("root", 1, b"ours", b"theirs", 1_750_000_001)
    await store.accuse(LOG, fork, freeze="two roots")
    await store.accuse(LOG, fork, freeze="something else")
    store = await engine.again()
    head = await store.head(LOG)
    assert head.frozen == "two roots"
    assert await store.evidence(LOG) == [harmless, fork, fork]
    assert await store.evidence(OTHER) == []
    with pytest.raises(ConflictError):
        await store.grow(LOG, growth(head, 1))
    assert await store.entries(LOG, 0, 10) == list(entries(1))
    await grow(store, 1, OTHER)


async def test_evidence_is_bounded_save_what_freezes(store: NodeStore) -> None:
    for number in range(limits.EVIDENCE_PER_LOG + 1):
        await store.accuse(LOG, Evidence("tree", number, b"", b"", 0), freeze="")
    await store.accuse(LOG, Evidence("root", 99, b"", b"", 0), freeze="two roots")
    kept = await store.evidence(LOG)
    assert [evidence.number for evidence in kept] == [*range(limits.EVIDENCE_PER_LOG), 99]
    assert (await store.head(LOG)).frozen == "two roots"


# Fleets


def row(size: int, state: str = FAILED, name: str = "coop") -> AnchorRow:
    over = state in (FAILED, ANCHORED)
    return AnchorRow(name, size, bytes(32), "evm", "9090", size, state, over=over, data=b"x", evidence=b"e")


async def test_what_was_witnessed_is_listed_without_frozen_and_empty_logs(store: NodeStore) -> None:
    assert await store.witnessed() == []
    await grow(store, 3)
    shown = (await store.head(LOG)).witnessed
    assert await store.witnessed() == [Shown(bytes.fromhex(LOG), shown.size, shown.root)]
    await grow(store, 1, OTHER)
    assert {one.log.hex() for one in await store.witnessed()} == {LOG, OTHER}
    await store.accuse(LOG, Evidence("root", 1, b"", b"", 0), freeze="two roots")
    assert {one.log.hex() for one in await store.witnessed()} == {OTHER}


async def test_a_row_replaces_the_one_of_its_name_and_size(engine: Engine, store: NodeStore) -> None:
    begun = replace(row(7), state=WAITING, over=False, evidence=None)
    there = replace(begun, state=ANCHORED, over=True, number=9, hash=b"h", time_s=5, evidence=b"e", ticket=b"t")
    for one in (row(3), begun, row(8, name="other"), there):
        await store.keep_anchor(one)
    store = await engine.again()
    assert await store.anchors("coop") == [there, row(3)]
    assert await store.anchors("other") == [row(8, name="other")]
    assert await store.anchors("none") == []


async def test_the_newest_rows_are_kept_and_the_newest_anchored_one(store: NodeStore) -> None:
    most = limits.FLEETS_KEPT
    await store.keep_anchor(row(0, ANCHORED, "other"))
    for size in range(3):
        await store.keep_anchor(row(size, ANCHORED))
    for size in range(3, most + 6):
        await store.keep_anchor(row(size))
    assert [one.size for one in await store.anchors("coop")] == [*range(most + 5, 5, -1), 2]
    assert len(await store.anchors("other")) == 1


async def test_leaves_of_the_newest_anchored_and_of_the_last_are_kept(engine: Engine, store: NodeStore) -> None:
    await store.keep_leaves("other", 1, b"theirs")
    await store.keep_leaves("coop", 1, b"one")
    await store.keep_anchor(row(1, ANCHORED))
    for number, leaves in ((2, b"two"), (3, b"three")):
        await store.keep_leaves("coop", number, leaves)
    store = await engine.again()
    assert [await store.leaves("coop", number) for number in range(5)] == [b"", b"one", b"", b"three", b""]
    assert await store.leaves("other", 1) == b"theirs"


async def test_leaves_of_what_may_be_out_there_are_kept(store: NodeStore) -> None:
    """It may be anchored after all, while a later one was never made."""
    await store.keep_leaves("coop", 1, b"one")
    await store.keep_anchor(replace(row(1, FAILED), data=b"sent"))
    for number, leaves in ((2, b"two"), (3, b"three")):
        await store.keep_leaves("coop", number, leaves)
        await store.keep_anchor(replace(row(number), data=b""))
    assert [await store.leaves("coop", number) for number in range(4)] == [b"", b"one", b"", b"three"]


async def test_real_entries_and_sizes_survive(store: NodeStore) -> None:
    maker = LogMaker().add(3)
    frontier = Frontier().extend(merkle.leaf_hash(entry) for entry in maker.entries)
    step = Growth(await store.head(LOG), frontier, tuple(maker.entries), (), Witnessed(3, maker.root()), "n", 3)
    await store.grow(LOG, step)
    assert await store.entries(LOG, 0, 3) == maker.entries
    assert (await store.head(LOG)).frontier.root() == maker.root()


async def test_a_probe_is_a_commit_that_changes_nothing(engine: Engine) -> None:
    await engine.store.enrol(LOG, "vkey", 0)
    before, head = engine.store.commits, await engine.store.head(LOG)
    await engine.store.probe()
    assert engine.store.commits == before + 1
    assert await (await engine.again()).head(LOG) == head
