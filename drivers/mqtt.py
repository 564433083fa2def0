"""MQTT 3.1.1, QoS 1, persistent session: what the broker delivers is acknowledged only when it is durable.

One driver for all sources of one broker. All PUBLISH packets of one wake-up are handed over together, and the
acknowledgements of one commit leave in one write. No task, future or queue item for a message.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from drivers.api import STALE, Delivery, Driver, DriverError, Emit, Item, Link, Reject, Sample, SessionLost
from drivers.blocking import BlockingCall
from drivers.codecs.recorded import json_lines
from drivers.codecs.values import Unfit
from drivers.conditions import (
    BROKER_LOST,
    BROKER_PAUSED,
    BROKER_PROTOCOL,
    BROKER_QOS0,
    BROKER_TAKEOVER,
    BROKER_TOPIC,
)
from drivers.kinds import Kind
from drivers.limits import (
    ANSWER_S,
    EXAMPLE_BYTES,
    MQTT_PACKET_BYTES,
    PAYLOAD_BYTES,
    PENDING_BYTES,
    PENDING_MESSAGES,
    STOP_S,
    TAKEOVER_S,
    TAKEOVERS,
)
from drivers.mqtt_connect import Broker, open_socket, refused, unreachable
from drivers.mqtt_connection import Connection, Lost
from drivers.mqtt_findings import Message, read
from drivers.mqtt_frames import DUP, RETAIN, Publish
from drivers.mqtt_memory import LearntMemory
from drivers.mqtt_routes import MakeCodec, Reader, Routes
from drivers.mqtt_sources import Filters, Mapped, MqttOptions, SubscribedOptions, covers, subscriptions
from drivers.mqtt_subscriptions import Subscriptions
from drivers.paho_seam import REFUSED
from drivers.pending import Pending

__all__ = ["Broker", "MqttDriver", "MqttOptions"]

TICK_S = 1.0
PUBACK = b"\x40\x02"


@dataclass(slots=True)
class _Batch:
    """What one commit will make durable, of one connection."""

    future: "asyncio.Future[None]"
    connection: Connection
    pubacks: bytearray = field(default_factory=bytearray)


class MqttDriver:
    """All sources of one broker.

    codecs: what makes the MessageCodec of each source that has not driver = "mqtt". state_file keeps the filters that
    the broker's session may hold, and beside it is what codecs have learnt. `now` gives Unix seconds, or None where
    nobody knows the time. `parents`: the sources that topics and devices named, with the configured source of each.
    """

    def __init__(
        self,
        broker: Broker,
        sources: Mapping[str, SubscribedOptions],
        *,
        codecs: Mapping[str, MakeCodec] | None = None,
        state_file: Path | None = None,
        now: Callable[[], float | None] = time.time,
    ) -> None:
        self.name = f"mqtt-{broker.name}"
        self.sources: Mapping[str, object] = sources
        self._where = f"broker {broker.name} at {broker.address}"
        self._broker = broker
        self._options = sources
        self._subscriptions = Subscriptions(subscriptions(sources), state_file)
        self._routes = Routes(self.name, sources, codecs)
        self.parents: Mapping[str, str] = self._routes.parents
        self._learnt = LearntMemory(state_file.parent if state_file else None)
        self._keeping = asyncio.Lock()  # owner: whoever reads or writes what codecs have learnt
        self._unsaved: dict[str, bytes] = {}  # what codecs have learnt, by source
        self._recalled = not self._routes.readers
        self._down: set[str] = set()  # sources of which a message said that they are away
        self._now = now
        self._opening = BlockingCall(self.name)
        self._pending = Pending(PENDING_MESSAGES, PENDING_BYTES)
        self._batch: _Batch | None = None
        self._takeovers = 0  # connections in a row that the broker closed soon after accepting them
        self._connection: Connection | None = None
        self._stopping = False
        self._present = False  # the broker knew the session
        self._voided: asyncio.Future[None] | None = None  # it did not, and that is not yet durable

    async def run(self, emit: Emit) -> None:
        """Until cancelled. DriverError where the broker cannot be reached, refuses, or goes away."""
        self._stopping = False
        await self._recall()
        while True:
            self._connection = connection = await self._open(emit)
            try:
                await self._serve(connection, emit)
            except asyncio.CancelledError:
                self._stopping = True
                connection.pause()
                await self._pending.drained(STOP_S)
                raise
            finally:
                self._connection = None
                connection.close()
            told = "waits with its connection closed until what was received is stored"
            emit([Link(up=False, detail=told, condition=BROKER_PAUSED, values={"broker": self._broker.name})])
            await self._pending.room()

    async def take_over(self, other: Driver) -> bool:
        """See drivers.api.Changing. The connection stays; only a source that is new or changed is asked for again."""
        if not isinstance(other, MqttDriver) or other._broker != self._broker:
            return False
        routes, filters = other._routes, other._subscriptions.filters
        fresh = self._routes.differing(routes)
        tree = Filters(filters)
        again = {wide for name in fresh for one in other._options[name].filters for wide in tree.covering(one)}
        async with self._keeping:
            await self._write_learnt()
            readers = [reader for reader in routes.readers if reader.name in fresh]
            await self._recall_for(readers)
            for reader in readers:
                reader.renew()
            await self._subscriptions.change(filters, again, functools.partial(self._become, other))
        return True

    def _become(self, other: "MqttDriver") -> None:
        self.sources, self._options = other.sources, other._options
        self._routes.become(other._routes)
        self._down.intersection_update([*self._options, *self.parents])
        if self._connection is not None:
            self._connection.allow(self._packet_bytes)

    @property
    def _packet_bytes(self) -> int:
        """The longest packet that is taken whole."""
        return MQTT_PACKET_BYTES - PAYLOAD_BYTES + self._routes.payload_bytes

    # Connecting

    async def _open(self, emit: Emit) -> Connection:
        """A connection that the broker has accepted."""
        broker, loop = self._broker, asyncio.get_running_loop()
        began = loop.time()
        try:
            sock = await self._opening.run(
                functools.partial(open_socket, broker, broker.connect_timeout_s),
                timeout_s=broker.connect_timeout_s,
                abandon=lambda sock: sock.close(),
            )
        except TimeoutError as error:
            raise unreachable(broker, error) from error
        connection = Connection(
            sock,
            broker,
            packet_bytes=self._packet_bytes,
            on_session=functools.partial(self._session, emit),
            on_publishes=functools.partial(self._publishes, emit),
            on_suback=functools.partial(self._suback, emit),
            on_unsuback=self._subscriptions.answered,
        )
        try:
            connection.start()
            left = broker.connect_timeout_s - (loop.time() - began)
            first: set[asyncio.Future[Any]] = {connection.connack, connection.lost}
            await asyncio.wait(first, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            self._check_connack(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_connack(self, connection: Connection) -> None:
        if connection.connack.done():
            refusal = connection.connack.result()
            if refusal:
                raise refused(self._broker, refusal)
        elif connection.lost.done():
            what = f"no MQTT 3.1.1 session: {connection.lost.result().why}"
            cure = "Is this an MQTT broker's port, and without TLS where url says mqtt://?"
            raise self._failure(what, cure, BROKER_PROTOCOL)
        else:
            raise unreachable(self._broker, TimeoutError())

    def _session(self, emit: Emit, present: bool) -> None:
        """The CONNACK. What the broker forgot is told before any message of this connection."""
        self._present = present
        self._subscriptions.new_session()
        self._note_learnt()
        for reader in self._routes.readers:
            reader.renew()
        self._voided = None if present else emit([SessionLost(self._broker.name)])

    # A connection's life

    async def _serve(self, connection: Connection, emit: Emit) -> None:
        """Until it has to be closed because it was paused too long. DriverError where it is lost."""
        loop = asyncio.get_running_loop()
        accepted = loop.time()
        if self._voided is not None:  # durable before the new session can bring anything
            either: set[asyncio.Future[Any]] = {self._voided, connection.lost}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        await self._subscriptions.begin(connection, present=self._present)
        while True:
            await asyncio.wait({connection.lost}, timeout=TICK_S)
            now = loop.time()
            if connection.lost.done():
                raise self._gone(connection.lost.result(), now - accepted)
            connection.tick()
            held_s = connection.held_s
            if held_s > self._broker.keepalive_s / 2:
                return  # paho and the broker would take a longer silence for a death
            if self._takeovers and now - accepted > TAKEOVER_S:
                self._takeovers = 0
                self._tell(emit)
            if self._subscriptions.waiting_s(now - held_s) > ANSWER_S:
                what = f"no answer to a SUBSCRIBE in {ANSWER_S:.0f} s"
                raise self._failure(what, "Look into its log", BROKER_PROTOCOL)
            await self._subscriptions.settle()
            await self._save_learnt()

    async def _recall(self) -> None:
        """What codecs had learnt when the gateway ended."""
        if self._recalled:
            return
        self._recalled = True
        async with self._keeping:
            await self._recall_for(self._routes.readers)

    async def _recall_for(self, readers: Sequence[Reader]) -> None:
        kept = await asyncio.to_thread(self._learnt.load, [reader.name for reader in readers])
        for reader in readers:
            reader.recall(kept.get(reader.name, b""))

    def _note_learnt(self) -> None:
        for reader in self._routes.readers:
            learnt = reader.learnt()
            if learnt is not None:
                self._unsaved[reader.name] = learnt

    async def _save_learnt(self) -> None:
        async with self._keeping:
            await self._write_learnt()

    async def _write_learnt(self) -> None:
        self._note_learnt()
        if self._unsaved:
            unsaved, self._unsaved = self._unsaved, {}
            await asyncio.to_thread(self._learnt.save, unsaved)

    def _suback(self, emit: Emit, packet_id: int, codes: Sequence[int]) -> None:
        self._subscriptions.answered(packet_id, codes)
        self._tell(emit)

    def _tell(self, emit: Emit) -> None:
        """The state of the connection, and of the sources to which the broker grants less than was asked for."""
        detail = f"connected to {self._broker.address}"
        if self._takeovers:
            detail = f"{detail} again; {self._fight()}"
        there = self._not_down()
        condition, values = self._fought() if self._takeovers >= TAKEOVERS else ("", {})
        link = Link(up=True, detail=detail, sources=there, condition=condition, values=values)
        links = [link] if there or not self._down else []
        filters = self._subscriptions.filters
        for one, code in self._subscriptions.granted.items():
            if code == REFUSED:
                detail = f"the broker refuses the topic {one}. Allow it to this user in the broker's access list"
                links.append(self._granting(one, detail, BROKER_TOPIC, up=False))
            elif code < filters[one]:
                detail = f"the broker grants {one} with QoS 0 only: messages may be lost on the way"
                links.append(self._granting(one, detail, BROKER_QOS0, up=True))
        if links:
            emit(links)

    def _granting(self, one: str, detail: str, condition: str, *, up: bool) -> Link:
        values = {"broker": self._broker.name, "topic": one}
        return Link(up=up, detail=detail, sources=self._sources_under(one), condition=condition, values=values)

    def _sources_under(self, one: str) -> tuple[str, ...]:
        """The configured sources that a subscription serves."""
        wide = tuple(one.split("/"))
        return tuple(
            name
            for name, options in self._options.items()
            if any(covers(wide, tuple(two.split("/"))) for two in options.filters)
        )

    def _not_down(self) -> tuple[str, ...]:
        """For a Link of the connection: all sources, but those of which a message said that they are away."""
        if not self._down:
            return ()
        return tuple(source for source in [*self._options, *self._routes.parents] if source not in self._down)

    def _fight(self) -> str:
        return (
            f"the broker closed {self._takeovers} connections in a row soon after accepting them: "
            f"another client seems to use the client id {self._broker.client_id}"
        )

    def _gone(self, lost: Lost, lived_s: float) -> DriverError:
        self._takeovers = self._takeovers + 1 if lost.by_broker and lived_s < TAKEOVER_S else 0
        if self._takeovers >= TAKEOVERS:
            cure = f"Set a client_id of its own in [broker.{self._broker.name}]"
            condition, values = self._fought()
            return DriverError(f"{self._where}: {self._fight()}", cure, condition, **values)
        return self._failure(f"the connection ended: {lost.why}", lost.cure, BROKER_LOST)

    def _fought(self) -> tuple[str, dict[str, str]]:
        return BROKER_TAKEOVER, {"broker": self._broker.name, "client_id": self._broker.client_id}

    def _failure(self, what: str, cure: str, condition: str) -> DriverError:
        values = {"broker": self._broker.name, "at": self._broker.address, "detail": what}
        return DriverError(f"{self._where}: {what}", cure, condition, **values)

    # Messages

    def _publishes(self, emit: Emit, connection: Connection, publishes: list[Publish]) -> None:
        """What one turn brought: handed over together, acknowledged when durable."""
        items: list[Item] = []
        pubacks = [b""]
        now = self._now()
        size = 0
        find, broker = self._routes.find, self._broker.name
        new = tuple.__new__  # a NamedTuple made in half the time of its call
        for flags, topic, packet_id, payload, length in publishes:
            delivery = None
            if packet_id:
                digest = sha256(topic + b"\0" + payload).digest()[:8]
                delivery = new(Delivery, (broker, packet_id[0] << 8 | packet_id[1], digest, flags & DUP != 0))
                pubacks.append(packet_id)
            size += len(payload)
            targets, readers, shared, text = find(topic)
            if length > PAYLOAD_BYTES:
                example, detail = payload[:EXAMPLE_BYTES], f"{length} bytes"
                items += [Reject(source, "too_long", example, detail, delivery) for source, _ in targets]
            else:
                quality = STALE if flags & RETAIN else 0
                for source, codec in targets:
                    try:
                        records, time, more = codec.read(payload, now)
                    except Unfit as unfit:
                        items.append(unfit.reject(source, payload)._replace(delivery=delivery))
                    else:
                        items.append(new(Sample, (source, records, payload, time, quality | more, delivery, shared)))
            if readers:
                message = Message(text, payload, flags & RETAIN != 0, delivery, shared)
                items += self._read(connection, readers, message, length, now)
        self._hand_over(emit, connection, items, PUBACK.join(pubacks), len(publishes), size)

    def _read(
        self, connection: Connection, readers: Sequence[Reader], message: Message, length: int, now: float | None
    ) -> list[Item]:
        """What a message says to those who read it by a MessageCodec. What they ask for leaves with the next flush."""
        items: list[Item] = []
        for reader in readers:
            if length > reader.payload_bytes or length > len(message.payload):  # the latter: cut off by its connection
                example = message.payload[:EXAMPLE_BYTES]
                items.append(Reject(reader.name, "too_long", example, f"{length} bytes", message.delivery))
                continue
            made, asks = read(reader, message, now)
            items += made
            for ask in asks:
                connection.session.publish(ask.topic, ask.payload)
        for item in items:
            if isinstance(item, Link):
                (self._down.difference_update if item.up else self._down.update)(item.sources)
        return items

    def _hand_over(
        self,
        emit: Emit,
        connection: Connection,
        items: Sequence[Item],
        pubacks: bytes,
        messages: int,
        size: int,
    ) -> None:
        if not items:  # messages with QoS 0 that say nothing
            return
        future = emit(items)
        self._pending.add(future, messages, size)
        batch = self._batch
        if batch is None or batch.future is not future or batch.connection is not connection or future.done():
            batch = self._batch = _Batch(future, connection)
            future.add_done_callback(functools.partial(self._durable, batch))
        batch.pubacks += pubacks
        if self._pending.full:
            connection.pause()

    def _durable(self, batch: _Batch, future: "asyncio.Future[None]") -> None:
        """One commit is durable: acknowledge on the connection that brought it, if it still lives."""
        if self._batch is batch:
            self._batch = None
        if not future.cancelled():
            batch.connection.acknowledge(batch.pubacks)
        if self._connection is not None and not self._pending.full and not self._stopping:
            self._connection.resume()


KIND = Kind(
    "mqtt",
    "JSON or one value, by topics of your own",
    "subscribe",
    MqttOptions,
    Mapped,
    messages=json_lines,
    examples={
        "climate": {
            "broker": "local",
            "topic": "farm/house3/climate",
            "values": {
                "temp": {"pointer": "/temperature", "unit": "Cel"},
                "rh": {"pointer": "/humidity", "unit": "%RH"},
            },
        },
        "boats": {
            "broker": "quay",
            "topic": "quay/+/battery",
            "id": "boat-{2}",
            "max_sources": 64,
            "values": {"voltage": {"pointer": "/u", "unit": "V"}},
            "time": {"pointer": "/ts", "format": "unix_ms"},
        },
    },
)
