"""From a driver's samples to readings in the journal's open batch: limits, receipt, redeliveries, packs, counts."""

import asyncio
import logging
import math
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from drivers.api import Delivery, Dropped, Heard, Item, Link, Record, Reject, Sample, SessionLost
from gateway.clock import Clock, Stamp, facts
from gateway.core import block, body, limits, senml
from gateway.core.senml import OWN
from gateway.errors import FormatError
from gateway.store.journal import Batch, Journal, Waiting
from gateway.store.minutes import Charted
from gateway.store.redeliveries import Redeliveries
from gateway.store.rollup import Rollup
from gateway.store.window import Window
from gateway.tallies import Origin, Raw, Tallies, Tally

log = logging.getLogger(__name__)

UNSYNCHRONISED = 1
_ROOM = limits.PACK_RECORDS - 1  # beside the payload's record
_FEW = 8


@dataclass(slots=True)
class _Stretch:
    """Messages of one source that were dropped for one reason, and are not yet told. Receipt in Unix ms."""

    first_ms: int
    last_ms: int = 0
    count: int = 0


_SELF = Origin("gateway", {}, {})
_MESSAGE = (Sample, Reject)
_new = tuple.__new__  # a NamedTuple made in half the time of its call


class Intake:
    """Owner of the tallies and of the redelivery keys. `emitter` makes the one function that a driver is handed."""

    def __init__(
        self, journal: Journal, clock: Clock, seen: Redeliveries, windows: Mapping[str, int], rollup: Rollup
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._seen = seen
        self._rollup = rollup
        self._charted: list[Charted] = []  # readings of this turn, on their way into charts
        self._loop = asyncio.get_running_loop()
        self._sizes = windows  # unacknowledged messages after which a broker waits for us
        self._windows: dict[str, Window] = {}
        self._stalling: dict[str, asyncio.TimerHandle] = {}  # brokers whose batch may be at its end
        self.stalls = 0  # commits that were made because a broker's messages stopped coming
        self._batches: list[Batch] = []  # not yet durable, oldest first
        self._newest: Batch | None = None  # durable or not
        self._stretches: dict[tuple[str, str], _Stretch] = {}  # by source and reason
        self._untold: deque[tuple[str, dict[str, str]]] = deque()  # events that wait for their turn
        self.tallies = Tallies(self.waiting)
        self._origins: dict[str, Origin] = {}  # by driver
        self._synchronised: bool | None = None  # as of the last look; None before the first
        self.tallies.add(OWN, OWN, "none")

    def emitter(
        self, driver: str, raws: Mapping[str, Raw], parents: Mapping[str, str] = MappingProxyType({})
    ) -> Callable[[Sequence[Item]], "asyncio.Future[None]"]:
        """The Emit (drivers/api.py) of one driver: one future a commit, of its own: cancelling it harms nobody else.

        parents: the sources that the driver named itself, with the configured source whose raw each takes.
        """
        origin = self._origins[driver] = Origin(driver, raws, parents)
        self.tallies.follow(origin)
        commit: asyncio.Future[None] | None = None
        given: asyncio.Future[None] | None = None

        def emit(items: Sequence[Item]) -> "asyncio.Future[None]":
            nonlocal commit, given
            newest = self._take(items, origin)
            if given is None or newest is not commit or given.cancelled():
                commit, given = newest, asyncio.shield(newest)
            return given

        return emit

    def change_sources(self, driver: str, raws: Mapping[str, Raw]) -> None:
        """From now on these are the configured sources of a driver. The others of it leave, once nothing of them waits.

        For a change while it runs: first those of before and after it, then those of after it.
        """
        origin = self._origins[driver]
        origin.raws = raws
        self.tallies.follow(origin)

    def remove_driver(self, driver: str) -> None:
        """It has ended. What it counted leaves, once nothing of it waits."""
        self._origins.pop(driver, None)
        self.tallies.follow(Origin(driver, {}, {}), ended=True)

    def change_windows(self, windows: Mapping[str, int]) -> None:
        """Unacknowledged messages after which each broker waits for us. Of brokers that there are no more all goes."""
        for broker in [broker for broker in self._windows if windows.get(broker) != self._sizes.get(broker)]:
            del self._windows[broker]
            if broker in self._stalling:
                self._stalling.pop(broker).cancel()
        self._sizes = windows
        self._seen.let_go(windows)

    def event(self, what: str, **details: str | float | bool) -> "asyncio.Future[None]":
        """Journals an event of the gateway itself (docs/format.md, section 2).

        While nothing can be stored only so many wait; the others are counted, and told in one.
        """
        if self.waiting(OWN) >= limits.OWN_EVENTS_WAITING:
            return self._take([Dropped(OWN, 1, "too_many_events")], _SELF)
        return self._own(what, **details)

    async def event_apart(
        self, commit: Callable[[Waiting], Awaitable[int]], what: str, **details: str | float | bool
    ) -> int:
        """An event that `commit` makes durable apart from the open batch; returns what that returns."""
        stamp, tally = self.look_at_clock(), self.tallies[OWN]
        records: list[Record] = [("event", None, what), *((name, None, value) for name, value in details.items())]
        quality = 0 if stamp.synchronised else UNSYNCHRONISED
        item = body.item(senml.build(OWN, records, bt_ms=stamp.ms, quality=quality))
        height = await commit(Waiting(item, stamp.ms, stamp.ms, tally.bit))
        tally.arrived += 1
        tally.stored += 1
        return height

    def stop(self) -> None:
        """Journals what is still to be told, and the stop."""
        while self._untold:
            self._tell_some()
        self._tell_drops()
        self._own("stop")

    def _own(self, what: str, **details: str | float | bool) -> "asyncio.Future[None]":
        records: list[Record] = [("event", None, what)]
        records += [(name, None, value) for name, value in details.items()]
        return self._take([Sample(OWN, records, b"")], _SELF)

    def events(self, what: str, each: Iterable[dict[str, str]]) -> None:
        """An event for each of them, of thousands not in one turn of the loop."""
        self._untold.extend((what, details) for details in each)
        self._tell_some()

    def _tell_some(self) -> None:
        for _ in range(min(len(self._untold), limits.OWN_EVENTS_A_TURN)):
            what, details = self._untold.popleft()
            self.event(what, **details)
        if self._untold:
            self._loop.call_soon(self._tell_some)

    def beat(self) -> None:
        """Once a second: looks at the clock where no reading does, and marks the counts."""
        self.look_at_clock()
        self.tallies.mark(self._clock.monotonic())

    def look_at_clock(self) -> Stamp:
        """The time now. A step of the clock and its synchronisation are told before any reading with the new time."""
        stamp = self._clock.now()
        was, self._synchronised = self._synchronised, stamp.synchronised
        if (step := self._clock.step()) is not None:
            self._tell_clock("clock-step", step.old_ms, step.new_ms)
        if stamp.synchronised and was is False:
            self._tell_clock("clock-synchronised", stamp.ms - round(self._clock.offset() * 1000), stamp.ms)
        return stamp

    def _tell_clock(self, what: str, old_ms: int, new_ms: int) -> None:
        self.event(what, old=old_ms / 1000, new=new_ms / 1000, **facts(self._clock))

    def keep_keys(self) -> "asyncio.Future[None]":
        """Writes a snapshot of all redelivery keys at once. When it is durable, older rows hold none that is needed."""
        self._open_batch()
        self._journal.batch.keys.stand_on(self._seen.snapshot())
        return asyncio.shield(self._journal.wake(now=True))

    def _take(self, items: Sequence[Item], origin: Origin) -> "asyncio.Future[None]":
        """Puts the items into the open batch. Never awaits, so a message is never split over two commits."""
        stamp = self.look_at_clock()
        self._open_batch()
        now = False
        last: Delivery | None = None
        repeated = False
        grown: dict[str, Window] = {}
        for item in items:
            if isinstance(item, _MESSAGE):
                delivery = item.delivery
                if delivery is None:
                    repeated, last = False, None
                elif delivery is not last:
                    last = delivery
                    repeated = self._deliver(delivery, grown)
                tally = self.tallies.get(item.source) or self.tallies.meet(item.source, origin)
                tally.arrived += 1
                if repeated:
                    tally.duplicate += 1
                elif isinstance(item, Sample):
                    self._sample(item, tally, stamp)
                else:
                    _reject(tally, item)
            elif isinstance(item, Heard):
                last = item.delivery
                self._deliver(last, grown)
            elif isinstance(item, Link):
                self._link(item, origin)
            elif isinstance(item, Dropped):
                self._dropped(item, origin, stamp)
            else:
                self._session_lost(item)
                now = True
        if self._charted:
            self._rollup.add(self._charted)
            self._charted = []
        for broker, window in grown.items():
            now |= self._grow(broker, window)
        return self._journal.wake(now=now)

    def _open_batch(self) -> None:
        batch = self._journal.batch
        if self._batches and self._batches[-1] is batch:
            return
        before, self._newest = self._newest, batch
        for window in self._windows.values():
            window.close(before.lingered if before else None)
        while self._stalling:
            self._stalling.popitem()[1].cancel()
        self._batches.append(batch)
        self._rollup.begin()
        if self._seen.snapshot_due():
            batch.keys.stand_on(self._seen.snapshot())
        batch.done.add_done_callback(self._committed)

    def _deliver(self, delivery: Delivery, grown: dict[str, Window]) -> bool:
        """Counts a delivery against its broker's window; True where it is journaled already."""
        broker = delivery.broker
        window = grown.get(broker)
        if window is None:
            window = self._windows.get(broker)
            if window is None:
                size = self._sizes.get(broker, limits.BATCH_READINGS)
                window = self._windows[broker] = Window(size, self._journal.linger_s)
            grown[broker] = window
        window.fresh += 1
        if delivery.dup and self._seen.knows(delivery):
            return True
        self._journal.batch.keys.add(broker, self._seen.add(delivery))
        return False

    def _grow(self, broker: str, window: Window) -> bool:
        """True where the broker waits for its acknowledgements; where it may, a timer finds out."""
        full = window.grow(self._loop.time())
        if not full and broker not in self._stalling and window.due() is not None:
            self._await_stall(broker, window)
        return full

    def _await_stall(self, broker: str, window: Window) -> None:
        due = window.due()
        if due is None:
            self._stalling.pop(broker, None)
        elif due > self._loop.time():
            self._stalling[broker] = self._loop.call_at(due, self._await_stall, broker, window)
        else:
            self._stalling.pop(broker, None)
            self.stalls += 1
            window.stall()
            durable = self._journal.wake(now=True)
            durable.add_done_callback(lambda _: window.acknowledge(self._loop.time()))

    def _sample(self, sample: Sample, tally: Tally, stamp: Stamp) -> None:
        source, records, payload, time, quality, _, shared = sample
        received_ms = stamp.ms
        if not stamp.synchronised:
            quality |= UNSYNCHRONISED
        raw = "none" if shared else tally.raw
        if raw == "in" and len(payload) > limits.RAW_INLINE_BYTES:
            raw = "apart"
        batch = self._journal.batch
        try:
            time_ms, rt_ms = (received_ms, None) if time is None else (_time_ms(time, source), received_ms)
            if raw != "apart" and len(records) <= _FEW:  # they always fit one pack
                kept = payload if raw == "in" else None
                item = body.item(senml.build(source, records, bt_ms=time_ms, rt_ms=rt_ms, quality=quality, raw=kept))
                batch.readings.append(_new(Waiting, (item, time_ms, received_ms, tally.bit)))
                batch.size += len(item)
            else:
                for part in _divided(source, records, time_ms, rt_ms, quality, payload, raw):
                    batch.readings.append(Waiting(part, time_ms, received_ms, tally.bit))
                    batch.size += len(part) if isinstance(part, bytes) else limits.PACK_BYTES + len(payload)
                batch.apart += raw == "apart"
        except FormatError as error:
            _reject(tally, Reject(source, "not_a_reading", payload[: limits.EXAMPLE_BYTES], str(error)))
            return
        batch.counts[source] = batch.counts.get(source, 0) + 1
        self._charted.append((source, records, time_ms, received_ms))
        tally.last, tally.last_ms, tally.quality = records, received_ms, quality

    def _link(self, link: Link, origin: Origin) -> None:
        sources = link.sources or tuple(name for name, tally in self.tallies.items() if tally.driver == origin.driver)
        turned: list[dict[str, str]] = []
        for source in sources:
            tally = self.tallies.get(source) or self.tallies.meet(source, origin)
            was, tally.up, tally.detail, tally.cure = tally.up, link.up, link.detail, link.cure
            tally.condition, tally.values = link.condition, link.values
            if was is not link.up and (link.up is False or was is False):
                turned.append({"source": source, "detail": link.detail[:200]})
        if turned:
            self.events("source-back" if link.up else "source-lost", turned)

    def _dropped(self, dropped: Dropped, origin: Origin, stamp: Stamp) -> None:
        """Counts them. The reading that tells of them is made when something can be stored again."""
        source, count, reason = dropped
        tally = self.tallies.get(source) or self.tallies.meet(source, origin)
        tally.arrived += count
        tally.dropped += count
        stretch = self._stretches.get((source, reason))
        if stretch is None:
            stretch = self._stretches[source, reason] = _Stretch(stamp.ms)
            log.warning("source %s: messages are dropped: %s", source, reason)
        stretch.last_ms = stamp.ms
        stretch.count += count

    def _tell_drops(self) -> None:
        """One reading for each source and stretch of dropping (docs/operations.md)."""
        stretches, self._stretches = self._stretches, {}
        for (source, reason), one in stretches.items():
            span = {"from": one.first_ms / 1000, "to": one.last_ms / 1000}
            self._own("dropped", source=source, count=one.count, **span, reason=reason)

    def _session_lost(self, lost: SessionLost) -> None:
        self._seen.forget(lost.broker)
        self._journal.batch.keys.lost(lost.broker)

    def _committed(self, _: "asyncio.Future[None]") -> None:
        """The oldest batch is durable. Drivers acknowledge it in the callbacks that follow this one."""
        batch = self._batches.pop(0)
        self._seen.rows += batch.rows
        for source, count in batch.counts.items():
            self.tallies[source].stored += count
        self._tell_drops()
        self.tallies.sweep()
        self._rollup.committed(batch.rows, batch.last_row)

    def all_waiting(self) -> dict[str, int]:
        """The same of every source of which there are any."""
        found: Counter[str] = Counter()
        for batch in self._batches:
            found.update(batch.counts)
        return found

    def waiting(self, source: str) -> int:
        """Messages of a source that are not yet durable."""
        return sum(batch.counts.get(source, 0) for batch in self._batches)


def _time_ms(time: float, source: str) -> int:
    """The device's own time."""
    if not math.isfinite(time):
        raise FormatError(f"a time of {time} s is no time", where=source)
    return round(time * 1000)


def _divided(
    source: str,
    records: Sequence[senml.Record],
    time_ms: int,
    rt_ms: int | None,
    quality: int,
    payload: bytes,
    raw: str,
) -> list["bytes | Callable[[bytes, int], bytes]"]:
    """The items of one message that needs more than one pack, or has its payload apart. All of them, or FormatError."""
    *parts, last = senml.split(records, _ROOM) or [list(records)]
    items: list[bytes | Callable[[bytes, int], bytes]] = [
        body.item(senml.build(source, part, bt_ms=time_ms, rt_ms=rt_ms, quality=quality)) for part in parts
    ]
    if raw == "apart":
        items.append(_apart(source, last, time_ms, rt_ms, quality, payload))
    else:
        kept = payload if raw == "in" else None
        items.append(body.item(senml.build(source, last, bt_ms=time_ms, rt_ms=rt_ms, quality=quality, raw=kept)))
    return items


def _reject(tally: Tally, reject: Reject) -> None:
    tally.rejected += 1
    tally.rejects[reject.reason] = tally.rejects.get(reject.reason, 0) + 1
    tally.example = reject._replace(example=reject.example[: limits.EXAMPLE_BYTES])


def _apart(
    source: str, records: Sequence[senml.Record], time_ms: int, rt_ms: int | None, quality: int, payload: bytes
) -> Callable[[bytes, int], bytes]:
    """The item of a reading whose payload travels apart: its digest is salted with the block's secret and the index."""

    def build(digest: bytes) -> bytes:
        return senml.with_digest(source, records, bt_ms=time_ms, rt_ms=rt_ms, quality=quality, raw_sha256=digest)

    build(bytes(32))  # whatever is wrong with it is found now

    def item(secret: bytes, index: int) -> bytes:
        return body.item(build(block.payload_digest(block.raw_salt(secret, index), payload)), payload)

    return item
