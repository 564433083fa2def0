"""Brings what connects to it to a port on loopback, from another address: a peer of the network, for a browser."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def relay(port: int, *, listen: tuple[str, int], come_from: str) -> AsyncIterator[None]:
    """While it is open: `listen` leads to 127.0.0.1:port, and the peer there is `come_from`."""

    async def bring(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner = await asyncio.open_connection("127.0.0.1", port, local_addr=(come_from, 0))
        except OSError:
            writer.transport.abort()
            return
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(_copy(reader, inner[1]), _copy(inner[0], writer))

    async with await asyncio.start_server(bring, *listen) as server:
        yield
        server.close()
        if hasattr(server, "close_clients"):
            server.close_clients()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
