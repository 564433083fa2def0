"""A server of a chain that lies: it stands before a real one, and changes what that answers."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

Lie = Callable[[str, list[Any], Any], Any]
"""(method, params, what the chain answers) to what is answered. A Response is sent as it is."""


def honest(_: str, __: list[Any], result: Any) -> Any:
    return result


class LyingServer:
    """`lie` may be changed at any time; `asked` has the methods, `heads` the headers of the last request."""

    def __init__(self, behind: str) -> None:
        self._behind = behind
        self.lie: Lie = honest
        self.asked: list[str] = []
        self.heads: dict[str, str] = {}
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.asked.append(asked["method"])
        self.heads = dict(request.headers)
        async with aiohttp.ClientSession() as http, http.post(self._behind, json=asked) as response:
            told = await response.json()
        result = self.lie(asked["method"], asked["params"], told.get("result"))
        if isinstance(result, web.Response):
            return result
        if "error" in told and result is None:
            return web.json_response(told)
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": result})


@asynccontextmanager
async def lying(behind: str) -> AsyncIterator[LyingServer]:
    """A server that answers on loopback."""
    server = LyingServer(behind)
    app = web.Application()
    app.router.add_post("/{any:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/rpc"
        yield server
    finally:
        await runner.cleanup()


def error(code: int, text: str, number: int = 1) -> web.Response:
    """An answer that is an error; `number` is that of the question."""
    body = {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": text}}
    return web.Response(text=json.dumps(body), content_type="application/json")
