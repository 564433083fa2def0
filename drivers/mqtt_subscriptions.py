"""What one broker's session is asked for, what it grants, and which filters it may hold over any crash.

Filters change in numbered steps:

    1  those of before and of after are remembered, durably
    2  SUBSCRIBE, then UNSUBSCRIBE
    3  when both are answered, only those of after are remembered

A crash between any two of them leaves a memory of every filter that the session may hold: the next connection
unsubscribes from those that are not configured.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from drivers.mqtt_connection import Connection
from drivers.mqtt_memory import FilterMemory


class Subscriptions:
    """Owner of the memory of filters. One loop uses it."""

    def __init__(self, filters: Mapping[str, int], state_file: Path | None) -> None:
        self.filters = dict(filters)  # what is configured, with its QoS
        self.granted: dict[str, int] = {}  # QoS, or REFUSED
        self._memory = FilterMemory(state_file)
        self._changing = asyncio.Lock()  # owner: whoever reads and writes the memory
        self._connection: Connection | None = None  # that they were asked for on
        self._asked: dict[int, list[str]] = {}  # SUBSCRIBE and UNSUBSCRIBE packets without an answer
        self._asked_at = 0.0
        self._leaving = False  # some that are not configured are remembered, and the broker was told

    def new_session(self) -> None:
        """A CONNACK has come: nothing is asked for on this connection yet."""
        self._connection = None
        self._asked.clear()

    async def begin(self, connection: Connection, *, present: bool) -> None:
        """Subscribes to all that is configured, each time: a broker restored from a backup may know less than it says.

        present: the broker knew the session, so that it may hold filters that are not configured any more.
        """
        async with self._changing:
            removed = await self._remember(*self.filters) - self.filters.keys()
            self._connection = connection
            self._leaving = self._ask(self.filters, removed if present else ()) and bool(removed)

    async def change(self, filters: Mapping[str, int], again: Collection[str], then: Callable[[], None]) -> None:
        """Asks for what is new or has another QoS, and for `again`, of which the broker then sends what it retains.

        then: called when nothing stands in the way any more, before the first message of the new ones.
        """
        async with self._changing:
            removed = await self._remember(*self.filters, *filters) - filters.keys()
            then()
            asked = {one: qos for one, qos in filters.items() if one in again or self.filters.get(one) != qos}
            self.filters = dict(filters)
            self.granted = {one: code for one, code in self.granted.items() if one in filters}
            self._leaving = self._ask(asked, removed) and bool(removed)

    async def _remember(self, *filters: str) -> set[str]:
        """Step 1: these beside what is remembered. All of it: what the session may hold."""
        before = await asyncio.to_thread(self._memory.load)
        kept = before.union(filters)
        if kept != before:
            await asyncio.to_thread(self._memory.save, kept)
        return kept

    def _ask(self, wanted: Mapping[str, int], removed: Collection[str]) -> bool:
        """Step 2, where there is a connection: else the next one begins with it."""
        connection = self._connection
        if connection is None or connection.lost.done():
            return False
        if wanted:
            self._asked[connection.session.subscribe(list(wanted.items()))] = list(wanted)
        if removed:
            self._asked[connection.session.unsubscribe(sorted(removed))] = []
        self._asked_at = asyncio.get_running_loop().time()
        connection.flush()
        return True

    def answered(self, packet_id: int, codes: Sequence[int] = ()) -> None:
        """A SUBACK or an UNSUBACK."""
        codes_of = dict(zip(self._asked.pop(packet_id, []), codes, strict=False))
        self.granted.update((one, code) for one, code in codes_of.items() if one in self.filters)

    def waiting_s(self, now: float) -> float:
        """How long an answer has been waited for at the loop's time `now`; 0 where none is missing."""
        return now - self._asked_at if self._asked else 0.0

    async def settle(self) -> None:
        """Step 3, once it is due."""
        if not self._due():
            return
        async with self._changing:
            if self._due():  # not if they have changed meanwhile
                self._leaving = False
                await asyncio.to_thread(self._memory.save, self.filters)

    def _due(self) -> bool:
        return self._leaving and not self._asked
