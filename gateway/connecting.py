"""How the gateway's store and the node's open a connection of aiosqlite: nothing of one that fails is left."""

import asyncio
from pathlib import Path

import aiosqlite


async def connect(database: str | Path, *, uri: bool = False) -> aiosqlite.Connection:
    """A connection without transactions of its own. sqlite3.Error where the file cannot be opened.

    A thread that could not open it tells the loop once more when it ends: the loop is there until then.
    """
    opening = aiosqlite.connect(database, uri=uri, isolation_level=None)
    try:
        return await opening
    except BaseException:  # a cancellation, too: the loop may be closed next
        await asyncio.to_thread(opening._thread.join)
        raise
