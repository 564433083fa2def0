"""Lines over the network: a serial server that speaks TCP, and a device that sends UDP datagrams."""

import asyncio
import contextlib
import socket
import struct

BUFFER_BYTES = 1 << 20  # for a client that does not read; beyond it data is lost for it
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close without a goodbye

_TURNS = 8  # of the loop, until a connection that was accepted just now is known here


class TcpLine:
    """A serial server (`async with`). Whoever connects to `address` hears what is written from then on."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self.clients: list[asyncio.StreamWriter] = []
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        """host:port."""
        return f"{self._host}:{self._port}"

    async def __aenter__(self) -> "TcpLine":
        self._server = await asyncio.start_server(self._serve, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            # A server that is closed while a connection it accepted is not yet set up (3.11) forgets to close it.
            for listening in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
            for _turn in range(_TURNS):
                await asyncio.sleep(0)
            self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.append(writer)
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError):
                while await reader.read(1_024):
                    pass  # what a client says goes nowhere
            if writer in self.clients:
                self.clients.remove(writer)
                writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        finally:
            self._open.discard(writer)

    def write(self, data: bytes) -> bool:
        """True if there is a client, and each took it all."""
        ready = [one for one in self.clients if one.transport.get_write_buffer_size() <= BUFFER_BYTES]
        for one in ready:
            one.write(data)
        return bool(ready) and len(ready) == len(self.clients)

    def hang_up(self, *, reset: bool = False) -> None:
        """Ends each connection; reset: as a device does that lost its power and came back."""
        while self.clients:
            writer = self.clients.pop()
            if reset:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()
            else:
                writer.close()


class UdpLine:
    """A device that sends each write as one datagram to host:port, a broadcast perhaps. `bind`: its own address."""

    def __init__(self, host: str, port: int, *, bind: str = "") -> None:
        self._to = (host, port)
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._socket.setblocking(False)
        if bind:
            self._socket.bind((bind, 0))

    def write(self, data: bytes) -> bool:
        """True if it was sent. Nobody knows whether it was heard."""
        with contextlib.suppress(OSError):
            return self._socket.sendto(data, self._to) == len(data)
        return False

    def close(self) -> None:
        """Sends no more."""
        self._socket.close()

    def __enter__(self) -> "UdpLine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
