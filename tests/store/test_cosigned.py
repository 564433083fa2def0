"""What nodes have co-signed: the first line over a size is kept for good, with the note that it is over."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes.gateway_store import make_store

from gateway.store import Store
from gateway.store.cosigned import SEEN, STORED, CosignedSize, Holding, Line, NodeProgress


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await make_store(tmp_path, 1)
    yield opened
    await opened.close()


async def test_an_unknown_node_is_at_zero(store: Store) -> None:
    assert await store.cosigned.progress("coop") == NodeProgress(0, 0)
    assert await store.cosigned.above(0) == []


async def test_progress_goes_up_only(store: Store) -> None:
    for kind, size in ((SEEN, 5), (STORED, 3), (SEEN, 4), (STORED, 2), (SEEN, 5)):
        await store.cosigned.save("coop", kind, size, f"note {size}\n", f"{kind} {size}\n")
    assert await store.cosigned.progress("coop") == NodeProgress(5, 3)
    assert await store.cosigned.progress("vet") == NodeProgress(0, 0)


async def test_the_first_line_over_a_size_is_kept(store: Store) -> None:
    """It has the earliest attested time."""
    for line in ("early\n", "late\n"):
        await store.cosigned.save("coop", SEEN, 9, "note 9\n", line)
    assert await store.cosigned.above(0) == [CosignedSize(9, "note 9\n", (Line("coop", SEEN, "early\n"),))]


async def test_every_line_over_a_size(store: Store) -> None:
    for node, kind in (("vet", SEEN), ("coop", STORED), ("coop", SEEN)):
        await store.cosigned.save(node, kind, 9, "note 9\n", f"{node} {kind}\n")
    (found,) = await store.cosigned.above(8)
    assert [(line.node, line.kind) for line in found.lines] == [("coop", SEEN), ("coop", STORED), ("vet", SEEN)]


async def test_above_is_ascending_and_strict(store: Store) -> None:
    for size in (40, 10, 30, 20):
        await store.cosigned.save("coop", SEEN, size, f"note {size}\n", "line\n")

    async def sizes(*args: int) -> list[int]:
        return [found.size for found in await store.cosigned.above(*args)]

    assert await sizes(9) == await sizes(0) == [10, 20, 30, 40]
    assert await sizes(10) == [20, 30, 40]
    assert await sizes(0, 20) == [30, 40]
    assert await sizes(30, 20) == [40]
    assert await sizes(40) == []
    assert await sizes(0, 0, 2) == [10, 20]


async def test_the_gateways_own_note_is_not_replaced(store: Store) -> None:
    own = await store.blocks.note(1)
    assert own is not None
    await store.cosigned.save("coop", SEEN, 1, "another note\n", "line\n")
    assert await store.blocks.note(1) == own
    assert (await store.cosigned.above(0))[0].note == own[1]


async def test_another_keys_word_is_forgotten(store: Store) -> None:
    for node in ("coo", "coop", "coop2"):
        await store.cosigned.wanted(node, 0)
        await store.cosigned.save(node, STORED, 5, "note\n", "line\n")
    assert await store.cosigned.holding("coop", "new") == Holding(0, 5), "an older version told nobody's key"
    for _ in range(2):
        await store.cosigned.recognise("coop", "old")
        assert await store.cosigned.holding("coop", "old") == Holding(0, 5)
        assert await store.cosigned.holding("coop", "new") == Holding(None, 0)
        assert await store.cosigned.holding("coop") == Holding(0, 5)
    assert await store.cosigned.progress("coop", "new") == NodeProgress(0, 0)
    assert await store.cosigned.progress("coop", "old") == NodeProgress(0, 5)
    await store.cosigned.recognise("coop", "new")
    assert await store.cosigned.progress("coop") == NodeProgress(0, 0)
    assert [await store.cosigned.holding("coop", key) for key in ("new", "old")] == [Holding(None, 0)] * 2
    await store.cosigned.recognise("coop", "old")
    assert await store.cosigned.holding("coop", "old") == Holding(None, 0), "it may have lost them meanwhile"
    await store.cosigned.save("coop", STORED, 7, "note\n", "line\n")
    assert await store.cosigned.holding("coop", "old") == Holding(None, 7)
    for node in ("coo", "coop2"):
        assert await store.cosigned.holding(node, "new") == Holding(0, 5)


async def test_it_is_there_after_a_restart(store: Store, tmp_path: Path) -> None:
    await store.cosigned.save("coop", SEEN, 1, "note\n", "line\n")
    reader = await Store.open(tmp_path, read_only=True)
    assert await reader.cosigned.progress("coop") == NodeProgress(1, 0)
    assert [found.size for found in await reader.cosigned.above(0)] == [1]
    await reader.close()
