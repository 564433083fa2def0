"""A C2SP witness in a test: honest, or as bad as the test tells it to be; it keeps what it was sent."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType

from aiohttp import web
from fakes.bad_node import Sent
from fakes.log_maker import LogMaker, log_id, signer

from gateway.core import merkle
from gateway.core.note import COSIGNATURE, b64decode, format_line, parse_checkpoint, parse_note
from gateway.keys import Signer, cosign

Respond = Callable[["BadWitness", web.BaseRequest, bytes], Awaitable[web.StreamResponse]]
SIZE_TYPE = "text/x.tlog.size"


@dataclass
class BadWitness:
    """Honest unless `misbehave` is set: checks proofs, keeps the newest checkpoint, shows it where `shows` is set."""

    log: LogMaker
    time_s: Callable[[], float]
    name: str = "witness.example"
    misbehave: Respond | None = None
    shows: bool = True
    sent: list[Sent] = field(default_factory=list)
    size: int = 0
    root: bytes = merkle.EMPTY_ROOT
    newest: str = ""

    def __post_init__(self) -> None:
        self.key: Signer = signer(self.name, COSIGNATURE)
        self.port = 0
        self.tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/prefix/"

    async def __aenter__(self) -> "BadWitness":
        self._http = web.Server(self._handle, access_log=None)
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
        body = await request.read()
        self.sent.append(Sent(request.method, request.path, dict(request.headers), body))
        if self.misbehave is not None:
            return await self.misbehave(self, request, body)
        return self.honest(request, body)

    def honest(self, request: web.BaseRequest, body: bytes) -> web.Response:
        """What a witness answers (tlog-witness)."""
        if request.method == "GET" and request.path == f"/prefix/{log_id(self.log.origin)}/checkpoint" and self.shows:
            return web.Response(text=self.newest, status=200 if self.newest else 404)
        if request.method != "POST" or request.path != "/prefix/add-checkpoint":
            return web.Response(status=404)
        head, _, note = body.decode().partition("\n\n")
        first, *proof = head.split("\n")
        old, checkpoint = int(first.removeprefix("old ")), parse_checkpoint(parse_note(note).text)
        if old != self.size:
            return web.Response(status=409, body=f"{self.size}\n".encode(), content_type=SIZE_TYPE)
        path = [b64decode(line, "a hash") for line in proof]
        merkle.verify_consistency(old, checkpoint.size, self.root, checkpoint.root, path)
        self.size, self.root = checkpoint.size, checkpoint.root
        self.newest = note + self.line(note)
        return web.Response(text=self.line(note))

    def line(self, note: str, *, by: Signer | None = None, time_s: float | None = None) -> str:
        """A co-signature over a note's text."""
        time_s = self.time_s() if time_s is None else time_s
        return format_line(cosign(by or self.key, parse_note(note).text, int(time_s)))
