"""A small store with retention on it, filled with readings that do not compress; its nodes say what a test says."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from fakes.clock import FakeClock
from fakes.gateway_store import Pipeline, pipeline, sample

from gateway.core import body, merkle, senml
from gateway.core.block import parse_entry
from gateway.retention import Keeper, Retention
from gateway.settings import RetentionSettings
from gateway.store import Store
from gateway.store.cosigned import STORED
from gateway.store.space import quota_of

SMALL = "3 MiB"  # half a MiB of it for readings
A_BLOCK = 16  # readings


def keyed(nodes: Mapping[str, int | None]) -> dict[str, Keeper]:
    """Each with a key of its own, from the height where the configuration says it."""
    return {name: Keeper(f"key of {name}", begins) for name, begins in nodes.items()}


def settings(**changes: Any) -> RetentionSettings:
    return RetentionSettings(**{"max_bytes": SMALL, "min_free": "0 KiB", "min_age_h": 0, **changes})


class Kept:
    """A pipeline, its retention, and what was acknowledged."""

    def __init__(self, gateway: Pipeline, retention: Retention) -> None:
        self.gateway, self.retention = gateway, retention
        self.store = gateway.store
        self._rng = random.Random(1)
        self._number = 0

    async def fill(self, blocks: int, *, source: str = "climate", size: int = 1000) -> None:
        """Makes so many blocks of A_BLOCK readings of `size` bytes, as far as there is room, a second for each."""
        for _ in range(blocks):
            samples = []
            for _ in range(A_BLOCK):
                self._number += 1
                samples.append(sample(source, self._number, payload=self._rng.randbytes(size)))
            self.gateway.clock.advance(1)
            await self.gateway.running(self.gateway.emit(samples))
            await self.gateway.sealed()

    async def stored(self, node: str, size: int, *, begins: int | None = 0) -> None:
        """The node's word, as upstream keeps it."""
        await self.store.cosigned.recognise(node, f"key of {node}")
        if begins is not None:
            await self.store.cosigned.wanted(node, begins)
        await self.store.cosigned.fell(node, size)
        await self.store.cosigned.save(node, STORED, size, f"note {size}\n", f"line {size}\n")

    async def here(self) -> list[int]:
        """The heights whose readings are here."""
        rows = [await self.store.blocks.block(height) for height in range(self.store.blocks.size)]
        return [row.height for row in rows if row is not None and row.secret is not None]

    def file_bytes(self) -> int:
        return self.store.db.path.stat().st_size


@contextlib.asynccontextmanager
async def kept(
    data_dir: Path,
    *,
    nodes: Mapping[str, int | None] | None = None,
    clock: FakeClock | None = None,
    options: Mapping[str, Any] | None = None,
    **changes: Any,
) -> AsyncIterator[Kept]:
    """A gateway whose store is bounded; retention takes its turns when the test says so."""
    chosen = settings(**changes)
    given = {"max_count": A_BLOCK, "quota": quota_of(chosen), "clock": clock, **(options or {})}
    await asyncio.to_thread(data_dir.mkdir, exist_ok=True)
    async with pipeline(data_dir, **given) as gateway:
        retention = Retention(
            chosen,
            gateway.store,
            gateway.journal,
            gateway.intake,
            nodes=keyed({"coop": None} if nodes is None else nodes),
            sealing_full=lambda: gateway.sealer.full,
        )
        yield Kept(gateway, retention)


async def check_sound(store: Store) -> dict[str, list[int]]:
    """Every block is here whole, or pruned, or gone with a reading that tells it; heights by what they are."""
    found: dict[str, list[int]] = {"whole": [], "pruned": [], "gone": []}
    told: list[tuple[int, int, int]] = []
    for height in range(store.blocks.size):
        row = await store.blocks.block(height)
        assert row is not None
        header = parse_entry(row.entry).header
        if row.secret is not None:
            data = b"".join([chunk async for chunk in store.blocks.told_chunks(height)])
            verified = body.verify_body(header, data)
            assert isinstance(verified, body.WholeBody)
            found["whole"].append(height)
            told += [_told(height, pack) for pack, _ in verified.items if b"gone" in pack]
        elif (lost := await store.blocks.gone(height)) is not None:
            data = b"".join([chunk async for chunk in store.blocks.told_chunks(height)])
            gone = body.verify_body(header, data)
            assert isinstance(gone, body.GoneBody)
            found["gone"].append(height)
            assert gone.loss_height == lost.loss
            assert any(at == lost.loss and low <= height < high for at, low, high in told) or lost.loss > height
        else:
            found["pruned"].append(height)
    for height in found["gone"]:
        lost = await store.blocks.gone(height)
        assert lost is not None
        if (row := await store.blocks.block(lost.loss)) is not None and row.secret is not None:
            assert any(at == lost.loss and low <= height < high for at, low, high in told)
    hashes = [merkle.leaf_hash(entry) for entry in await store.blocks.entries(0, store.blocks.size, 2**40)]
    assert merkle.root(hashes) == store.blocks.frontier.root()
    return found


def _told(height: int, pack: bytes) -> tuple[int, int, int]:
    said = {record.name: record.value for record in senml.resolve(pack).records}
    if said.get("event") != "gone":
        return height, 0, 0
    low, high = said["from"], said["to"]
    assert isinstance(low, int)
    assert isinstance(high, int)
    return height, low, high
