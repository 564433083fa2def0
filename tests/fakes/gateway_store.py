"""A gateway's store with sealed blocks, and the parts that write to it, put together as app.py does: without drivers,
nodes and web, with a fixed key and a clock that stands still. A crash is `kill`: what is in memory is gone."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from fakes.clock import FakeClock

from drivers.api import Item, Sample
from gateway import store as stores
from gateway.core import block, body, cbor, merkle, senml
from gateway.core.note import ED25519, parse_checkpoint, parse_note, verify_note
from gateway.errors import HeldError
from gateway.intake import Intake
from gateway.keys import Signer, encode_key, parse_key
from gateway.sealer import Sealer
from gateway.store import SIGN_STATE, Store
from gateway.store.database import Quota
from gateway.store.journal import Journal, newest_keys, open_block
from gateway.store.rollup import ROLLUP, Rollup
from gateway.store.signstate import SignState

ORIGIN = "henhouse-3.example.farm/1"
PATIENCE_S = 10.0


def signer(name: str = ORIGIN, *, of: str = "") -> Signer:
    """The same key every time for a name; `of` makes another one under the same name."""
    seed = hashlib.sha256(b"gateway_store " + (of or name).encode()).digest()
    return parse_key(encode_key(name, ED25519, seed), where="a test")


async def until(true: Callable[[], bool]) -> None:
    """Returns when it is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.001)


def sample(source: str = "climate", value: float = 21.5, **more: Any) -> Sample:
    """One sample of one value, whose payload is made of it."""
    more.setdefault("payload", b'{"temp":%d}' % int(value))
    return Sample(source, [("temp", "Cel", value)], **more)


def balanced(intake: Intake) -> bool:
    """DESIGN.md, invariant 5, with what is on its way told apart."""
    return all(
        tally.arrived - intake.waiting(source) == tally.stored + tally.duplicate + tally.rejected + tally.dropped
        for source, tally in intake.tallies.items()
    )


class Pipeline:
    """Intake, journal and sealer on one store. `wrap` puts something that misbehaves between sealer and blocks."""

    def __init__(
        self, store: Store, journal: Journal, intake: Intake, sealer: Sealer, rollup: Rollup, clock: FakeClock
    ) -> None:
        self.store = store
        self.rollup = rollup
        self.journal = journal
        self.intake = intake
        self.sealer = sealer
        self.clock = clock
        self.state: SignState | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.emit: Callable[[Sequence[Item]], asyncio.Future[None]] = intake.emitter("fake", {})

    @classmethod
    async def open(
        cls,
        data_dir: Path,
        *,
        clock: FakeClock | None = None,
        max_count: int = 4,
        linger_s: float = 0.0,
        max_age_s: float = 60.0,
        heartbeat_s: float = 600.0,
        windows: dict[str, int] | None = None,
        wrap: Callable[[Any], Any] = lambda blocks: blocks,
        quota: Quota | None = None,
    ) -> "Pipeline":
        """Opens the store, which is made where there is none. Nothing runs yet."""
        clock = clock or FakeClock()
        if not (data_dir / stores.DATABASE).exists():
            await asyncio.to_thread(stores.create, data_dir, signer().vkey)
        store = await Store.open(data_dir, quota=quota)
        try:
            plan = await store.blocks.plan()
            found = await open_block(
                store.db, store.blocks.sealed_row, store.blocks.extent, plan.height if plan else None
            )
            journal = Journal(store.db, found, linger_s=linger_s, max_count=max_count, monotonic=clock.monotonic)
            seen = await newest_keys(store.db, windows or {"local"})
            rollup = Rollup(data_dir / ROLLUP, store.db, clock, min_free=0)
            intake = Intake(journal, clock, seen, windows or {}, rollup)
            sealer = Sealer(wrap(store.blocks), journal, clock, max_age_s=max_age_s, heartbeat_s=heartbeat_s)
        except BaseException:
            await store.close()
            raise
        return cls(store, journal, intake, sealer, rollup, clock)

    async def recover(
        self, key: Signer | None = None, *, wrap: Callable[[SignState], Any] = lambda state: state
    ) -> HeldError | None:
        """Opens the sign-state and begins signing; what stands against it is held, and returned."""
        key = key or signer()
        try:
            self.state = await SignState.open(self.store.data_dir / SIGN_STATE, str(key.vkey))
            await self.sealer.recover(key, wrap(self.state))
        except HeldError as error:
            self.sealer.hold(error)
            return error
        return None

    def start(self) -> "Pipeline":
        """Runs journal and sealer."""
        self.tasks = [asyncio.create_task(self.journal.run()), asyncio.create_task(self.sealer.run())]
        return self

    async def running(self, awaited: Awaitable[None]) -> None:
        """Awaits it; what ends journal or sealer meanwhile is raised."""
        waiting = asyncio.ensure_future(awaited)
        await asyncio.wait({waiting, *self.tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in self.tasks:
            if task.done() and not waiting.done():
                waiting.cancel()
                await task
        await waiting

    async def sealed(self) -> None:
        """Returns when all that is closed is sealed."""
        await self.running(until(lambda: self.store.blocks.size == self.journal.block.height))

    async def age(self) -> None:
        """Lets the open block grow old, or an empty one fall due; returns when it is sealed."""
        await self.sealed()
        height = self.journal.block.height
        self.clock.advance(3600)
        self.journal.grown.set()
        await self.running(until(lambda: self.store.blocks.size > height))
        await self.sealed()

    async def stop(self) -> None:
        """The ordered stop."""
        await self.running(self.journal.commit())
        self.sealer.stop()
        await self.tasks[1]
        await self.rollup.close()
        await self.kill()

    async def kill(self) -> None:
        """What was not durable is gone. Errors of the tasks are left to whoever looks at `tasks`."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.state is not None:
            await self.state.close()
        await self.store.close()


@contextlib.asynccontextmanager
async def pipeline(data_dir: Path, **options: Any) -> AsyncIterator[Pipeline]:
    """A running pipeline, killed at the end. What ends journal or sealer ends the test."""
    made = await Pipeline.open(data_dir, **options)
    test = asyncio.current_task()
    assert test is not None

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception():
            test.cancel()

    try:
        await made.recover()
        for task in made.start().tasks:
            task.add_done_callback(ended)
        yield made
    except asyncio.CancelledError:
        for task in made.tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error from None
        raise
    finally:
        await made.kill()


async def make_store(data_dir: Path, blocks: int = 3, *, readings: int = 3, sources: int = 2) -> Store:
    """An open store of `blocks` sealed blocks of `readings` readings, a second apart, of sources `s-0`, `s-1`, ..."""
    made = await Pipeline.open(data_dir, max_count=max(readings, 1))
    await made.recover()
    made.start()
    for height in range(blocks):
        for index in range(readings):
            made.clock.advance(1)
            made.emit([sample(f"s-{index % sources}", height + index / 10)])
        if readings:
            await made.journal.commit()
        await (made.sealed() if readings else made.age())
    await made.kill()
    return await Store.open(data_dir)


async def check_chain(store: Store, key: Signer | None = None) -> list[bytes]:
    """Verifies every entry, body and the newest checkpoint of a store; returns all packs in order."""
    key = key or signer()
    packs: list[bytes] = []
    hashes: list[bytes] = []
    prev = block.NO_PREV
    for height in range(store.blocks.size):
        row = await store.blocks.block(height)
        assert row is not None
        entry = block.parse_entry(row.entry)
        entry.verify(key.vkey.public)
        block.check_successor(entry, prev, key.vkey.name, height)
        prev = block.next_prev(row.entry)
        hashes.append(prev)
        data = b"".join([chunk async for chunk in store.blocks.body_chunks(height)])
        verified = body.verify_body(entry.header, data)
        assert isinstance(verified, body.WholeBody)
        assert verified.items == [item async for item in store.blocks.items(height)]
        packs += [pack for pack, _ in verified.items]
    newest = await store.blocks.note()
    assert (newest is None) == (store.blocks.size == 0)
    if newest is not None:
        note = parse_note(newest[1])
        verify_note(note, key.vkey)
        checkpoint = parse_checkpoint(note.text)
        assert (newest[0], checkpoint.size, checkpoint.root) == (
            store.blocks.size,
            store.blocks.size,
            merkle.root(hashes),
        )
    assert store.blocks.frontier.root() == merkle.root(hashes)
    return packs


def values(packs: Sequence[bytes], name: str = "temp") -> list[cbor.Value]:
    """The values of that name in packs, in order."""
    return [record.value for pack in packs for record in senml.resolve(pack).records if record.name == name]
