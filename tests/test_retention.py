"""What may be deleted is, the rest is not, and whatever goes is told."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fakes.clock import FakeClock
from fakes.gateway_store import pipeline, sample, until, values
from fakes.kept import A_BLOCK, check_sound, kept, keyed, settings
from hypothesis import given
from hypothesis import strategies as st

from drivers.api import Delivery
from gateway.core import limits, senml
from gateway.errors import NotFoundError
from gateway.retention import Keeper, covered, keepers
from gateway.settings import NodeLink
from gateway.store import DATABASE, Store, pruning, space
from gateway.store.cosigned import STORED
from gateway.store.database import PAGE_BYTES
from gateway.store.space import Room, quota_of

FULL = 27  # blocks that nearly fill the small store
Span = tuple[int, int]

# What enough nodes hold


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=6), st.integers(1, 4))
def test_where_enough_spans_lie_over_each_other(spans: Sequence[Span], needed: int) -> None:
    found = covered(spans, needed)
    held = {at for at in range(13) if sum(low <= at < high for low, high in spans) >= needed}
    assert {at for low, high in found for at in range(low, high)} == held
    assert all(low < high for low, high in found)
    assert all(before[1] < after[0] for before, after in pairwise(found))


def test_whose_word_counts() -> None:
    def link(**more: object) -> NodeLink:
        return NodeLink(**{"url": "https://n", "seen_key": "s", "stored_key": "t", **more})  # type: ignore[arg-type]

    nodes = {"a": link(), "b": link(stored_from=7), "c": link(share=("climate",)), "d": link(stored_key=None)}
    assert keepers(nodes) == {"a": Keeper("t", None), "b": Keeper("t", 7)}


# Pruning


async def test_nothing_goes_while_there_is_room(tmp_path: Path) -> None:
    async with kept(tmp_path) as it:
        await it.fill(20)
        await it.stored("coop", 20)
        await it.retention.turn()
        assert await it.here() == list(range(20))
        assert it.retention.status()["prunable"] == 20 * A_BLOCK


async def test_what_a_node_holds_goes_and_the_file_shrinks(tmp_path: Path) -> None:
    async with kept(tmp_path) as it:
        await it.fill(FULL)
        await it.store.db.fold()
        before = it.file_bytes()
        await it.stored("coop", 20)
        await it.retention.turn()
        here = await it.here()
        assert here[0] > 0
        assert here == list(range(here[0], FULL))
        assert here[0] <= 20
        assert it.file_bytes() < before * 0.9
        assert (await it.store.db.pages()).free == 0
        assert await check_sound(it.store) == {"whole": here, "pruned": list(range(here[0])), "gone": []}
        assert not it.gateway.journal.held
        await it.fill(3)  # and goes on


@pytest.mark.parametrize(
    ("said", "begins", "stored_by"),
    [
        ({}, 0, 1),
        ({"coop": 24}, None, 1),
        ({"coop": 24}, 24, 1),
        ({"coop": 24}, 0, 2),
        ({"stranger": 24}, 0, 1),
    ],
)
async def test_what_too_few_hold_stays(
    tmp_path: Path, said: dict[str, int], begins: int | None, stored_by: int
) -> None:
    async with kept(tmp_path, stored_by=stored_by, nodes={"coop": None, "vet": None}) as it:
        await it.fill(FULL)
        for node, size in said.items():
            await it.stored(node, size, begins=begins)
        await it.retention.turn()
        assert await it.here() == list(range(FULL))
        assert "Nothing can be pruned" in it.retention.status()["problem"]


async def test_a_node_that_began_later_lets_nothing_before_go(tmp_path: Path) -> None:
    async with kept(tmp_path, nodes={"coop": None, "vet": 15}) as it:
        await it.fill(FULL)
        await it.stored("coop", 24, begins=10)
        await it.stored("vet", 24, begins=0)  # what the configuration says holds
        await it.retention.turn()
        here = await it.here()
        assert here[:10] == list(range(10))
        assert set(range(24, FULL)) <= set(here)
        assert len(here) < FULL


async def test_a_stored_size_that_falls_counts_at_once(tmp_path: Path) -> None:
    async with kept(tmp_path) as it:
        await it.fill(FULL)
        await it.stored("coop", 24)
        await it.store.cosigned.fell("coop", 1)
        await it.retention.turn()
        assert set(range(1, FULL)) <= set(await it.here())
        await it.store.cosigned.fell("coop", 0)
        assert (await it.store.cosigned.holding("coop")) == (None, 0)
        assert (await it.store.cosigned.progress("coop")).stored == 24


async def test_young_blocks_stay_whatever_the_wall_clock_says(tmp_path: Path) -> None:
    clock = FakeClock()
    async with kept(tmp_path, min_age_h=24, clock=clock) as it:
        await it.fill(FULL)
        await it.stored("coop", FULL)
        for jump in (10 * 365 * 86_400_000, -20 * 365 * 86_400_000):
            clock.jump(clock.ms + jump)
            await it.retention.turn()
            assert await it.here() == list(range(FULL))
        clock.jump(1_000)  # a clock without a battery
        clock.synchronised = False
        clock.mono += 24 * 3600 - 120
        await it.retention.turn()
        assert await it.here() == list(range(FULL))
        clock.mono += 120
        await it.retention.turn()
        assert (await it.here())[0] > 0


async def test_the_time_that_the_gateway_ran_is_kept_over_its_lives(tmp_path: Path) -> None:
    clock = FakeClock()
    async with kept(tmp_path, min_age_h=1, clock=clock) as it:
        await it.fill(FULL)
        clock.mono += 1800
        await it.fill(1)
    clock.mono = 5.0  # the machine was started again
    async with kept(tmp_path, min_age_h=1, clock=clock) as it:
        await it.stored("coop", 24)
        clock.mono += 1600
        await it.retention.turn()
        assert (await it.here())[0] == 0
        clock.mono += 300
        await it.retention.turn()
        assert (await it.here())[0] > 0


async def test_the_newest_row_stays_so_that_rows_go_on_counting(tmp_path: Path) -> None:
    async with kept(tmp_path) as it:
        await it.fill(FULL)
        await it.stored("coop", FULL)
        assert await it.retention._delete((0, FULL)) > 0
        ((rows,),) = await it.store.db.read("SELECT count(*) FROM journal")
        assert rows >= 1
        sealed = it.store.blocks.sealed_row
    async with kept(tmp_path) as it:
        assert it.store.blocks.sealed_row == sealed
        await it.fill(2)
        assert it.store.blocks.sealed_row > sealed
        assert (await it.here())[-1] == FULL + 1
        await check_sound(it.store)


async def test_redelivery_keys_outlive_their_rows(tmp_path: Path) -> None:
    first = Delivery("local", 7, b"8 bytes.", dup=False)
    async with kept(tmp_path) as it:
        await it.gateway.emit([sample(delivery=first)])
        await it.fill(FULL)
        await it.stored("coop", FULL)
        await it.retention.turn()
        ((rows,),) = await it.store.db.read("SELECT min(row) FROM journal")
        assert rows > 1
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([sample(delivery=first._replace(dup=True))])
        assert gateway.intake.tallies["climate"].duplicate == 1


async def test_a_body_that_is_pruned_while_it_is_read_is_cut_off_with_a_word(tmp_path: Path) -> None:
    async with kept(tmp_path) as it:
        for _ in range(A_BLOCK):  # a row each
            await it.gateway.emit([sample(payload=bytes(2000))])
        await it.fill(FULL)
        await it.stored("coop", FULL)
        for read in (it.store.blocks.body_chunks(0), it.store.blocks.items(0)):
            with pytest.raises(NotFoundError, match="not here any more"):
                async for _ in read:
                    await it.retention._delete((0, 1))


async def test_ingest_goes_on_beside_pruning(tmp_path: Path) -> None:
    async with kept(tmp_path) as it:
        await it.fill(FULL)
        await it.stored("coop", 24)
        await asyncio.gather(it.retention.turn(), it.fill(2))
        await check_sound(it.store)
        assert (await it.here())[-1] == FULL + 1


# Nearly full with nothing to prune


async def test_hold_waits_and_goes_on_by_itself(tmp_path: Path) -> None:
    async with kept(tmp_path) as it:
        filling = asyncio.create_task(it.fill(200))
        await until(lambda: it.gateway.journal.full)
        await it.retention.turn()
        assert it.gateway.journal.held
        assert "full" in it.retention.status()["problem"]
        size = it.store.blocks.size
        await it.gateway.journal.cut()  # sealing goes on
        it.gateway.journal.grown.set()
        await it.gateway.running(until(lambda: it.store.blocks.size > size))
        await it.stored("coop", size)
        await it.retention.turn()
        assert not it.gateway.journal.held
        at = it.gateway.journal.commits
        await it.gateway.running(until(lambda: it.gateway.journal.commits > at))
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
        await check_sound(it.store)


async def test_what_is_held_waits_until_it_is_released_or_let_into_the_reserve(tmp_path: Path) -> None:
    async with kept(tmp_path) as it:
        journal = it.gateway.journal
        journal.hold("a test")
        first = it.gateway.emit([sample(value=1)])
        await journal.cut()
        for _ in range(5):
            await asyncio.sleep(0.01)
        assert not first.done()
        assert journal.commits == 0
        with journal.reserve():
            await it.gateway.running(first)
        second = it.gateway.emit([sample(value=2)])
        for _ in range(5):
            await asyncio.sleep(0.01)
        assert not second.done()
        journal.release()
        await it.gateway.running(second)
        assert journal.commits == 2


async def test_a_disk_that_others_fill_holds_and_lets_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 10 << 20
    monkeypatch.setattr(space, "free_bytes", lambda _: free)
    async with kept(tmp_path, min_free="8 MiB") as it:
        for free, held in (
            (9 << 20, False),
            (8 << 20, False),
            ((8 << 20) - 1, True),
            (8 << 20, True),
            (9 << 20, False),
        ):
            await it.retention.turn()
            assert bool(it.gateway.journal.held) is held, free
        assert "min_free" not in it.retention.status()["problem"]


async def test_the_copy_from_before_an_update_goes_before_any_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 64 << 20

    def left(_: Path) -> int:
        return free + (0 if copy.exists() else 4 << 20)

    monkeypatch.setattr(space, "free_bytes", left)
    async with kept(tmp_path, min_free="8 MiB") as it:
        await it.fill(4)
        await it.stored("coop", 4)
        copy = it.store.data_dir / f"{DATABASE}.schema-2"
        await asyncio.to_thread(copy.write_bytes, bytes(1024))
        await it.retention.turn()
        assert copy.exists()
        free = 9 << 20
        await it.retention.turn()
        assert not copy.exists()
        assert await it.here() == [0, 1, 2, 3]


async def test_hold_and_release_do_not_take_turns() -> None:
    for used in range(0, 1000, 7):
        for free in range(0, 1000, 7):
            room = Room(used, 800, free, 400)
            assert not (room.out and room.enough)
            assert room.missing or not room.out
            assert room.lacking >= room.missing


@pytest.mark.parametrize("rounds", [1, 2])
async def test_oldest_tells_first_and_drops_then(tmp_path: Path, rounds: int) -> None:
    async with kept(tmp_path, when_full="oldest", nodes={}) as it:
        for _ in range(rounds):
            filling = asyncio.create_task(it.fill(FULL + 6))
            while not filling.done():
                await it.retention.turn()
                await asyncio.sleep(0.01)
            await filling
        await it.gateway.sealed()
        found = await check_sound(it.store)
        assert found["pruned"] == []
        assert found["gone"]
        newest = found["whole"][-1]
        lost = []
        for height in found["whole"]:
            for pack in [pack async for pack, _ in it.store.blocks.items(height)]:
                reading = senml.resolve(pack)
                said = {record.name: record.value for record in reading.records}
                if reading.source == "gateway" and said["event"] == "gone":
                    lost.append((said["from"], said["to"], said["readings"]))
                    assert "full" in str(said["reason"])
                    assert said["first"] <= said["last"]  # type: ignore[operator]
        assert {at for low, high, _ in lost for at in range(low, high)} >= set(found["gone"])  # type: ignore[arg-type]
        assert sum(count for _, _, count in lost) == A_BLOCK * len(found["gone"])  # type: ignore[misc]
        kept_values = values(
            [pack for at in found["whole"] async for pack, _ in it.store.blocks.items(at)], name="temp"
        )
        assert kept_values == sorted(kept_values)  # type: ignore[type-var]
        assert kept_values[-1] == rounds * (FULL + 6) * A_BLOCK
        assert newest == it.store.blocks.size - 1
        tally = it.gateway.intake.tallies["gateway"]
        assert tally.arrived == tally.stored == len(lost)


async def test_oldest_prunes_what_nodes_hold_however_young_before_it_loses_anything(tmp_path: Path) -> None:
    async with kept(tmp_path, when_full="oldest", min_age_h=24) as it:
        await it.fill(FULL)
        await it.stored("coop", 20)
        filling = asyncio.create_task(it.fill(20))
        while not filling.done():
            await it.retention.turn()
            await asyncio.sleep(0.01)
        await filling
        found = await check_sound(it.store)
        assert found["gone"] == []
        assert found["pruned"]


# Told


async def test_a_receipt_of_what_is_not_here_names_the_cure(tmp_path: Path) -> None:
    async with kept(tmp_path) as it:
        at = it.gateway.clock.ms + 2000
        await it.fill(FULL)
        await it.stored("coop", 24)
        assert await it.store.blocks.find("climate", at) is not None
        await it.retention.turn()
        with pytest.raises(NotFoundError, match=r"not here any more\. Ask a node"):
            await it.store.blocks.find("climate", at)
        newest = await it.store.blocks.find("climate", it.gateway.clock.ms)
        assert newest is not None
        assert newest.height == FULL - 1


async def test_status_before_the_first_look_is_nothing(tmp_path: Path) -> None:
    async with kept(tmp_path) as it:
        assert it.retention.status() == {}
        await it.retention.turn()
        told = it.retention.status()
        assert (told["held"], told["problem"], told["prunable"]) == (None, "", 0)
        assert 0 < told["used"] < told["quota"] < 2**20
        assert told["free"] > 0


async def test_the_store_is_the_same_after_a_restart(tmp_path: Path) -> None:
    async with kept(tmp_path) as it:
        await it.fill(FULL)
        await it.stored("coop", 24)
        await it.retention.turn()
        found = await check_sound(it.store)
        readings = it.store.blocks.readings
    store = await Store.open(tmp_path, read_only=True)
    try:
        assert await check_sound(store) == found
        assert store.blocks.readings == readings == FULL * A_BLOCK
    finally:
        await store.close()


# Other settings while it runs


async def test_other_settings_count_from_the_next_look_on(tmp_path: Path) -> None:
    async with kept(tmp_path, nodes={"coop": None, "vet": None}, min_age_h=1000, stored_by=2) as it:
        await it.fill(FULL)
        await it.stored("coop", FULL)
        await it.retention.turn()
        assert it.retention.status()["prunable"] == 0
        await it.retention.change(settings(stored_by=1), keyed({"coop": None}))
        await it.retention.turn()
        assert await it.here() != list(range(FULL))
        await check_sound(it.store)


async def test_a_node_whose_word_counts_no_more_lets_nothing_go(tmp_path: Path) -> None:
    async with kept(tmp_path) as it:
        await it.fill(FULL)
        await it.stored("coop", FULL)
        await it.retention.change(settings(), keyed({"vet": None}))
        await it.retention.turn()
        assert await it.here() == list(range(FULL))


async def test_a_node_made_anew_under_an_old_name_lets_nothing_go_before_its_own_word(tmp_path: Path) -> None:
    """What the one before it held is not there any more."""
    async with kept(tmp_path) as it:
        await it.fill(FULL)
        await it.stored("coop", FULL)
        await it.retention.change(settings(), {"coop": Keeper("another key", None)})
        await it.retention.turn()
        assert await it.here() == list(range(FULL))
        await it.store.cosigned.recognise("coop", "another key")
        await it.retention.turn()
        assert await it.here() == list(range(FULL))
        await it.store.cosigned.wanted("coop", 0)
        await it.store.cosigned.save("coop", STORED, 9, "note\n", "line\n")
        await it.retention.turn()
        assert set(await it.here()) < set(range(FULL))
        assert set(range(9, FULL)) <= set(await it.here())


async def test_a_larger_store_takes_more_at_once_and_a_smaller_one_prunes(tmp_path: Path) -> None:
    async with kept(tmp_path) as it:
        filling = asyncio.create_task(it.fill(60))
        await until(lambda: it.gateway.journal.full)
        size = it.file_bytes()
        larger = settings(max_bytes="8 MiB", min_free="1 MiB")
        await it.retention.change(larger, keyed({"coop": None}))
        await filling
        assert it.file_bytes() > size
        await it.retention.turn()
        told = it.retention.status()
        assert (told["quota"], told["min_free"]) == (quota_of(larger).pages * PAGE_BYTES, 2**20)
        await it.stored("coop", it.store.blocks.size)
        await it.retention.change(settings(), keyed({"coop": None}))
        await it.retention.turn()
        assert it.file_bytes() < size
        await check_sound(it.store)


async def test_no_deletion_begins_by_what_was_found_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person asks for another copy while old blocks are being pruned."""
    monkeypatch.setattr(limits, "PRUNE_ROWS", 1)
    async with kept(tmp_path, nodes={"coop": None, "vet": None}) as it:
        await it.fill(FULL)
        await it.stored("coop", FULL)
        drop, drops = pruning.drop, 0

        async def changing(*args: Any) -> int:
            nonlocal drops
            drops += 1
            if drops == 1:
                await it.retention.change(settings(stored_by=2), keyed({"coop": None, "vet": None}))
            return await drop(*args)

        monkeypatch.setattr(pruning, "drop", changing)
        monkeypatch.setattr(Room, "lacking", property(lambda room: 1))  # one byte at a time
        await it.retention.turn()
        assert drops == 1
        assert await it.here() == list(range(1, FULL))
