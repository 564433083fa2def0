"""The polled shape: one task asks the devices of one bus, one after the other, each when it is due.

The task is the bus's lock: nothing else speaks on it. A device that does not answer is asked ever more seldom, so that
waiting for it takes a tenth of the bus at most, whatever number of devices is away.
"""

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple, Protocol

from msgspec import Meta

from drivers.api import Dropped, Emit, Item, Link, Reject, Sample
from drivers.codecs.base import Found, Refused
from drivers.codecs.values import Table
from drivers.conditions import DEVICE_FAULT, DEVICE_SILENT
from drivers.limits import (
    PENDING_BYTES,
    PENDING_MESSAGES,
    POLL_AWAY_SHARE,
    POLL_PAUSE_S,
    SOURCES_PER_BUS,
)
from drivers.pending import Pending

_OTHER = re.compile(r"[^a-z0-9._-]+")

AnswerTime = Annotated[float, Meta(ge=0.02, le=30, title="From a question to the end of its answer")]
Retries = Annotated[int, Meta(ge=0, le=5, title="Further tries of a device that answered last time")]
Every = Annotated[float, Meta(ge=0.05, le=86_400, title="From one poll to the next")]
"""Seconds from one poll of a source to the next."""


class PolledOptions(Table, kw_only=True, frozen=True):
    """Options of every polled source."""

    every_s: Every = 10


class Answer(NamedTuple):
    """What one poll of one source gave.

    up and detail: the state of its device, in a technician's words. silent: nothing came back, or nothing whole, so
    that the poll cost its whole time.
    """

    found: Sequence[Found | Refused]
    up: bool
    detail: str
    silent: bool = False


class Bus(Protocol):
    """What the sources of one driver share: a port, a connection, a folder. One task uses it."""

    async def open(self) -> None:
        """Before the first poll. DriverError where the bus is not there."""
        ...

    async def poll(self, source: str, *, brief: bool) -> Answer:
        """Asks for what the source wants, in bounded time; `brief`: it was silent, so that one try is enough.

        DriverError where the bus itself is gone.
        """
        ...

    async def close(self) -> None:
        """Lets go of it; also where it was never opened."""
        ...


class _Turn:
    """One source's place in the schedule: its polls are due at `start + count * every_s`, which never drifts."""

    __slots__ = ("count", "every_s", "misses", "source", "start")

    def __init__(self, source: str, every_s: float, start: float) -> None:
        self.source, self.every_s, self.start = source, every_s, start
        self.count = self.misses = 0

    @property
    def due(self) -> float:
        return self.start + self.count * self.every_s


class Schedule:
    """Whose turn it is. No clock: it is told the time, in seconds of any clock that only goes forward."""

    def __init__(self, every_s: Mapping[str, float], now: float) -> None:
        self._turns = {source: _Turn(source, seconds, now) for source, seconds in every_s.items()}

    def next(self) -> tuple[str, float]:
        """The source that has been due for longest, or will be due first, and when. Those that answer come first."""
        turn = min(self._turns.values(), key=lambda one: (one.due, one.misses))
        return turn.source, turn.due

    def silent(self, source: str) -> bool:
        """Whether its last poll had no answer."""
        return self._turns[source].misses > 0

    def answered(self, source: str, now: float) -> None:
        """Its next poll is the next of its schedule; of those whose time passed meanwhile, only the last is made up."""
        turn = self._turns[source]
        turn.misses = 0
        turn.count += max(1, math.floor((now - turn.due) / turn.every_s))

    def missed(self, source: str, began: float, now: float) -> None:
        """Its next poll is so late that all the silent ones together take no more than their share of the time."""
        turn = self._turns[source]
        turn.misses += 1
        away = sum(one.misses > 0 for one in self._turns.values())
        growing = min(turn.every_s * 2 ** min(turn.misses - 1, 32), max(turn.every_s, POLL_PAUSE_S))
        pause_s = max(growing, (now - began) * away / POLL_AWAY_SHARE)
        turn.count = max(turn.count + 1, math.ceil((now + pause_s - turn.start) / turn.every_s))


def _condition(answer: Answer) -> str:
    return DEVICE_SILENT if answer.silent else DEVICE_FAULT


class PollDriver:
    """The sources of one bus. `parents`: those that its devices made, with the configured source of each."""

    def __init__(self, name: str, members: Mapping[str, PolledOptions], bus: Bus) -> None:
        self.name = name
        self.sources: Mapping[str, object] = members
        self.parents: dict[str, str] = {}
        self._every = {source: options.every_s for source, options in members.items()}
        self._bus = bus
        self._devices: dict[tuple[str, str], str] = {}
        self._told: dict[str, tuple[bool, str]] = {}
        self._pending = Pending(PENDING_MESSAGES, PENDING_BYTES)

    async def run(self, emit: Emit) -> None:
        """Until cancelled. DriverError where the bus is gone."""
        loop = asyncio.get_running_loop()
        self._told.clear()
        try:
            await self._bus.open()
            schedule = Schedule(self._every, loop.time())
            while True:
                source, due = schedule.next()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if self._pending.full:
                    emit([Dropped(source, 1, "no_room")])
                    schedule.answered(source, loop.time())
                    continue
                began = loop.time()
                answer = await self._bus.poll(source, brief=schedule.silent(source))
                if answer.silent:
                    schedule.missed(source, began, loop.time())
                else:
                    schedule.answered(source, loop.time())
                self._hand_over(emit, source, answer)
        finally:
            await self._bus.close()

    def _hand_over(self, emit: Emit, source: str, answer: Answer) -> None:
        items: list[Item] = []
        state = (answer.up, answer.detail)
        if self._told.get(source) != state:
            self._told[source] = state
            condition, values = ("", {}) if answer.up else (_condition(answer), {"detail": answer.detail})
            items.append(Link(*state, sources=(source,), condition=condition, values=values))
        made = [self._item(source, one) for one in answer.found]
        items += made
        if items:
            size = sum(len(item.payload) for item in made if isinstance(item, Sample))
            self._pending.add(emit(items), len(made), size)

    def _item(self, source: str, one: Found | Refused) -> Sample | Reject:
        named = self._device(source, one.device) if one.device else source
        if named is None:
            detail = f"{one.device[:80]!r} would be one more than {SOURCES_PER_BUS}, or makes no id of its own"
            return Reject(source, "too_many_sources", one.raw or b"" if isinstance(one, Found) else one.example, detail)
        if isinstance(one, Refused):
            return Reject(named, one.reason, one.example, one.detail)
        return Sample(named, one.records, one.raw or b"", one.time, one.quality)

    def _device(self, source: str, device: str) -> str | None:
        """The source of a device behind a source: `{source}-{device}`. None where there is no place for it."""
        known = self._devices.get((source, device))
        if known is None and len(self._devices) < SOURCES_PER_BUS:
            made = _OTHER.sub("-", f"{source}-{device}".lower()).strip("-._")
            if len(made) <= 63 and made not in self.parents and made not in self.sources:
                known = self._devices[source, device] = made
                self.parents[made] = source
        return known
