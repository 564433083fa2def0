"""An upstream node in a test: honest, or as bad as the test tells it to be; it keeps what it was sent."""

import asyncio
import ssl
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType

from aiohttp import web
from fakes.log_maker import LogMaker, log_id, signer

from gateway.core import cbor
from gateway.core.note import COSIGNATURE, format_line, parse_note
from gateway.keys import Signer, cosign

Respond = Callable[["BadNode", web.Request, bytes], Awaitable[web.StreamResponse]]


@dataclass
class Sent:
    """One request as it came: body as sent, headers, method and path."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class BadNode:
    """Honest unless `misbehave` is set: keeps entries, wants what `lacking` says, signs seen and stored."""

    log: LogMaker
    name: str = "node.example"
    misbehave: Respond | None = None
    lacking: set[int] = field(default_factory=set)
    sent: list[Sent] = field(default_factory=list)
    size: int = 0

    def __post_init__(self) -> None:
        self.seen: Signer = signer(self.name, COSIGNATURE)
        self.stored: Signer = signer(f"{self.name}/stored", COSIGNATURE)
        self.bodies: dict[int, bytes] = {}
        self.port = 0
        self.tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> "BadNode":
        self._http = web.Server(self._handle, access_log=None, auto_decompress=False)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._http, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._http.shutdown(0.05)
        await self._server.wait_closed()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read() if self.misbehave is None or request.method != "PUT" else b""
        self.sent.append(Sent(request.method, request.path, dict(request.headers), body))
        if self.misbehave is not None:
            return await self.misbehave(self, request, body)  # type: ignore[arg-type]
        return self.honest(request, body)

    def honest(self, request: web.BaseRequest, body: bytes) -> web.Response:
        """What a node answers (section 8)."""
        base = f"/v1/logs/{log_id(self.log.origin)}"
        if request.method == "PUT" and request.path.startswith(f"{base}/blocks/"):
            height = int(request.path.rpartition("/")[2])
            if height not in self.lacking:
                return web.Response(status=409)
            self.bodies[height] = zlib.decompress(body)
            self.lacking.discard(height)
            return web.Response(status=204)
        if request.method != "POST" or request.path != f"{base}/sync":
            return web.Response(status=404)
        fields = cbor.decode(body)
        assert isinstance(fields, dict)
        old, entries, note = fields[1], fields[2], fields[3]
        if old != self.size:
            return web.Response(status=409, body=f"{self.size}\n".encode(), content_type="text/x.tlog.size")
        self.size += len(entries)
        return web.Response(body=cbor.encode(self.answer(note)), content_type="application/cbor")

    def answer(self, note: str) -> dict[int, object]:
        """The honest answer after a sync that ends with `note`."""
        answer: dict[int, object] = {1: self.line(self.seen, note), 2: self.size}
        if self.lacking:
            answer[3] = [[height, height + 1] for height in sorted(self.lacking) if height < self.size]
        if self.size and not any(height < self.size for height in self.lacking):
            answer |= {4: self.size, 5: self.line(self.stored, note)}
        return answer

    @staticmethod
    def line(by: Signer, note: str) -> str:
        """A co-signature over a note's text."""
        return format_line(cosign(by, parse_note(note).text, 1_800_000_000))
