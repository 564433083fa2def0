"""The way in: a listening socket that counts its connections, and an HTTP server that gives nothing away.

The counts are kept at accept, so connections that never finish a TLS handshake or a request head count as well.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Any

from aiohttp import web

from gateway.core import limits

log = logging.getLogger(__name__)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

READING, CHANGING = frozenset({"GET"}), frozenset({"GET", "POST"})

ALWAYS = {"Server": "fieldgate", "X-Content-Type-Options": "nosniff"}

_STOP_S = 1.0  # for answers under way when the server stops
_TLS_HANDSHAKE_S = 10.0


class _Connection(socket.socket):
    """An accepted connection that says once when it is closed."""

    on_close: Callable[[], None] | None = None

    def close(self) -> None:
        super().close()
        done, self.on_close = self.on_close, None
        if done is not None:
            done()


class Listener(socket.socket):
    """A listening socket with at most `most` connections, `most_by_one` from one address; others are closed at once."""

    def __init__(self, family: int, *, most: int, most_by_one: int) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._most, self._most_by_one = most, most_by_one
        self._open: Counter[str] = Counter()

    @property
    def connections(self) -> int:
        """Connections open now."""
        return self._open.total()

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection. Raises ConnectionAbortedError where there are too many: the event loop goes on."""
        plain, address = super().accept()
        peer = neighbourhood(address[0] if isinstance(address, tuple) else "")
        if self.connections >= self._most or self._open[peer] >= self._most_by_one:
            plain.close()
            raise ConnectionAbortedError
        connection = _Connection(plain.family, plain.type, plain.proto, fileno=plain.detach())
        self._open[peer] += 1
        connection.on_close = partial(self._leave, peer)
        return connection, address

    def _leave(self, peer: str) -> None:
        self._open[peer] -= 1
        if not self._open[peer]:
            del self._open[peer]


def neighbourhood(address: str) -> str:
    """What counts as one address: an IPv4 address, an IPv6 network of 64 bits."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or int(parsed) >> 64)
    return str(parsed)


class Served:
    """A running server on one listening socket."""

    def __init__(self, server: asyncio.Server, http: web.Server, listener: Listener) -> None:
        self._server, self._http, self.listener = server, http, listener

    async def stop(self) -> None:
        """Takes no more connections, lets answers under way end for a moment, closes the rest."""
        self._server.close()
        self._http.pre_shutdown()
        await self._http.shutdown(_STOP_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await self._server.wait_closed()


class Endless(web.StreamResponse):
    """An answer that goes on after its head for as long as `feed` does, which sets its own deadlines."""

    async def feed(self, request: web.BaseRequest) -> None:
        """Sends what there is to send. An answer is cut off where this raises."""
        raise NotImplementedError


async def serve(
    listener: Listener,
    handler: Handler,
    tls: ssl.SSLContext | None = None,
    *,
    methods: Collection[str] = READING,
    forms: Callable[[web.BaseRequest], bool] | None = None,
) -> Served:
    """Serves a bound listener. `methods`: those that the handler is asked with; all others are denied.

    forms: which requests with a body it is asked with beside them; without it none.
    """

    def accepts(request: web.BaseRequest) -> bool:
        return (request.method in methods and is_plain(request)) or (forms is not None and forms(request))

    http = _Server(partial(_answer, handler, accepts), handler_cancellation=True)
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        http,
        sock=listener,
        backlog=limits.WEB_CONNECTIONS,
        ssl=tls,
        ssl_handshake_timeout=_TLS_HANDSHAKE_S if tls else None,
        ssl_shutdown_timeout=_STOP_S if tls else None,
    )
    return Served(server, http, listener)


async def _answer(
    handler: Handler, accepts: Callable[[web.BaseRequest], bool], request: web.BaseRequest
) -> web.StreamResponse:
    """One request with a deadline that covers the sending of the answer; a peer that does not read is cut off."""
    transport = request.transport
    if transport is None:
        return deny()
    transport.set_write_buffer_limits(0)  # what a peer has not taken counts as not sent
    response: web.StreamResponse = deny()
    try:
        async with asyncio.timeout(limits.WEB_REQUEST_S):
            if accepts(request):
                response = await handler(request)
            if not response.prepared:
                response.headers.update(ALWAYS)
            await response.prepare(request)
            if not isinstance(response, Endless):
                await response.write_eof()
    except TimeoutError:
        transport.abort()
    if isinstance(response, Endless) and response.prepared:
        await response.feed(request)
        await response.write_eof()
    return response


def is_plain(request: web.BaseRequest) -> bool:
    """It names a path, and has no body and no wish for another protocol."""
    return (
        request.raw_path.startswith("/")
        and not request.body_exists
        and "Upgrade" not in request.headers
        and len(request.headers.getall("Host", ())) == 1
    )


def deny(status: int = 401) -> web.Response:
    """No body, no reason, and the connection closes."""
    response = web.Response(status=status, headers={"Cache-Control": "no-store", **ALWAYS})
    response.force_close()
    return response


class _Protocol(web.RequestHandler):
    """aiohttp's connection, without its error pages."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Malformed requests are denied like all others; our own faults are logged. A begun answer is cut off."""
        if status < 500:
            return deny()
        log.error("a request to %r failed", request.raw_path[:100], exc_info=exc)
        if request.writer.output_size:
            raise ConnectionError("an answer was begun and cannot be finished")
        return deny(500)


class _Server(web.Server):
    """aiohttp's server with our connection and limits."""

    def __call__(self) -> web.RequestHandler:
        no_log: Any = None
        return _Protocol(
            self,
            loop=asyncio.get_running_loop(),
            access_log=no_log,
            keepalive_timeout=limits.WEB_HEAD_S,  # also for the first request's head
            lingering_time=0.0,
            max_line_size=limits.WEB_HEAD_BYTES,
            max_field_size=limits.WEB_HEAD_BYTES,
            max_headers=limits.WEB_HEADERS,
            auto_decompress=False,
        )
