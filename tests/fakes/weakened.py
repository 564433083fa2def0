"""Controls: SQLite waits for less than it should."""

from typing import Any

import aiosqlite

from gateway.store import database

_LEVELS = {"OFF": 0, "NORMAL": 1}


def weaken(level: str) -> None:
    """From now on databases of this process are opened with synchronous=OFF or NORMAL."""
    prepare = database._prepare

    async def weakened(con: aiosqlite.Connection, *args: Any, **more: Any) -> None:
        await prepare(con, *args, **more)
        await con.execute(f"PRAGMA synchronous={level}")

    database._prepare = weakened  # type: ignore[assignment]
    database._ASSERTED["synchronous"] = _LEVELS[level]  # type: ignore[index]
