"""Modbus slaves on a pseudo-terminal or a TCP port, which answer in pieces, late, wrongly, or not at all."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from drivers.codecs.modbus_rtu import crc16
from drivers.simulators.quay import Line

Change = Callable[[bytes], Sequence[bytes]]
"""What becomes of an answer on its way: the pieces that are written, perhaps none."""


def whole(frame: bytes) -> Sequence[bytes]:
    """As it is."""
    return (frame,)


def nothing(frame: bytes) -> Sequence[bytes]:
    """A device that is away."""
    return ()


def damaged(frame: bytes) -> Sequence[bytes]:
    """One bit of the CRC is wrong."""
    return (frame[:-1] + bytes([frame[-1] ^ 1]),)


def in_pieces(frame: bytes) -> Sequence[bytes]:
    """Two writes, with a pause between them."""
    return frame[:4], frame[4:]


@dataclass
class Slave:
    """Registers and bits by address. `fails`: an exception code for every request; `change`: of every answer."""

    holding: dict[int, int] = field(default_factory=dict)
    inputs: dict[int, int] = field(default_factory=dict)
    coils: dict[int, bool] = field(default_factory=dict)
    discrete: dict[int, bool] = field(default_factory=dict)
    fails: int = 0
    change: Change = whole
    asked: list[tuple[int, int, int]] = field(default_factory=list)  # function, address, count

    def answer(self, pdu: bytes) -> bytes:
        """The PDU of the answer to a read."""
        function, address, count = pdu[0], int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        self.asked.append((function, address, count))
        if self.fails:
            return bytes([function | 0x80, self.fails])
        bits = {1: self.coils, 2: self.discrete}.get(function)
        registers = {3: self.holding, 4: self.inputs}.get(function)
        wanted = range(address, address + count)
        if bits is not None and all(at in bits for at in wanted):
            number = sum(bits[at] << at - address for at in wanted)
            data = number.to_bytes(-(-count // 8), "little")
        elif registers is not None and all(at in registers for at in wanted):
            data = b"".join(registers[at].to_bytes(2, "big") for at in wanted)
        else:
            return bytes([function | 0x80, 1 if bits is None and registers is None else 2])
        return bytes([function, len(data)]) + data


class Slaves:
    """Those of one bus, by address. What is asked of another address is not answered."""

    def __init__(self, slaves: dict[int, Slave]) -> None:
        self.slaves = slaves

    @contextlib.asynccontextmanager
    async def on(self, line: Line, before: bytes = b"", pause_s: float = 0.01) -> AsyncIterator[None]:
        """RTU on a pseudo-terminal. before: noise ahead of every answer."""
        task = asyncio.create_task(self._serve_line(line, before, pause_s))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _serve_line(self, line: Line, before: bytes, pause_s: float) -> None:
        heard = b""
        while True:
            with contextlib.suppress(BlockingIOError):
                heard += os.read(line.master, 256)
            while len(heard) >= 8:
                frame, heard = heard[:8], heard[8:]
                if slave := self.slaves.get(frame[0]):
                    answer = frame[:1] + slave.answer(frame[1:6])
                    pieces = slave.change(answer + crc16(answer).to_bytes(2, "little"))
                    for piece in ([before] if before and pieces else []) + list(pieces):
                        line.write(piece)
                        await asyncio.sleep(pause_s)
            await asyncio.sleep(0.002)

    @contextlib.asynccontextmanager
    async def listening(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
        """Modbus TCP on a port, which it tells."""
        clients: set[asyncio.StreamWriter] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            clients.add(writer)
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    head = await reader.readexactly(7)
                    pdu = await reader.readexactly(int.from_bytes(head[4:6], "big") - 1)
                    if slave := self.slaves.get(head[6]):
                        answer = slave.answer(pdu)
                        frame = head[:4] + (len(answer) + 1).to_bytes(2, "big") + head[6:7] + answer
                        for piece in slave.change(frame):
                            writer.write(piece)
                            await writer.drain()
                            await asyncio.sleep(0.002)
            clients.discard(writer)
            writer.close()

        server = await asyncio.start_server(serve, host, port)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for client in clients:
                client.close()
            await server.wait_closed()
