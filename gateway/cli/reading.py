"""A store opened to read, beside the gateway that may be running on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.store import Store


@asynccontextmanager
async def opened(data_dir: Path | str) -> AsyncIterator[Store]:
    """The store of a data_dir, closed whatever happens: its threads would keep the process."""
    store = await Store.open(Path(data_dir), read_only=True)
    try:
        yield store
    finally:
        await store.close()
