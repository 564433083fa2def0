"""A disk that is really full under a whole gateway, which is no root: it waits, says so, comes up on it, and goes on.

data_dir is on a small ext4 of its own, filled by another file while messages arrive. The oracle is a proxy that saw
every PUBACK leave the gateway. test_retention.py has the same for the quota, where nothing can be mounted.
"""

import asyncio
import contextlib
import json
import os
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiomqtt
import pytest
from fakes.broker import Mosquitto
from fakes.card import Card
from fakes.field import CLI, Field, Process, fieldgate, until
from fakes.mqtt_proxy import SUBACK, MqttProxy
from fakes.other_user import NOBODY, SETPRIV, reachable_folder

from gateway.cli.status import ask
from gateway.core import body, limits, senml
from gateway.node.ledger import log_id
from gateway.node.run import STORE_FILE
from gateway.node.sqlite import SqliteStore
from gateway.store.space import BALLAST

SOURCES = """
[seal]
max_age_s = 0.3
max_count = 50
heartbeat_s = 1
[journal]
linger_ms = 20
[broker.local]
url = "mqtt://127.0.0.1:{port}"
keepalive_s = 5
[source.climate]
driver = "mqtt"
broker = "local"
topic = "full/climate"
values = {{ n = {{ pointer = "/n" }} }}
[retention]
min_free = "1 MiB"
min_age_h = 0
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another user can reach."""
    with reachable_folder() as made:
        yield made


class Full:
    """A gateway on a card, and what is published to it."""

    def __init__(self, card: Card, folder: Path, proxy: MqttProxy) -> None:
        self.card, self.proxy = card, proxy
        self.field = Field(folder, SOURCES.format(port=proxy.port), data=card.folder / "data")
        self.field.gateway = Process("gateway", self.field.home, *SETPRIV, *CLI, "run")
        self.published: list[int] = []
        self.enough = False  # what is published; a cancelled publish may go on

    async def make(self) -> None:
        await self.field.make()
        for path in (self.field.home, self.card.folder):
            for each in (path, *path.rglob("*")):
                os.chown(each, NOBODY, NOBODY)

    async def publish(self, port: int) -> None:
        await until(lambda: bool(self.proxy.of(SUBACK, up=False)), "the gateway's first subscription")
        async with aiomqtt.Client("127.0.0.1", port, identifier="publisher") as client:
            while not self.enough:
                number = len(self.published)
                await client.publish("full/climate", json.dumps({"n": number, "noise": os.urandom(400).hex()}), qos=1)
                self.published.append(number)
                await asyncio.sleep(0.004)

    def acknowledged(self) -> set[int]:
        return {json.loads(one.payload)["n"] for one in self.proxy.acknowledged}

    def fill(self) -> None:
        """Takes every byte that is free. Again, what was given up meanwhile."""
        with (self.card.folder / "filler").open("ab", buffering=0) as file:
            for size in (1 << 20, 4096, 512):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(os.urandom(size))
            with contextlib.suppress(OSError):
                os.fsync(file.fileno())

    def empty(self) -> None:
        (self.card.folder / "filler").unlink()

    async def held(self) -> None:
        """Returns when no reading is stored any more, and status says so with a cure."""
        await self.field.up()
        async with asyncio.timeout(30):
            while not (told := await asyncio.to_thread(ask, self.field.data / "control.sock"))["disk"].get("held"):
                await asyncio.sleep(0.1)
        assert any("No reading is stored" in problem["what"] for problem in told["problems"]), told["problems"]
        assert all(problem["cure"] for problem in told["problems"])

    async def quiet(self) -> int:
        """Numbers acknowledged, once no more come."""
        before = -1
        while (now := len(self.acknowledged())) != before:
            before = now
            await asyncio.sleep(1.5)
        return now

    async def more_than(self, count: int) -> None:
        await until(lambda: len(self.acknowledged()) > count, f"more than {count} acknowledged\n{self.words()}")

    def words(self) -> str:
        return self.field.gateway.words()[-3000:]


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Full, int]]:
    with Card(folder / "card", "ext4", mib=24, more=("-m", "0")) as card:
        broker = Mosquitto(folder / "broker")
        await asyncio.to_thread(broker.start)
        try:
            async with MqttProxy(broker.port) as proxy:
                full = Full(card, folder, proxy)
                await full.make()
                async with full.field.started(node=False):
                    yield full, broker.port
        finally:
            await asyncio.to_thread(broker.stop)


@pytest.mark.timeout(180)
async def test_a_full_disk_loses_nothing_and_is_survived(folder: Path) -> None:
    async with running(folder) as (full, port):
        field, ballast = full.field, full.field.data / BALLAST
        publishing = asyncio.create_task(full.publish(port))
        await full.more_than(100)
        await until(ballast.exists, "the ballast")
        pid = field.gateway.pid
        await asyncio.to_thread(full.fill)
        await full.held()
        at = await full.quiet()
        assert len(full.published) > at, "the broker keeps what is not stored"
        full.empty()
        await full.more_than(at + 100)
        assert field.gateway.running
        assert field.gateway.pid == pid, "without a restart"

        await asyncio.to_thread(full.fill)
        await full.held()
        assert await field.gateway.end() == 0, full.words()
        await asyncio.to_thread(full.fill)  # what the stop gave back
        await field.gateway.start()  # and it comes up on a full disk
        await full.held()
        at = await full.quiet()
        await field.node.start()  # what it stores can be deleted, also on a full disk
        await full.more_than(at + 10)
        full.empty()
        full.enough = True
        await publishing
        await until(lambda: full.acknowledged() == set(full.published), f"every message acknowledged\n{full.words()}")
        await until(lambda: ballast.stat().st_size == limits.BALLAST_BYTES, "the ballast again")
        assert await field.gateway.end() == 0, full.words()
        told = await fieldgate("verify", "--store", str(field.data), cwd=field.home)
        assert "all good" in told
        assert "pruned" in told, "room was made of what the node holds"
        blocks, by_node = await field.node_progress()
        assert blocks == by_node
        await field.node.end()
        assert await numbers(folder / "node" / "data") == full.published  # all, once, in order


async def numbers(node: Path) -> list[int]:
    """The readings of the whole chain in order, from the bodies that the node holds."""
    store = await SqliteStore.open(node / STORE_FILE)
    try:
        log = log_id("field.example/1")
        found: list[int] = []
        for height in range((await store.head(log)).size):
            kept = await store.body(log, height)
            assert kept is not None, height
            whole = body.parse_body(zlib.decompress(kept.data))
            assert isinstance(whole, body.WholeBody), height
            readings = [senml.resolve(pack) for pack, _ in whole.items]
            found += [int(one.records[0].value) for one in readings if one.source == "climate"]  # type: ignore[arg-type]
        return found
    finally:
        await store.close()
