"""A gateway's web server over a real store, with a farm's status that a test changes, on a port that it keeps."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fakes.broker import free_port
from fakes.clock import FakeClock
from fakes.configs import SEEN, STORED
from fakes.filled_store import make_store
from fakes.gateway_folder import cosign_size
from fakes.log_maker import LogMaker
from fakes.page_sample import away, events, farm_minutes, farm_status, taken_over

from gateway.clock import Clock, SystemClock
from gateway.conditions import Problem
from gateway.core import senml
from gateway.settings import NodeLink, WebSettings
from gateway.store import Store
from gateway.web import Services, WebServer
from gateway.web.site import Site

HEIGHT = 40


class PageGateway:
    """`change` edits each snapshot. found: what the doctor finds. done: the actions that were asked for.

    receipt: the address of a receipt that stands.
    """

    def __init__(self, store: Store, clock: Clock, receipt: str, **web: Any) -> None:
        self.store, self.clock, self.receipt = store, clock, receipt
        self.change: Callable[[dict[str, Any]], None] = lambda told: None
        self.found: list[Problem] = away("weighbridge")
        self.done: list[str] = []
        self.minutes = farm_minutes(clock.now().ms // 60_000)
        self.port = free_port()
        self._web = {"listen": f"127.0.0.1:{self.port}"} | web
        self.server: WebServer | None = None

    @classmethod
    async def make(cls, folder: Path, clock: Clock | None = None, **web: Any) -> "PageGateway":
        """With a log of HEIGHT blocks that a node has co-signed. The clock runs, if none is given."""
        log = LogMaker().add(HEIGHT - 1, readings=6).add(1, readings=0)
        store = await make_store(folder, log)
        await cosign_size(store, log, HEIGHT - 2)
        reading = senml.resolve(log.blocks[3].items[0][0])
        receipt = f"/receipt/{reading.source}?at={reading.time_ms}"
        return cls(store, clock or await asyncio.to_thread(SystemClock), receipt, **web)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def status(self) -> dict[str, Any]:
        told = farm_status(self.clock.now().ms)
        told["chain"] = told["chain"] | {"size": HEIGHT}
        for name, node in told["nodes"].items():
            node.update(entries=HEIGHT, seen=HEIGHT, stored=HEIGHT - (name == "coop"))
        self.change(told)
        return told

    async def start(self, **offered: Any) -> None:
        link = NodeLink(url="https://node.example:8441", seen_key=SEEN, stored_key=STORED)
        services = {
            "status": self.status,
            "sync": lambda: self.done.append("sync"),
            "doctor": self._doctor,
            "reload": self._reload,
            "rollup": self.minutes,
            "events": self._events,
        }
        settings = WebSettings(**self._web)
        self.server = WebServer(settings, {"coop": link}, self.store, self.clock, Services(**(services | offered)))
        await self.server.start()

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop()
        self.server = None

    async def site(self) -> Site:
        """What answers people."""
        assert self.server is not None
        return await self.server._people()

    async def code(self) -> str:
        """What `fieldgate login` prints."""
        assert self.server is not None
        return str((await self.server._issue())["code"])

    async def _doctor(self) -> list[Problem]:
        self.done.append("doctor")
        await asyncio.sleep(0.05)
        return self.found

    async def _reload(self, asked: str) -> dict[str, Any]:
        self.done.append(asked)
        return taken_over(sources={"started": ["barn"], "stopped": [], "changed": ["gps"]})

    async def _events(self, limit: int, before: int | None) -> list[Any]:
        return [one for one in events() if before is None or one.place < before][:limit]


def still(ms: int) -> FakeClock:
    """A clock that stands."""
    clock = FakeClock()
    clock.ms = ms
    return clock
