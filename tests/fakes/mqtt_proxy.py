"""A TCP proxy between a client and a broker that reads MQTT 3.1.1 both ways, and can cut, stall and count.

What it has seen is the truth about the wire: a PUBACK is seen when it has left the client's process.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import NamedTuple

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, DISCONNECT = 1, 2, 3, 4, 8, 9, 10, 11, 14


class Seen(NamedTuple):
    """One packet. `up`: from the client to the broker. `body`: all behind the fixed header."""

    connection: int
    up: bool
    kind: int
    packet_id: int = 0
    dup: bool = False
    topic: str = ""
    payload: bytes = b""
    body: bytes = b""


class MqttProxy:
    """`seen` has every packet of both directions in the order in which it passed; `chunks_up` what each read from the
    client brought. on_seen is called before a packet is passed on.
    """

    def __init__(self, broker_port: int, on_seen: Callable[[Seen], None] = lambda seen: None) -> None:
        self.seen: list[Seen] = []
        self.chunks_up: list[bytes] = []
        self.port = 0
        self.connections = 0
        self._broker_port = broker_port
        self._on_seen = on_seen
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._flow_down = asyncio.Event()
        self._flow_down.set()
        self._flow_up = asyncio.Event()
        self._flow_up.set()
        self._swallowed: set[int] = set()
        self.stalled = 0  # bytes that were read, and not passed on, since the last `stall`
        self.drips = False  # what goes to the client goes byte by byte

    async def __aenter__(self) -> "MqttProxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.flow()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Ends every connection at once; what was on its way is lost."""
        for writer in list(self._open):
            writer.transport.abort()

    def stall(self, *, up: bool = False, down: bool = False) -> None:
        """Passes nothing on in these directions until `flow`."""
        self.stalled = 0
        if up:
            self._flow_up.clear()
        if down:
            self._flow_down.clear()

    def flow(self) -> None:
        self._flow_up.set()
        self._flow_down.set()

    def swallow(self) -> None:
        """Half-open: what is sent on the connections of now goes nowhere, and neither end hears of the other again."""
        self._swallowed = set(range(1, self.connections + 1))

    def of(self, kind: int, *, up: bool, connection: int | None = None) -> list[Seen]:
        """Packets of one kind and direction, of one connection or of all."""
        return [one for one in self.seen if (one.kind, one.up) == (kind, up) and connection in (None, one.connection)]

    @property
    def acknowledged(self) -> list[Seen]:
        """Every PUBLISH to the client that it acknowledged on the same connection, in the order of the PUBACKs."""
        waiting: dict[tuple[int, int], Seen] = {}
        found = []
        for one in self.seen:
            if one.kind == PUBLISH and not one.up and one.packet_id:
                waiting[one.connection, one.packet_id] = one
            elif one.kind == PUBACK and one.up and (one.connection, one.packet_id) in waiting:
                found.append(waiting.pop((one.connection, one.packet_id)))
        return found

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, broker_writer}
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass_on(number, True, reader, broker_writer, self._flow_up))
                tasks.create_task(self._pass_on(number, False, broker_reader, writer, self._flow_down))
        finally:
            self._open -= {writer, broker_writer}
            for one in (writer, broker_writer):
                one.close()
                with contextlib.suppress(OSError):
                    await one.wait_closed()

    async def _pass_on(
        self,
        number: int,
        up: bool,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        flow: asyncio.Event,
    ) -> None:
        rest = b""
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if not flow.is_set():
                    self.stalled += len(data)
                await flow.wait()
                if number in self._swallowed:
                    continue
                if up:
                    self.chunks_up.append(data)
                packets, rest = split(number, up, rest + data)
                for packet in packets:
                    self.seen.append(packet)
                    self._on_seen(packet)
                for part in (data[at : at + 1] for at in range(len(data))) if self.drips and not up else (data,):
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
        if number in self._swallowed and not up:
            return
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()


def split(connection: int, up: bool, data: bytes) -> tuple[list[Seen], bytes]:
    """Whole packets, and the beginning of the next."""
    packets = []
    while True:
        length, shift, at = 0, 0, 1
        while at < len(data):
            length |= (data[at] & 127) << shift
            shift += 7
            at += 1
            if data[at - 1] < 128:
                break
        else:
            return packets, data
        if len(data) < at + length:
            return packets, data
        packets.append(_seen(connection, up, data[0], data[at : at + length]))
        data = data[at + length :]


def _seen(connection: int, up: bool, first: int, body: bytes) -> Seen:
    kind = first >> 4
    if kind == PUBLISH:
        end = 2 + int.from_bytes(body[:2], "big")
        qos = first >> 1 & 3
        packet_id = int.from_bytes(body[end : end + 2], "big") if qos else 0
        topic = body[2:end].decode(errors="replace")
        payload = body[end + 2 :] if qos else body[end:]
        return Seen(connection, up, kind, packet_id, bool(first & 8), topic, payload, body)
    if kind in (PUBACK, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK):
        return Seen(connection, up, kind, int.from_bytes(body[:2], "big"), body=body)
    return Seen(connection, up, kind, body=body)
