"""Opening what a gateway writes to: the store, on a full disk too, and the journal as it was left."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from gateway.errors import StoreFullError
from gateway.settings import RetentionSettings, size_bytes
from gateway.store import Store, space
from gateway.store.journal import Journal, open_block

log = logging.getLogger(__name__)

_ROOM_RETRY_S = 1.0


async def open_store(
    data_dir: Path,
    settings: RetentionSettings,
    stopping: asyncio.Event,
    waits: Callable[[StoreFullError], object] = lambda _: None,
) -> Store | None:
    """The store. On a full disk the ballast is given up for it, and without one it is waited for room.

    None where the gateway is told to stop before there is any. waits: called at each try that finds none. NoRoomError
    where a schema step is due, and its snapshot does not fit.
    """
    quota, min_free = space.quota_of(settings), size_bytes(settings.min_free)
    told = False
    while not stopping.is_set():
        try:
            return await Store.open(data_dir, quota=quota, leave_free=min_free)
        except StoreFullError as error:
            if not await asyncio.to_thread(space.give_ballast, data_dir, 0):
                if not told:
                    log.error("the store cannot be opened, and is tried again: %s", error)
                told = True
                waits(error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_ROOM_RETRY_S):
                        await stopping.wait()
    return None


async def open_journal(store: Store, *, linger_s: float, max_count: int, monotonic: Callable[[], float]) -> Journal:
    """The journal, its open block as it was left."""
    plan = await store.blocks.plan()
    block = await open_block(store.db, store.blocks.sealed_row, store.blocks.extent, plan.height if plan else None)
    return Journal(store.db, block, linger_s=linger_s, max_count=max_count, monotonic=monotonic)
