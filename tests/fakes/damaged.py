"""A gateway's data_dir as it lies on disk, a node that holds its log, and ways to damage copies of it."""

import asyncio
import random
import shutil
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from fakes.gateway_store import ORIGIN, Pipeline, sample, signer
from fakes.nodes import READER, SEEN, STORED, running

from gateway.core.body import Item
from gateway.node import log as judge
from gateway.recover import Job, NodeReader
from gateway.settings import EnrolledGateway, NodeLink
from gateway.store import DATABASE, SIGN_STATE, Store
from gateway.store.signstate import Head, SignState

SEALED, A_BLOCK, UNSEALED = 9, 7, 5
VKEY = signer().vkey


@dataclass(frozen=True)
class Truth:
    """What a store held before it was damaged: entries, readings of each block, readings in no block."""

    entries: list[bytes]
    blocks: list[list[Item]]
    unsealed: list[bytes]


async def make(folder: Path) -> Truth:
    """Sealed blocks, some with payloads apart, one empty, and readings that are in no block yet."""
    made = await Pipeline.open(folder, max_count=A_BLOCK)
    await made.recover()
    made.start()
    number = 0
    for height in range(SEALED):
        if height == SEALED // 2:
            await made.age()
            continue
        for _ in range(A_BLOCK):
            payload = random.Random(number).randbytes(6_000 if number % 5 == 0 else 20)
            made.emit([sample(f"s-{number % 3}", number, payload=payload)])
            made.clock.advance(1)
            number += 1
            if number % 3 == 0:
                await made.journal.commit()
        await made.journal.commit()
        await made.sealed()
    for _ in range(UNSEALED):
        made.emit([sample("s-0", number, payload=b"x" * (5_000 if number % 2 else 9))])
        number += 1
        await made.journal.commit()
    await made.kill()
    return await read(folder)


async def read(folder: Path) -> Truth:
    """What a sound store holds."""
    store = await Store.open(folder, read_only=True)
    try:
        size = store.blocks.size
        blocks = [[item async for item in store.blocks.items(height)] for height in range(size)]
        sealed = sum(len(block) for block in blocks)
        everything = [
            pack
            for source in ("s-0", "s-1", "s-2", "gateway")
            async for pack in store.blocks.readings_between(source, 0, 2**53)
        ]
        packs = {pack for block in blocks for pack, _ in block}
        assert len(packs) == sealed
        return Truth(await store.blocks.entries(0, size), blocks, [pack for pack in everything if pack not in packs])
    finally:
        await store.close()


# -- damage -----------------------------------------------------------------------------------------------------------


def flip(path: Path, rng: random.Random) -> str:
    """One bit."""
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data) * 8)
    data[at // 8] ^= 1 << at % 8
    path.write_bytes(data)
    return f"bit {at}"


def zero(path: Path, rng: random.Random) -> str:
    """One page, as a card returns it that has lost it."""
    data = bytearray(path.read_bytes())
    page = rng.randrange(1, len(data) // 1024)
    data[page * 1024 : (page + 1) * 1024] = bytes(1024)
    path.write_bytes(data)
    return f"page {page + 1}"


def garble(path: Path, rng: random.Random) -> str:
    """Part of a page, overwritten."""
    data = bytearray(path.read_bytes())
    at = rng.randrange(1024, len(data) - 64)
    data[at : at + 64] = rng.randbytes(64)
    path.write_bytes(data)
    return f"64 bytes at {at}"


def truncate(path: Path, rng: random.Random) -> str:
    """The end is cut off."""
    size = rng.randrange(path.stat().st_size)
    with path.open("r+b") as file:
        file.truncate(size)
    return f"cut to {size} bytes"


Damage = Callable[[Path, random.Random], str]
WAYS: tuple[Damage, ...] = (flip, flip, flip, zero, garble, truncate)


def spoil(good: Path, copy: Path, name: str, seed: int) -> str:
    """A copy of a data_dir with one of its files damaged in a way that the seed chooses; what was done."""
    rng = random.Random(seed)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(good, copy)
    way = rng.choice(WAYS)
    return f"seed {seed}: {way.__name__} of {name}: {way(copy / name, rng)}"


# -- a node -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def node_with(folder: Path, good: Path) -> AsyncIterator[NodeReader]:
    """A real node that holds the log of a store, bodies and all, and a reader of it."""
    enrolled = EnrolledGateway(vkey=str(VKEY), consumers=(str(READER.vkey),))
    await asyncio.to_thread(folder.mkdir)
    log = sha256(ORIGIN.encode()).hexdigest()
    async with running(folder, {"henhouse": enrolled}) as client:
        store = await Store.open(good, read_only=True)
        try:
            kept = await store.blocks.note()
            assert kept is not None
            data = judge.encode_sync(0, await store.blocks.entries(0, kept[0]), kept[1])
            assert (await client.post_sync(log, data)).status == 200
            for height in range(kept[0]):
                body = b"".join([chunk async for chunk in store.blocks.body_chunks(height)])
                headers = {"Content-Type": "application/cbor", "Content-Encoding": "deflate"}
                path = f"/v1/logs/{log}/blocks/{height}"
                assert (await client.ask("PUT", path, data=zlib.compress(body), headers=headers)).status in (
                    204,
                    404,
                    409,
                )
            assert (await client.post_sync(log, judge.encode_sync(kept[0], [], kept[1]))).status == 200
        finally:
            await store.close()
        link = NodeLink(url=f"http://127.0.0.1:{client.port}", seen_key=str(SEEN), stored_key=str(STORED))
        reader = NodeReader("coop", link, VKEY, READER)
        try:
            yield reader
        finally:
            await reader.close()


async def job(data_dir: Path, node: NodeReader | None) -> Job:
    """A rebuild of the store, as the command asks for it."""
    try:
        state = await SignState.inspect(data_dir / SIGN_STATE, str(VKEY))
    except Exception:
        head: Head | None = None
    else:
        head = state.head
        await state.close()
    return Job(
        data_dir=data_dir,
        vkey=VKEY,
        node=node,
        head=head,
        signer=signer(),
        cosigners={"coop": node.link} if node is not None else {},
        brokers=["local"],
        max_count=A_BLOCK,
        now_ms=1_795_500_000_000,
    )


__all__ = ["DATABASE", "SIGN_STATE", "Truth", "job", "make", "node_with", "read", "spoil"]
