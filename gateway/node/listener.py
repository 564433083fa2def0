"""The node's listening socket and the HTTP server on it, with what is bounded before a request is understood."""

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.core import limits

_BACKLOG = 128


class _Accepted(socket.socket):
    """A connection that says when it is closed, whoever closes it and however far it came."""

    leave: Callable[[], None] | None = None

    def close(self) -> None:
        super().close()
        leave, self.leave = self.leave, None
        if leave is not None:
            leave()


class Door(socket.socket):
    """A listening socket that counts at accept, so that a TLS handshake which never ends counts too."""

    def __init__(self, family: int, most: int, most_of_address: int) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._most = most
        self._most_of_address = most_of_address
        self._inside: Counter[str] = Counter()

    @property
    def connections(self) -> int:
        """Connections open now."""
        return self._inside.total()

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection; ConnectionAbortedError, which the event loop passes over, where there is no place."""
        plain, address = super().accept()
        connection = _Accepted(self.family, self.type, self.proto, fileno=plain.detach())
        peer = str(address[0])
        if self.connections >= self._most or self._inside[peer] >= self._most_of_address:
            connection.close()
            raise ConnectionAbortedError("no place for another connection")
        self._inside[peer] += 1
        connection.leave = lambda: self._gone(peer)
        return connection, address

    def _gone(self, peer: str) -> None:
        self._inside[peer] -= 1
        if not self._inside[peer]:
            del self._inside[peer]


def bind(host: str, port: int) -> Door:
    """A listening socket; port 0 takes a free one. Who connects before `serve` waits. OSError where it cannot be."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    door = Door(family, limits.NODE_CONNECTIONS, limits.NODE_CONNECTIONS_OF_ADDRESS)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.setblocking(False)
        door.bind(address)
        door.listen(_BACKLOG)
    except OSError:
        door.close()
        raise
    return door


def _quiet_logger() -> logging.Logger:
    """aiohttp's log of our own faults, without one line for each malformed request of a stranger."""
    logger = logging.getLogger("gateway.node.http")
    if not logger.filters:
        logger.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))
    return logger


class Listener:
    """A running server."""

    def __init__(self, runner: web.AppRunner, server: asyncio.Server, door: Door) -> None:
        self._runner = runner
        self._server = server
        self.door = door

    async def close(self) -> None:
        """Takes no more connections, lets requests end for the grace that `serve` was given, ends the rest."""
        self._server.close()
        await self._runner.cleanup()


async def serve(app: web.Application, door: Door, tls: ssl.SSLContext | None, grace_s: float) -> Listener:
    """Serves the application on a bound socket."""
    runner = web.AppRunner(
        app,
        handle_signals=False,
        access_log=None,
        logger=_quiet_logger(),
        shutdown_timeout=grace_s,
        keepalive_timeout=limits.NODE_HEADER_S,  # also for the first request's head
        auto_decompress=False,
        lingering_time=limits.NODE_LINGER_S,
        max_line_size=limits.NODE_HEAD_BYTES,
        max_field_size=limits.NODE_HEAD_BYTES,
        max_headers=limits.NODE_HEADERS,
    )
    await runner.setup()
    factory = runner.server
    assert factory is not None
    patience = None if tls is None else limits.NODE_HEADER_S
    server = await asyncio.get_running_loop().create_server(
        factory, sock=door, ssl=tls, ssl_handshake_timeout=patience, backlog=_BACKLOG
    )
    return Listener(runner, server, door)
