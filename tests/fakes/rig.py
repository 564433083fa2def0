"""A whole installation that is broken on purpose: broker, proxy, publisher, a serial line, a node, and a gateway,
either of which dies and comes back. The oracles: what went over the wire, what was signed, what was on disk once.
"""

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import signal
import socket
import sqlite3
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt
from fakes.broker import Mosquitto
from fakes.field import PATIENCE_S, Field, Process, fieldgate, until
from fakes.mqtt_proxy import PUBLISH, SUBACK, MqttProxy
from fakes.pty_line import Line

from drivers.simulators.henhouse import cancelled
from gateway.core import block, body, senml
from gateway.node.sqlite import SqliteStore
from gateway.store import Store

KILLABLE = Path(__file__).parent.parent / "faults" / "killable.py"
CLIMATE, SHIP = "climate", "ship"
TOPIC = "kill/climate"
STORED = "node.example/stored "

SOURCES = """
[seal]
max_age_s = {max_age_s}
max_count = 50
[journal]
linger_ms = 40
[broker.local]
url = "mqtt://127.0.0.1:{port}"
keepalive_s = 5
window = {window}
[source.climate]
driver = "mqtt"
broker = "local"
topic = "kill/climate"
values = {{ n = {{ pointer = "/n" }} }}
"""
SERIAL = """
[source.ship]
driver = "serial_line"
port = "{line}"
format = "csv"
columns = ["n", "check"]
values = {{ n = {{}}, check = {{}} }}
"""


class Killable(Process):
    """A process of tests/faults/killable.py that forks what is started: a start costs no interpreter and no imports."""

    def __init__(self, kind: str, name: str, folder: Path, config: str, marks: Path) -> None:
        super().__init__(name, folder, sys.executable, str(KILLABLE), "--serve", kind, config, str(marks))
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._fork: int | None = None
        self._code: asyncio.Future[int] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self, *more: str) -> None:
        assert not self.running
        if self._process is None:
            with self.log.open("ab") as log:
                pipe = asyncio.subprocess.PIPE
                self._process = await asyncio.create_subprocess_exec(
                    *self.command, cwd=self.folder, stdin=pipe, stdout=pipe, stderr=log
                )
            self._reading = asyncio.create_task(self._read())
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(more).encode() + b"\n")
        self._code = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(PATIENCE_S):
            self._fork = int(await self._lines.get())

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            word, number = line.decode().split()
            if word == "pid":
                self._lines.put_nowait(number)
            else:
                assert self._code is not None
                self._code.set_result(int(number))

    @property
    def running(self) -> bool:
        return self._code is not None and not self._code.done()

    @property
    def pid(self) -> int:
        assert self._fork is not None
        return self._fork

    async def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, how)
        return await self.gone()

    async def gone(self) -> int:
        assert self._code is not None
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.shield(self._code)

    async def close(self) -> None:
        """Ends what runs, and the process that forks."""
        if self.running:
            await self.end(signal.SIGKILL)
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            await self._process.wait()
            assert self._reading is not None
            await self._reading


@dataclass
class Verdict:
    """What a run found. The lists are empty where all is well."""

    published: int = 0
    acknowledged: int = 0
    lost: list[int] = field(default_factory=list)  # acknowledged on the wire, and not stored
    never_came: list[int] = field(default_factory=list)  # the broker took it, and it is not stored
    twice: list[int] = field(default_factory=list)  # stored more often than the broker delivered it as new
    in_order: bool = True
    changed: list[int] = field(default_factory=list)  # journal rows that were seen on disk and are not there any more
    forks: list[str] = field(default_factory=list)  # heights and sizes under which two things were signed
    fallen: list[int] = field(default_factory=list)  # sizes that the node signed as stored while it lacked a body
    alarms: list[str] = field(default_factory=list)  # of gateway and node
    node_lacks: list[int] = field(default_factory=list)  # heights whose body the node has not, or has wrongly
    serial: int = 0
    serial_in_order: bool = True
    redeliveries: int = 0
    heights: int = 0
    stored: int = 0  # by the node
    verified: str = ""

    @property
    def sound(self) -> bool:
        """Nothing lost, nothing twice, order kept, one header a height, the node in step."""
        bad = (self.lost, self.twice, self.changed, self.forks, self.fallen, self.alarms, self.node_lacks)
        return not any(bad) and self.in_order and self.serial_in_order and self.heights == self.stored


class Rig:
    """Run `running`, break things, then `settle`. Numbers are published, each once, every `rate_s`."""

    def __init__(
        self,
        folder: Path,
        *,
        serial: bool = False,
        rate_s: float = 0.004,
        max_age_s: float = 0.2,
        window: int = 20,
        broker_extra: str = "",
        publishes: bool = True,
    ) -> None:
        self.folder, self.serial, self.rate_s, self.max_age_s, self.window = folder, serial, rate_s, max_age_s, window
        self.publishes = publishes
        self.broker = Mosquitto(folder / "broker", max_inflight=window, extra=broker_extra)
        self.published: list[int] = []
        self.marks = folder / "marks"
        self._rows: dict[int, bytes] = {}
        self._fallen: list[int] = []
        self._tasks: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Broker, proxy and sensors run; neither gateway nor node does yet."""
        await asyncio.to_thread(self.broker.start)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(asyncio.to_thread, self.broker.stop)
            self.proxy = await stack.enter_async_context(MqttProxy(self.broker.port))
            text = SOURCES.format(port=self.proxy.port, max_age_s=self.max_age_s, window=self.window)
            if self.serial:
                self.line = stack.enter_context(Line(self.folder / "line"))
                text += SERIAL.format(line=self.folder / "line")
            self.field = Field(self.folder, text)
            await self.field.make()
            self.gateway = Killable("gateway", "gateway", self.field.home, "fieldgate.toml", self.marks)
            self.node = Killable("node", "node", self.folder, "node/node.toml", self.marks)
            self.field.gateway, self.field.node = self.gateway, self.node
            stack.push_async_callback(self.node.close)
            stack.push_async_callback(self.gateway.close)
            self._tasks = [asyncio.create_task(self._publish())] if self.publishes else []
            if self.serial:
                self._tasks.append(asyncio.create_task(self._feed()))
            stack.push_async_callback(self._quiet)
            yield

    async def _quiet(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _publish(self) -> None:
        await until(lambda: bool(self.proxy.of(SUBACK, up=False)), "the gateway's first subscription")
        number = 0
        while not cancelled():
            with contextlib.suppress(aiomqtt.MqttError):
                async with aiomqtt.Client("127.0.0.1", self.broker.port, identifier="publisher", timeout=3) as client:
                    while not cancelled():
                        number += 1  # whatever becomes of it, it is published once
                        await client.publish(TOPIC, payload_of(number), qos=1)
                        self.published.append(number)
                        await asyncio.sleep(self.rate_s)
            await asyncio.sleep(0.05)

    async def _feed(self) -> None:
        """Lines without end; those that nobody reads are lost, as with a device."""
        number = 0
        while True:
            self.line.write(f"{number},{number % 97}\r\n".encode())
            number += 1
            await asyncio.sleep(0.01)

    async def publish(self, *numbers: int) -> None:
        """Publishes them, where nothing else does."""
        async with aiomqtt.Client("127.0.0.1", self.broker.port, identifier="publisher") as client:
            for number in numbers:
                await client.publish(TOPIC, payload_of(number), qos=1)
                self.published.append(number)

    # -- starts and ends --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Node and gateway."""
        await self.start_node()
        await self.gateway.start()

    async def start_node(self, *hows: str) -> None:
        """Returns when it listens."""
        await self.node.start(*hows)
        await until(lambda: _listens(self.field.node_port), f"a node that listens\n{self.node.words()[-2000:]}")

    def look(self) -> None:
        """Remembers the journal rows on disk; holds the node's bodies on disk against what it has signed as stored."""
        self._rows.update(self._journal(max(self._rows, default=0)))
        size = max((int(what.split()[1]) for what in self._signed() if what.startswith(STORED)), default=0)
        if size > self._bodies(size):
            self._fallen.append(size)

    def _bodies(self, size: int) -> int:
        """How many of the first bodies the node has on disk."""
        file = self.folder / "node" / "data" / "node.sqlite"
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as con:
            return int(con.execute("SELECT count(*) FROM body WHERE height < ?", (size,)).fetchone()[0])

    def _journal(self, after: int) -> list[tuple[int, bytes]]:
        path = self.field.data / "fieldgate.db"
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as con:
            rows = con.execute("SELECT row, data FROM journal WHERE row > ? ORDER BY row", (after,))
            return [(row, hashlib.sha256(data).digest()) for row, data in rows]

    async def acknowledges(self, more: int = 1) -> None:
        """Returns when so many more deliveries are acknowledged."""
        before = len(self.proxy.acknowledged)
        await until(lambda: len(self.proxy.acknowledged) >= before + more, f"a PUBACK\n{self.gateway.words()[-2000:]}")

    async def settle(self, *hows: str, patience_s: float = 20, broker_forgets: bool = False) -> Verdict:
        """Ends the sensors, lets the gateway drain what is published, stops it in order, and compares.

        broker_forgets: it may have lost what it took; then all is drained when nothing has come for a second.
        """
        await self._quiet()
        if not self.node.running:
            await self.start_node()
        if not self.gateway.running:
            await self.gateway.start(*hows)
        with contextlib.suppress(AssertionError):
            if broker_forgets:
                await self._nothing_comes()
            else:
                await until(lambda: not self._unacknowledged(), "every delivery acknowledged", patience_s)
        await self.field.up()
        with contextlib.suppress(AssertionError):
            await until(self._in_step, "a node in step", patience_s)
        assert await self.gateway.end() == 0, self.gateway.words()[-2000:]
        assert await self.node.end() == 0, self.node.words()[-2000:]
        return await self._judge()

    def _in_step(self) -> bool:
        """The node has signed all but what the stop itself will seal."""
        path = self.field.data / "fieldgate.db"
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as con:
            ((size,),) = con.execute("SELECT count(*) FROM block")
            ((stored,),) = con.execute("SELECT coalesce(max(stored), 0) FROM progress")
        return bool(size == stored)

    async def _nothing_comes(self) -> None:
        seen = -1
        while seen != (seen := len(self.proxy.of(PUBLISH, up=False))):
            await asyncio.sleep(1)

    def _unacknowledged(self) -> set[int]:
        sent = {number_of(one.payload) for one in self.proxy.of(PUBLISH, up=False)}
        return (sent | set(self.published)) - {number_of(one.payload) for one in self.proxy.acknowledged}

    # -- the verdict ------------------------------------------------------------------------------------------------

    async def stored(self) -> list[int]:
        """The numbers in the chain of a gateway that is stopped, in order."""
        readings = await self.field.readings()
        return [int(r.records[0].value) for r in readings if r.source == CLIMATE]  # type: ignore[arg-type]

    async def _judge(self) -> Verdict:
        readings = await self.field.readings()
        stored = [int(r.records[0].value) for r in readings if r.source == CLIMATE]  # type: ignore[arg-type]
        ship = [r for r in readings if r.source == SHIP]
        acknowledged = {number_of(one.payload) for one in self.proxy.acknowledged}
        new = Counter(number_of(one.payload) for one in self.proxy.of(PUBLISH, up=False) if not one.dup)
        now = dict(self._journal(0))
        heights, at_node = await self.field.node_progress()
        return Verdict(
            published=len(self.published),
            acknowledged=len(acknowledged),
            lost=sorted(acknowledged - set(stored)),
            never_came=sorted(set(self.published) - set(stored)),
            twice=sorted(n for n, count in Counter(stored).items() if count > max(1, new[n])),
            in_order=(first := list(dict.fromkeys(stored))) == sorted(first),
            changed=sorted(row for row, data in self._rows.items() if now.get(row) != data),
            forks=self._forks(),
            fallen=self._fallen,
            alarms=self._alarms(),
            node_lacks=await node_lacks(self.folder / "node", self.field.data, self.field.entries()),
            serial=len(ship),
            serial_in_order=_rises(ship),
            redeliveries=sum(one.dup for one in self.proxy.of(PUBLISH, up=False)),
            heights=heights,
            stored=at_node,
            verified=await fieldgate("verify", "--store", "data", cwd=self.field.home),
        )

    def _signed(self) -> dict[str, set[str]]:
        """What was signed, whichever process did it: `entry HEIGHT` or `NAME SIZE` to digests of what it was."""
        signed: dict[str, set[str]] = defaultdict(set)
        told = self.marks.with_suffix(".signed")
        for line in told.read_text().splitlines() if told.exists() else []:
            what, digest = line.rsplit(" ", 1)
            signed[what].add(digest)
        return signed

    def _forks(self) -> list[str]:
        """One header a height, one checkpoint a size and key."""
        signed = self._signed()
        assert any(what.startswith("entry ") for what in signed)
        assert any(what.startswith(STORED) for what in signed)
        return sorted(what for what, digests in signed.items() if len(digests) > 1)

    def _alarms(self) -> list[str]:
        lines = [*self.gateway.words().splitlines(), *self.node.words().splitlines()]
        return [
            line for line in lines if any(word in line for word in ("ALARM", "fell from", "different tree", "held"))
        ]


async def node_lacks(node: Path, data: Path, entries: Mapping[int, bytes]) -> list[int]:
    """Heights of these entries of a gateway's log that the node in that folder does not hold, whole and verified."""
    store = await Store.open(data, read_only=True)
    log = hashlib.sha256(store.vkey.name.encode()).hexdigest()
    await store.close()
    held = await SqliteStore.open(node / "data" / "node.sqlite")
    try:
        return [height for height, entry in entries.items() if not await _holds(held, log, height, entry)]
    finally:
        await held.close()


async def _holds(node: SqliteStore, log: str, height: int, entry: bytes) -> bool:
    kept = await node.body(log, height)
    if kept is None or await node.entries(log, height, 1) != [entry]:
        return False
    found = body.verify_body(block.parse_entry(entry).header, zlib.decompress(kept.data))
    return isinstance(found, body.WholeBody)


def _rises(readings: list[senml.Reading]) -> bool:
    """Serial readings are whole, in order, and none is there twice."""
    numbers = [[int(record.value) for record in reading.records[:2]] for reading in readings]  # type: ignore[arg-type]
    whole = all(number % 97 == check for number, check in numbers)
    return whole and all(one[0] < other[0] for one, other in itertools.pairwise(numbers))


def payload_of(number: int) -> bytes:
    """What is published."""
    return json.dumps({"n": number}).encode()


def number_of(payload: bytes) -> int:
    """The number that the publisher put into it."""
    return int(json.loads(payload)["n"])


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
