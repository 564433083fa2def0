"""What the gateway told of itself: the readings of its own source, the newest first."""

import asyncio
import contextlib
from dataclasses import dataclass

from gateway.core import body, senml
from gateway.core.senml import OWN, Scalar
from gateway.errors import DamagedError, FormatError
from gateway.store import Store
from gateway.store.blocks import inflate
from gateway.store.journal import EVENTS

_ROWS_A_EVENT = 4  # looked into at most: a row that is damaged holds none
_INDEX_BITS = 20  # of a place: readings in one row of the journal are fewer
_NEWEST = f"SELECT row,height,data FROM {EVENTS} AND row<=? ORDER BY row DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class Event:
    """One event. place: what is before it is older. height: of its block, once that is sealed."""

    place: int
    at_ms: int
    what: str
    details: tuple[tuple[str, Scalar], ...]
    height: int | None
    quality: int


async def newest(store: Store, limit: int, before: int | None = None) -> list[Event]:
    """At most `limit` events whose bodies are here, from before a place, the newest first.

    One row of the journal is read at a time, and only such as hold events, however large the store is.
    """
    found: list[Event] = []
    row, before = (2**62, 2**62 << _INDEX_BITS) if before is None else (before >> _INDEX_BITS, before)
    for _ in range(limit * _ROWS_A_EVENT):
        rows = await store.db.read(_NEWEST, (row,))
        if not rows or len(found) >= limit:
            break
        number, height, data = rows[0]
        sealed = height if height < store.blocks.size else None
        events = await asyncio.to_thread(_events, number, sealed, data)
        found += [event for event in reversed(events) if event.place < before]
        row = number - 1
    return found[:limit]


def _events(row: int, height: int | None, data: bytes) -> list[Event]:
    """Those in a row of the journal, as far as it is sound."""
    own, found = OWN.encode(), list[Event]()
    with contextlib.suppress(DamagedError, FormatError):
        for index, (pack, _) in enumerate(body.read_items(inflate(data))):
            if own in pack and senml.source_of(pack) == OWN:
                found.append(_event(row << _INDEX_BITS | index, height, senml.resolve(pack)))
    return found


def _event(place: int, height: int | None, reading: senml.Reading) -> Event:
    values = {record.name: record.value for record in reading.records}
    what = str(values.pop("event", ""))
    return Event(place, reading.time_ms, what, tuple(values.items()), height, reading.quality)
