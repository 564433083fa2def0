"""A gateway that a node pulls from, made of a LogMaker: section 9 as it should be, and wrong in every way on demand."""

import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from fakes.log_maker import LogMaker

from gateway import httpsig
from gateway.core import tiles
from gateway.core.note import VerifierKey
from gateway.errors import AuthError

Spoil = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class PulledGateway:
    """`size`: how much of the log it shows. `spoil` may answer in its place. `asked`: every path, in order."""

    def __init__(self, maker: LogMaker, reader: VerifierKey, *, synchronised: bool = True) -> None:
        self.maker = maker
        self.size = maker.size
        self.url = ""
        self.asked: list[str] = []
        self.spoil: Spoil | None = None
        self.body: Callable[[int], bytes | None] = lambda height: maker.blocks[height].body
        self.coding = "deflate"
        self._reader = reader
        self._now: Callable[[], float | None] = time.time if synchronised else lambda: None
        self._checker: httpsig.Checker | None = None

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["PulledGateway"]:
        """Listens on loopback."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer, allow_head=False)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        self.url = f"http://{host}:{port}"
        keys = {httpsig.key_name(self._reader): self._reader}
        self._checker = httpsig.Checker(keys, self._now, time.monotonic, [f"{host}:{port}"])
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path, query = httpsig.split_target(request.raw_path)
        assert self._checker is not None
        try:
            self._checker.check("GET", request.headers["Host"], path, query, request.headers)
        except AuthError as error:
            return web.Response(status=401, headers={"Accept-Signature": error.challenge} if error.challenge else {})
        self.asked.append(path)
        if self.spoil is not None:
            spoilt = await self.spoil(request)
            if spoilt is not None:
                return spoilt
        return self._honest(path.removeprefix("/"))

    def _honest(self, path: str) -> web.Response:
        if path.startswith("blocks/"):
            return self._block(int(path.removeprefix("blocks/")))
        asked = tiles.parse_path(path)
        if asked.kind == "checkpoint":
            return web.Response(text=self.maker.note(self.size).encode()) if self.size else web.Response(status=404)
        if asked.kind != "entries" or asked.size > self.size:
            return web.Response(status=404)
        return web.Response(body=tiles.encode_bundle(self.maker.entries[asked.start : asked.start + asked.width]))

    def _block(self, height: int) -> web.Response:
        data = self.body(height)
        if data is None:
            return web.Response(status=404)
        if self.coding == "deflate":
            return web.Response(body=zlib.compress(data), headers={"Content-Encoding": "deflate"})
        return web.Response(body=data)
