"""Sealed blocks and their readings for whoever looks through them, a bounded page at a time."""

from typing import Literal, NamedTuple

from gateway.core import block as cose
from gateway.core.body import Item
from gateway.errors import FormatError
from gateway.store import Store
from gateway.store.database import Row

Place = Literal["here", "pruned", "gone", "damaged"]
"""Where a block's readings are: in this store; only at nodes; nowhere, which a reading tells. Or it cannot be read."""

_COLUMNS = (
    "height,count,secret IS NULL,entry,(SELECT coalesce(sum(length(data)),0) FROM journal "
    "WHERE row>=first_row AND row<=last_row)"
)


class Listed(NamedTuple):
    """A sealed block. header: None where it is damaged. size: bytes of its readings in this store, compressed."""

    height: int
    header: cose.Header | None
    place: Place
    size: int


async def newest_blocks(store: Store, limit: int, before: int | None = None) -> list[Listed]:
    """At most `limit` sealed blocks from below a height, the newest first."""
    sql = f"SELECT {_COLUMNS} FROM block WHERE height<? ORDER BY height DESC LIMIT ?"
    size = store.blocks.size
    rows = await store.db.read(sql, (size if before is None else min(before, size), limit))
    return [await _listed(store, row) for row in rows]


async def _listed(store: Store, row: Row) -> Listed:
    height, count, lacking, entry, size = row
    try:
        header = cose.parse_entry(entry).header
    except (FormatError, TypeError):
        return Listed(height, None, "damaged", size)
    place: Place = "here"
    if lacking and count:
        place = "pruned" if await store.blocks.gone(height) is None else "gone"
    return Listed(height, header, place, size)


async def readings(store: Store, height: int, limit: int, start: int = 0) -> list[Item]:
    """At most `limit` readings of a block from number `start` on. NotFoundError where they are not here."""
    found: list[Item] = []
    async for item in store.blocks.items(height, start):
        found.append(item)
        if len(found) >= limit:
            break
    return found
