"""A gateway's web server on a free port, over a real store."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fakes.clock import FakeClock
from fakes.filled_store import make_store
from fakes.log_maker import LogMaker
from fakes.readers import COOP, links
from fakes.status_sample import status
from yarl import URL

from gateway import httpsig
from gateway.keys import Signer
from gateway.settings import WebSettings
from gateway.store import Store
from gateway.web import Services, WebServer

Start = Callable[..., Awaitable[WebServer]]


@pytest.fixture
def log() -> LogMaker:
    return LogMaker().add(5, readings=4)


@pytest.fixture
async def store(tmp_path: Path, log: LogMaker) -> AsyncIterator[Store]:
    made = await make_store(tmp_path / "gateway", log)
    yield made
    await made.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def start(store: Store, clock: FakeClock) -> AsyncIterator[Start]:
    """Starts a server; `nodes`, `control`, fields of Services (or `services`) and of [web] may be given."""
    servers: list[WebServer] = []

    async def begin(**given: Any) -> WebServer:
        nodes, control = given.pop("nodes", links()), given.pop("control", None)
        offered = {field.name: given.pop(field.name) for field in fields(Services) if field.name in given}
        services = Services(**({"status": status} | offered | given.pop("services", {})))
        settings = WebSettings(**({"listen": "127.0.0.1:0"} | given))
        server = WebServer(settings, nodes, store, clock, services, control=control)
        servers.append(server)
        await server.start()
        return server

    yield begin
    for server in servers:
        await server.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


class Answer:
    """A response, read whole."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status, self.headers, self.body = response.status, response.headers, body


@pytest.fixture
def pull(http: aiohttp.ClientSession, clock: FakeClock) -> Callable[..., Awaitable[Answer]]:
    """A signed GET, dated by the test's clock."""

    async def get(server: WebServer, target: str, by: Signer | None = COOP, **headers: str) -> Answer:
        host = f"127.0.0.1:{server.port}"
        headers = {"Accept-Encoding": "identity"} | headers
        if by is not None:
            path, query = httpsig.split_target(target)
            headers |= httpsig.sign_now(by, "GET", host, path, query, now=clock.ms / 1000)
        async with http.get(URL(f"http://{host}{target}", encoded=True), headers=headers) as response:
            return Answer(response, await response.read())

    return get
