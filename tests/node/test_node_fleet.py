"""A node puts its logs on a chain as one statement, once, through deaths at all steps, and each log gets its way."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.clock import FakeClock
from fakes.collector import until
from fakes.little_chain import KIND, NAME, LittleChain, World, check
from fakes.log_maker import LogMaker
from fakes.nodes import NAME as NODE
from fakes.nodes import Client, enrolled, running

from gateway.anchors.api import Chain, Place, Sight, Submission
from gateway.anchors.task import Anchoring
from gateway.core import anchor_kinds, cbor
from gateway.core.anchor import Statement
from gateway.core.anchor_row import ANCHORED, FAILED, WAITING, AnchorRow
from gateway.node.fleet import Fleet
from gateway.node.sqlite import SqliteStore
from gateway.node.store import Evidence
from gateway.settings import AnchorSettings

SETTINGS = AnchorSettings(kind=KIND, every_s=0.0, confirmations=2, look_s=0.002, late_s=1_000.0)
KINDS = {KIND: check}
CLOCK = FakeClock()


class Kind:
    """What gateway.fleet uses of a kind: a little chain."""

    final = False

    def __init__(self, world: World, made: Any = LittleChain) -> None:
        self._world, self._made = world, made

    def chain(self, _: object) -> str:
        return NAME

    @asynccontextmanager
    async def opened(self, _: object, __: object) -> AsyncIterator[Chain]:
        yield self._made(self._world)


def logs(count: int = 3) -> list[LogMaker]:
    return [LogMaker(f"gw-{n}.example/1").add(n + 1) for n in range(count)]


@asynccontextmanager
async def anchored(folder: Path, makers: list[LogMaker], world: World) -> AsyncIterator[Client]:
    """A node that serves these logs and keeps a chain told."""
    tables = {f"gw-{n}": enrolled(maker) for n, maker in enumerate(makers)}
    anchors = {"coop": SETTINGS}
    async with running(folder, tables, anchors=anchors, kind_of=lambda _: Kind(world), clock=CLOCK) as client:
        yield client


async def parts_of(client: Client, maker: LogMaker) -> list[Any]:
    reply = await client.ask("GET", f"/{maker.id}/fleet")
    assert reply.status == 200
    found = cbor.decode(reply.data)
    assert isinstance(found, list)
    return found


def proved(maker: LogMaker, part: list[Any], count: int) -> None:
    """What a log is given is of its own tree, and stands on the chain."""
    size, root, evidence = part
    assert root == maker.root(size)
    found = anchor_kinds.check_fleet(Statement.of(maker.origin, size, root), evidence, (), KINDS)
    assert found is not None
    assert (found.node, found.logs, found.chain) == (NODE, count, NAME)


async def synced(folder: Path, makers: list[LogMaker], *, again: bool = False) -> None:
    """A node that has these logs, and no chain yet."""
    async with running(folder, {f"gw-{n}": enrolled(maker) for n, maker in enumerate(makers)}) as client:
        for maker in makers:
            assert 6 not in (await client.sync(maker, maker.size - 1 if again else 0)).fields


async def handed_out(client: Client, maker: LogMaker) -> None:
    """Until the log stands in an anchor."""
    async with asyncio.timeout(20):
        while (await client.ask("GET", f"/{maker.id}/fleet")).status != 200:
            await asyncio.sleep(0.01)


async def test_one_statement_for_three_logs_and_each_is_told_of_it(tmp_path: Path) -> None:
    makers, world = logs(), World()
    await synced(tmp_path, makers)
    async with anchored(tmp_path, makers, world) as client:
        await until(lambda: len(world.pool) == 1)
        assert (await client.ask("GET", f"/{makers[0].id}/fleet")).status == 404
        world.mine(2)
        await handed_out(client, makers[0])
        (number,) = (await client.sync(makers[0], 1)).fields[6]
        for maker in makers:
            (part,) = await parts_of(client, maker)
            proved(maker, part, 3)
            assert (part[0], part[2][1]) == (maker.size, number)
        assert (await client.ask("GET", f"/{'00' * 32}/fleet")).status == 404
    assert len(world.sent) == 1


async def test_it_is_handed_out_after_a_restart_and_only_what_grew_is_sent(tmp_path: Path) -> None:
    makers, world = logs(), World()
    await synced(tmp_path, makers)
    async with anchored(tmp_path, makers, world) as client:
        await until(lambda: len(world.pool) == 1)
        world.mine(2)
        await handed_out(client, makers[0])
        told = [await parts_of(client, maker) for maker in makers]
    async with anchored(tmp_path, makers, world) as client:
        assert [await parts_of(client, maker) for maker in makers] == told
        await asyncio.sleep(0.1)
        assert len(world.sent) == 1
    await synced(tmp_path, [makers[0].add()], again=True)
    async with anchored(tmp_path, makers, world) as client:
        await until(lambda: len(world.sent) > 1)
        world.mine(2)
        async with asyncio.timeout(20):
            while (await parts_of(client, makers[0]))[0][0] == 1:
                await asyncio.sleep(0.01)
        (part,) = await parts_of(client, makers[0])
        proved(makers[0], part, 3)
        assert part[0] == 2


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("step", ["make", "send", "sent", "look", "prove"])
async def test_a_death_at_any_step_leaves_one_statement(tmp_path: Path, step: str) -> None:
    """The next process goes on where this one ended, by what the node's store has."""
    world, maker = World(), LogMaker().add(2)

    class Dying(LittleChain):
        async def make(self, statement: Statement, former: Submission | None) -> bytes:
            data = await super().make(statement, former)
            return dies("make", data)

        async def send(self, submission: Submission) -> bytes:
            dies("send", b"")
            return dies("sent", await super().send(submission))

        async def look(self, submission: Submission) -> Sight:
            return dies("look", await super().look(submission))

        async def prove(self, submission: Submission, place: Place, confirmations: int) -> cbor.Value:
            return dies("prove", await super().prove(submission, place, confirmations))

    def dies(where: str, value: Any) -> Any:
        if where == step:
            raise Killed
        return value

    async with running(tmp_path, {"gw": enrolled(maker)}) as client:
        await client.sync(maker, 0)
    for made in (Dying, LittleChain):
        store = await SqliteStore.open(tmp_path / "node.sqlite")
        fleet = Fleet("coop", NODE, store, {maker.id}, lambda: 1_795_000_000.0)
        await fleet.open()
        kind = Kind(world, made)
        task = Anchoring("coop", SETTINGS, NAME, lambda kind=kind: kind.opened(0, 0), fleet, CLOCK, random.Random(1))
        living = asyncio.create_task(task.run())
        with contextlib.suppress(Killed, TimeoutError):
            async with asyncio.timeout(10):
                while not living.done() and task.status()["state"] != ANCHORED:
                    await asyncio.sleep(0.002)
                    if world.pool or len(world.blocks) > 1:
                        world.mine()
        assert living.done() == (made is Dying)
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
        part = fleet.part(maker.id)
        await store.close()
    assert part is not None
    proved(maker, part, 1)
    assert len(set(world.sent)) == 1
    held = [data for block in world.blocks for data in block.held]
    assert len(held) == len(set(held)) == 1


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with running(tmp_path, {"gw": enrolled(LogMaker().add(1))}) as client:
        await client.sync(LogMaker().add(1), 0)
    store = await SqliteStore.open(tmp_path / "node.sqlite")
    yield Fleet("coop", NODE, store, {LogMaker().id}, lambda: 1_000.0)
    await store.close()


async def test_numbers_rise_where_the_clock_does_not(fleet: Fleet) -> None:
    seen = []
    for _ in range(3):
        number, root = await fleet.take()
        seen.append(number)
        await fleet.save(AnchorRow("coop", number, root, KIND, NAME, 0, FAILED, over=True))
    assert seen == [1_000, 1_001, 1_002]


async def test_what_a_reorganisation_takes_is_not_handed_out(fleet: Fleet) -> None:
    number, root = await fleet.take()
    row = AnchorRow("coop", number, root, KIND, NAME, 0, ANCHORED, over=True, evidence=cbor.encode(1))
    await fleet.save(row)
    assert fleet.number(LogMaker().id) == number
    await fleet.save(AnchorRow("coop", number, root, KIND, NAME, 0, WAITING))
    assert fleet.number(LogMaker().id) is None
    assert fleet.part(LogMaker().id) is None
    assert (await fleet.current("coop")) is not None


async def test_there_is_no_moment_without_an_anchor_while_the_next_one_takes_its_place(fleet: Fleet) -> None:
    for _ in range(2):
        number, root = await fleet.take()
        row = AnchorRow("coop", number, root, KIND, NAME, 0, ANCHORED, over=True, evidence=cbor.encode(1))
        saving = asyncio.create_task(fleet.save(row))
        told = set()
        while not saving.done():
            told.add(fleet.number(LogMaker().id))
            await asyncio.sleep(0)
        assert fleet.number(LogMaker().id) == number
    assert told <= {number - 1, number}


async def test_a_log_that_is_not_served_stands_in_none(tmp_path: Path, fleet: Fleet) -> None:
    other = Fleet("coop", NODE, fleet._store, set(), lambda: 1_000.0)
    assert await fleet.grown(None) == 1
    assert await other.grown(None) == 0


async def test_a_log_that_leaves_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Neither where it is frozen nor where it is enrolled no more: its blocks are not owed by those that stay."""
    large, small = LogMaker("gw-0.example/1").add(9), LogMaker("gw-1.example/1").add(1)
    await synced(tmp_path, [large, small])
    store = await SqliteStore.open(tmp_path / "node.sqlite")
    fleet = Fleet("coop", NODE, store, {large.id, small.id}, lambda: 1_000.0)
    number, root = await fleet.take()
    row = AnchorRow("coop", number, root, KIND, NAME, 0, FAILED, over=True)
    await store.accuse(large.id, Evidence("root", 9, b"", b"", 0), freeze="two roots of size 9")
    await store.close()
    await synced(tmp_path, [small.add()], again=True)
    store = await SqliteStore.open(tmp_path / "node.sqlite")
    fleet = Fleet("coop", NODE, store, {large.id, small.id}, lambda: 1_000.0)
    assert await fleet.grown(row) == 1
    assert await Fleet("coop", NODE, store, {small.id}, lambda: 1_000.0).grown(row) == 1
    await store.close()


async def test_leaves_that_do_not_lead_to_the_root_are_not_handed_out(fleet: Fleet) -> None:
    number, _ = await fleet.take()
    await fleet.save(AnchorRow("coop", number, bytes(32), KIND, NAME, 0, ANCHORED, over=True, evidence=cbor.encode(1)))
    assert fleet.number(LogMaker().id) is None
