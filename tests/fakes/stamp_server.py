"""OpenSSL's time stamp authority behind HTTP on loopback, with lies."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from aiohttp import web
from fakes.stamp_authority import Authority

from gateway.anchors import rfc3161
from gateway.anchors.api import Chain, Place
from gateway.core import anchor_rfc3161

Answer = Callable[[bytes], Awaitable[web.StreamResponse]]


class StampGround:
    """What of a ground (tests/contracts/test_anchors.py) an authority has. `lie`: what answers in its place."""

    kind, check = anchor_rfc3161.KIND, staticmethod(anchor_rfc3161.check)

    def __init__(self, authority: Authority, url: str) -> None:
        self.authority, self.asked = authority, list[bytes]()
        self.lie: Answer | None = None
        self.options = rfc3161.Options(url=url, roots_file=str(authority.folder / "root.pem"))

    def open(self) -> AbstractAsyncContextManager[Chain]:
        return rfc3161.opened(self.options, {})

    async def mine(self, blocks: int = 1) -> None:
        """It has no blocks."""

    def pin(self, place: Place) -> str:
        return f"{self.kind} 127.0.0.1 root {self.authority.root.fingerprint}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        sent = await request.read()
        self.asked.append(sent)
        if self.lie is not None:
            return await self.lie(sent)
        return granted(await asyncio.to_thread(self.authority.answer, sent))


def granted(data: bytes) -> web.Response:
    return web.Response(body=data, content_type="application/timestamp-reply")


@asynccontextmanager
async def stamp_ground(folder: Path) -> AsyncIterator[StampGround]:
    app, grounds = web.Application(), list[StampGround]()

    async def answer(request: web.Request) -> web.StreamResponse:
        return await grounds[0].answer(request)

    app.router.add_post("/tsr", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    grounds.append(StampGround(await asyncio.to_thread(Authority.make, folder / "tsa"), f"http://{host}:{port}/tsr"))
    try:
        yield grounds[0]
    finally:
        await runner.cleanup()
