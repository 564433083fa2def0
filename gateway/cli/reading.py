"""A store opened to read, beside the gateway that may be running on it."""

import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.errors import StoreError
from gateway.store import Store

_SOUND = "fieldgate verify --store tells what is sound"


@asynccontextmanager
async def opened(data_dir: Path | str) -> AsyncIterator[Store]:
    """The store of a data_dir, closed whatever happens: its threads would keep the process."""
    store = await Store.open(Path(data_dir), read_only=True)
    try:
        yield store
    except zlib.error as exc:
        raise StoreError(f"a journal row does not inflate: {exc}", where=str(data_dir), cure=_SOUND) from exc
    finally:
        await store.close()
