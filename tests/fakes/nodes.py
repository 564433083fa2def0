"""A real node on loopback, with keys in memory, and a client that speaks to it as gateways and readers do."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp
from fakes.log_maker import LogMaker, signer

from gateway import httpsig
from gateway.anchors import registry as chains
from gateway.clock import Clock, SystemClock
from gateway.core import cbor
from gateway.core.note import COSIGNATURE, ED25519, VerifierKey, parse_lines, verify_cosignature
from gateway.fleet import Known, Telling
from gateway.keys import Signer
from gateway.node import log as judge
from gateway.node.run import STORE_FILE, Node
from gateway.node.schema import create_file
from gateway.settings import AnchorSettings, EnrolledGateway, NodeSelf, NodeSettings

NAME = "node.example"
KEYS: Mapping[str, Signer] = {
    "env:seen": signer(NAME, COSIGNATURE),
    "env:stored": signer(f"{NAME}/stored", COSIGNATURE),
    "env:read": signer(f"{NAME}/read", ED25519),
}
READER = signer("dairy.example/reader")
SEEN = KEYS["env:seen"].vkey
STORED = KEYS["env:stored"].vkey
READ = KEYS["env:read"].vkey


@dataclass(frozen=True)
class Reply:
    """An answer, read whole."""

    status: int
    data: bytes
    headers: Mapping[str, str]

    @property
    def text(self) -> str:
        """The body as text."""
        return self.data.decode()

    @property
    def fields(self) -> dict[Any, Any]:
        """The body as a sync answer."""
        assert self.status == 200, (self.status, self.text)
        fields = cbor.decode(self.data)
        assert isinstance(fields, dict)
        return fields


@dataclass
class Client:
    """Requests to one node."""

    http: aiohttp.ClientSession
    port: int
    node: Node
    task: "asyncio.Task[None]"
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, method: str, path: str, **kwargs: Any) -> Reply:
        """Any request."""
        async with self.http.request(method, f"http://127.0.0.1:{self.port}{path}", **kwargs) as response:
            return Reply(response.status, await response.read(), response.headers)

    async def sync(self, maker: LogMaker, old: int, new: int | None = None, *, note: str | None = None) -> Reply:
        """Sends the entries [old, new) of the log with its note."""
        new = maker.size if new is None else new
        data = judge.encode_sync(old, maker.entries[old:new], note or maker.note(new).encode())
        return await self.post_sync(maker.id, data)

    async def post_sync(self, log: str, data: bytes, **headers: str) -> Reply:
        """Sends any bytes as a sync request."""
        wanted = {"Content-Type": "application/cbor", **headers}
        return await self.ask("POST", f"/v1/logs/{log}/sync", data=data, headers=wanted)

    async def put(self, maker: LogMaker, height: int, data: bytes | None = None, *, coding: str = "deflate") -> Reply:
        """Uploads a block's body; without data the whole one."""
        data = maker.blocks[height].compressed if data is None else data
        headers = {"Content-Type": "application/cbor"} | ({"Content-Encoding": coding} if coding else {})
        return await self.ask("PUT", f"/v1/logs/{maker.id}/blocks/{height}", data=data, headers=headers)

    async def add_checkpoint(self, data: bytes) -> Reply:
        """tlog-witness."""
        return await self.ask("POST", "/add-checkpoint", data=data)

    async def read(self, reader: Signer, log: str, path: str, query: str = "", **headers: str) -> Reply:
        """A signed GET."""
        target = f"/v1/logs/{log}/{path}"
        signed = httpsig.sign_now(reader, "GET", f"127.0.0.1:{self.port}", target, query, now=time.time())
        headers = {"Accept-Encoding": "identity", **headers}
        return await self.ask("GET", target + (f"?{query}" if query else ""), headers={**signed, **headers})


@asynccontextmanager
async def running(
    folder: Path,
    logs: Mapping[str, EnrolledGateway],
    *,
    read_timeout_s: float = 30.0,
    anchors: Mapping[str, AnchorSettings] = MappingProxyType({}),
    kind_of: Callable[[str], Known] = chains.kind,
    clock: Clock | None = None,
    **changes: Any,
) -> AsyncIterator[Client]:
    """A node with these logs enrolled; `changes` are fields of NodeSelf. Its store is made at the first start.

    clock: of what tells chains; the machine's where none is given.
    """
    self = NodeSelf(
        name=NAME,
        data_dir=str(folder),
        seen_key="env:seen",
        stored_key="env:stored",
        read_key="env:read",
        **{"listen": "127.0.0.1:0", "pull_every_s": 0.05, **changes},
    )
    if not (folder / STORE_FILE).exists():
        await asyncio.to_thread(create_file, folder / STORE_FILE)
    node = await Node.open(NodeSettings(node=self, gateway=dict(logs), anchor=dict(anchors)), KEYS.__getitem__)
    stop = asyncio.Event()
    told_by = clock or await asyncio.to_thread(SystemClock)
    beside = [Telling(name, one, {}, node.fleets[name], told_by, kind_of) for name, one in anchors.items()]
    task = asyncio.create_task(node.serve(stop, beside=beside))
    timeout = aiohttp.ClientTimeout(total=read_timeout_s)
    try:
        async with aiohttp.ClientSession(auto_decompress=False, timeout=timeout) as http:
            yield Client(http, node.port, node, task, stop)
    finally:
        stop.set()
        await task


def enrolled(maker: LogMaker, **changes: Any) -> EnrolledGateway:
    """The log's table in node.toml; READER may read it."""
    return EnrolledGateway(vkey=maker.vkey, **{"consumers": (str(READER.vkey),), **changes})


def check_lines(maker: LogMaker, size: int, lines: str, key: VerifierKey) -> int:
    """The time of the one line, which is this key's over the log's checkpoint of that size."""
    (line,) = parse_lines(lines)
    return verify_cosignature(maker.note(size).text, line, key)
