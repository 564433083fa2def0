"""A gateway with a broker and a node whose files are put back, lost or moved; what it ever showed is kept."""

import asyncio
import contextlib
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomqtt
from fakes.broker import Mosquitto
from fakes.field import Field, fieldgate, ran, until

from gateway.core import senml
from gateway.store import Store

SOURCES = """
[seal]
max_age_s = 0.2
[journal]
linger_ms = 20
[broker.local]
url = "mqtt://127.0.0.1:{port}"
[source.climate]
driver = "mqtt"
broker = "local"
topic = "restored/climate"
values = {{ n = {{ pointer = "/n" }} }}
"""


class Restored:
    """`life` runs the gateway over some readings; `entries` has every entry that was ever seen, `forks` the others."""

    def __init__(self, folder: Path, data: Path | None = None) -> None:
        self.folder = folder
        self._data = data
        self.sent = 0
        self.entries: dict[tuple[str, int], bytes] = {}
        self.forks: list[tuple[str, int]] = []
        self.state: dict[str, Any] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Restored"]:
        """Broker and node run."""
        broker = Mosquitto(self.folder / "broker")
        await asyncio.to_thread(broker.start)
        self.port = broker.port
        self.field = Field(self.folder, SOURCES.format(port=broker.port), data=self._data)
        self.data = self.field.data
        await self.field.make()
        await self.field.node.start()
        try:
            yield self
        finally:
            for process in (self.field.gateway, self.field.node):
                if process.running:
                    await process.end()
            await asyncio.to_thread(broker.stop)

    async def life(self, readings: int = 4, *, held: str = "", node: bool = True) -> dict[str, Any]:
        """One start, in which so many readings are acknowledged, and an ordered stop. `held`: part of why."""
        await self.field.gateway.start()
        await self.field.up()
        before = self.field.journaled()
        async with asyncio.timeout(30):
            await self.publish(readings)
            if not held:
                await self._sealed(node=node)
        state = self.state = await self.status()
        assert self.field.journaled() >= before + readings
        assert (state["chain"]["held"] is None) == (not held), (state["chain"]["held"], held)
        assert held in str(state["chain"]["held"])
        self.look()
        assert await self.field.gateway.end() == 0, self.field.gateway.words()[-2000:]
        self.look()
        return state

    async def publish(self, readings: int) -> None:
        """So many readings in the gateway that runs, all of them stored."""
        while not (await self.status())["sources"]["climate"]["up"]:
            await asyncio.sleep(0.05)
        before = (await self.status())["sources"]["climate"]["stored"]
        async with aiomqtt.Client("127.0.0.1", self.port) as client:
            for _ in range(readings):
                await client.publish("restored/climate", json.dumps({"n": self.sent}), qos=1)
                self.sent += 1
        while (await self.status())["sources"]["climate"]["stored"] < before + readings:
            await asyncio.sleep(0.05)

    async def status(self) -> dict[str, Any]:
        """What `fieldgate status --json` is made of."""
        reader, writer = await asyncio.open_unix_connection(str(self.data / "control.sock"))
        writer.write(b"GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        told: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
        return told

    async def _sealed(self, *, node: bool) -> None:
        while True:
            state = await self.status()
            if state["chain"]["open"] == 0 and (not node or state["nodes"]["node"]["stored"] == state["chain"]["size"]):
                return
            await asyncio.sleep(0.05)

    def look(self) -> None:
        """Compares every entry that is stored now with what was seen at its height before."""
        for path in (self.data, *self.data.glob("epoch-*")):
            with contextlib.closing(sqlite3.connect(f"{(path / 'fieldgate.db').as_uri()}?mode=ro", uri=True)) as con:
                ((vkey,),) = con.execute("SELECT vkey FROM meta").fetchall()
                for height, entry in con.execute("SELECT height, entry FROM block").fetchall():
                    if self.entries.setdefault((vkey, height), entry) != entry:
                        self.forks.append((vkey, height))

    def copy(self, *names: str) -> Path:
        """A copy of files of the stopped gateway, with their write-ahead logs."""
        kept = self.folder / f"kept-{self.sent}"
        kept.mkdir()
        for name in names:
            for path in self.data.glob(f"{name}*"):
                shutil.copy2(path, kept / path.name)
        return kept

    def lose(self, *names: str) -> None:
        for name in names:
            for path in self.data.glob(f"{name}*"):
                path.unlink()

    def put_back(self, kept: Path) -> None:
        """The copied files in place of those that are there."""
        self.lose(*{path.name.removesuffix("-wal").removesuffix("-shm") for path in kept.iterdir()})
        for path in kept.iterdir():
            shutil.copy2(path, self.data / path.name)

    def move(self, data: Path) -> None:
        """The configuration names another folder."""
        config = self.field.home / "fieldgate.toml"
        config.write_text(config.read_text().replace(f'data_dir = "{self.data}"', f'data_dir = "{data}"'))
        self.data = self.field.data = data

    async def recover(self, *options: str, code: int = 0, under: tuple[str, ...] = ()) -> str:
        """What the command says, on both streams."""
        done = await ran("recover", *options, cwd=self.field.home, under=under)
        assert done.code == code, done
        assert "Traceback" not in done.out + done.err
        return done.out + done.err

    async def enrol(self, vkey: str, name: str) -> None:
        """The node's operator adds the new log."""
        config = self.folder / "node" / "node.toml"
        table = config.read_text()
        reader = table[table.rindex("consumers") :].splitlines()[0]
        await self.field.node.end()
        config.write_text(f'{table}\n[gateway.{name}]\nvkey = "{vkey}"\n{reader}\n')
        await self.field.node.start()
        await self.field.node_up()

    async def all_readings(self) -> list[senml.Reading]:
        """Every sealed reading, of old epochs too."""
        found = []
        for path in (*sorted(self.data.glob("epoch-*")), self.data):
            store = await Store.open(path, read_only=True)
            try:
                for height in range(store.blocks.size):
                    found += [senml.resolve(pack) async for pack, _ in store.blocks.items(height)]
            finally:
                await store.close()
        return found

    async def judge(self) -> None:
        """No two headers for a height; everything acknowledged is in a signed block once; all stores verify."""
        self.look()
        assert self.forks == []
        values = [r.records[0].value for r in await self.all_readings() if r.source == "climate"]
        assert {value: count for value, count in Counter(values).items() if count > 1} == {}
        assert values == list(range(self.sent))
        for path in (self.data, *self.data.glob("epoch-*")):
            assert "all good" in await fieldgate("verify", "--store", str(path), cwd=self.field.home)


def new_key(told: str) -> str:
    return next(line.split()[3] for line in told.splitlines() if line.startswith("new log key"))


__all__ = ["Restored", "new_key", "until"]
