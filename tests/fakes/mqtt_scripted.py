"""A broker that does what a test tells it, mostly wrong."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable


def packet(first: int, body: bytes) -> bytes:
    size, length = len(body), b""
    while True:
        size, digit = size >> 7, size & 127
        length += bytes([digit | (128 if size else 0)])
        if not size:
            return bytes([first]) + length + body


def connack(present: bool = True, code: int = 0) -> bytes:
    return packet(0x20, bytes([present, code]))


def suback(packet_id: int, *codes: int) -> bytes:
    return packet(0x90, packet_id.to_bytes(2, "big") + bytes(codes))


def publish(topic: bytes, payload: bytes, packet_id: int = 0, *, flags: int | None = None) -> bytes:
    """QoS 1 with a packet id, else QoS 0, unless `flags` say otherwise."""
    identity = packet_id.to_bytes(2, "big") if packet_id else b""
    head = (0x02 if packet_id else 0) if flags is None else flags
    return packet(0x30 | head, len(topic).to_bytes(2, "big") + topic + identity + payload)


class Peer:
    """One connected client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.transport = writer.transport

    async def read(self) -> tuple[int, bytes]:
        """The next packet: its first byte and all behind the fixed header."""
        first = (await self._reader.readexactly(1))[0]
        length, shift = 0, 0
        while True:
            byte = (await self._reader.readexactly(1))[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return first, await self._reader.readexactly(length)

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def welcome(self, *codes: int, present: bool = True) -> None:
        """CONNECT, CONNACK, SUBSCRIBE, SUBACK."""
        assert (await self.read())[0] == 0x10
        await self.send(connack(present))
        first, body = await self.read()
        assert first == 0x82
        await self.send(suback(int.from_bytes(body[:2], "big"), *(codes or (1,))))

    async def gone(self) -> None:
        """Returns when the client has closed."""
        with contextlib.suppress(OSError):
            while await self._reader.read(65_536):
                pass


class ScriptedBroker:
    """Runs `script` for each connection, and closes it when the script ends."""

    def __init__(self, script: Callable[[Peer], Awaitable[None]]) -> None:
        self._script = script
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0

    async def __aenter__(self) -> "ScriptedBroker":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._script(Peer(reader, writer))
        finally:
            self._tasks.discard(task)
            writer.close()
