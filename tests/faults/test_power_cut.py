"""The power is cut under a whole gateway, on ext4 and on xfs: what was acknowledged on the wire is stored, once, in
order, and no height has two headers. A kill -9 cannot show this: the kernel keeps what a killed process wrote.

data_dir is on a file system of its own (fakes/card.py). Broker, node, publisher and the oracle are elsewhere: the
oracle is a proxy that saw every PUBACK leave the gateway. A control with synchronous=NORMAL goes through the same rig
and must lose; its writer is slow, so that no cut falls into a checkpoint, which is when NORMAL flushes.
"""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import aiomqtt
import pytest
from fakes.broker import Mosquitto
from fakes.card import Card
from fakes.field import CLI, Field, Process, fieldgate, until
from fakes.mqtt_proxy import PUBLISH, SUBACK, MqttProxy
from fakes.new_gateway import assert_whole, init_words, make_folders
from fakes.telling import Tell

from gateway.cli import HELD
from gateway.cli.verify_store import verify_store
from gateway.core import senml
from gateway.node.run import STORE_FILE
from gateway.node.sqlite import SqliteStore
from gateway.store import Store

CUTTABLE = (
    "env",
    f"PYTHONPATH={Path(__file__).parents[1]}",
    sys.executable,
    str(Path(__file__).with_name("cuttable.py")),
)
KINDS = ("ext4", "xfs")
STEPS = ("plan", "swap", "sign", "publish")

SOURCES = """
[seal]
max_age_s = {max_age_s}
max_count = 50
[journal]
linger_ms = {linger_ms}
[broker.local]
url = "mqtt://127.0.0.1:{port}"
window = 20
[source.climate]
driver = "mqtt"
broker = "local"
topic = "cut/climate"
values = {{ n = {{ pointer = "/n" }} }}
[retention]
min_free = "1 MiB"
"""


class Rig:
    """Broker, proxy, publisher and node, and a gateway whose file system loses its power."""

    def __init__(
        self, folder: Path, kind: str, *, linger_ms: int = 40, max_age_s: float = 0.2, rate_s: float = 0.004
    ) -> None:
        self.folder, self.kind = folder, kind
        self._linger_ms, self._max_age_s, self._rate_s = linger_ms, max_age_s, rate_s
        self.published: list[int] = []
        self.entries: dict[int, bytes] = {}
        self.stored: list[int] = []
        self.cuts = self.lost_after_a_cut = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        with Card(self.folder / "card", self.kind) as self.card:
            broker = Mosquitto(self.folder / "broker")
            await asyncio.to_thread(broker.start)
            try:
                async with MqttProxy(broker.port) as self.proxy, self._installation(broker.port):
                    yield
            finally:
                await asyncio.to_thread(broker.stop)

    @contextlib.asynccontextmanager
    async def _installation(self, port: int) -> AsyncIterator[None]:
        text = SOURCES.format(port=self.proxy.port, linger_ms=self._linger_ms, max_age_s=self._max_age_s)
        self.field = Field(self.folder, text, data=self.card.folder / "d")
        await self.field.make()
        home = self.field.home
        self.cuttable = Process("gateway", home, *CUTTABLE, str(self.card.folder))
        await self.field.node.start()
        publishing = asyncio.create_task(self._publish(port))
        self.quiet = publishing.cancel
        try:
            yield
        finally:
            publishing.cancel()
            for process in (self.field.gateway, self.cuttable, self.field.node):
                if process.running:
                    await process.end(signal.SIGKILL)

    async def _publish(self, port: int) -> None:
        await until(lambda: bool(self.proxy.of(SUBACK, up=False)), "the gateway's first subscription")
        async with aiomqtt.Client("127.0.0.1", port, identifier="publisher") as client:
            while True:
                number = len(self.published)
                self.published.append(number)
                await client.publish("cut/climate", json.dumps({"n": number}), qos=1)
                await asyncio.sleep(self._rate_s)

    @property
    def acknowledged(self) -> set[int]:
        return {json.loads(one.payload)["n"] for one in self.proxy.acknowledged}

    # -- one life -----------------------------------------------------------------------------------------------------

    async def cut_after(self, seconds: float, *how: str, first_acknowledged: bool = True) -> None:
        """A life that ends so long after its first acknowledgement, or after its start."""
        process = self.cuttable if how else self.field.gateway
        before = len(self.proxy.acknowledged)
        await process.start(*how, *(("run",) if how else ()))
        if first_acknowledged:
            await until(lambda: len(self.proxy.acknowledged) > before + 5, f"a PUBACK\n{process.words()[-2000:]}")
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.card.cut)
        await process.end(signal.SIGKILL)
        await self._power_again()

    async def cut_at(self, step: str) -> None:
        """A life that ends just after one of the sealer's steps."""
        await self.cuttable.start(f"after={step}", "run")
        assert await self.cuttable.gone() == -signal.SIGKILL, self.cuttable.words()[-2000:]
        await self._power_again()

    async def cut_and_wait(self) -> None:
        """A life that finds out by itself: a failed fsync ends it, and nothing is acknowledged any more."""
        before = len(self.proxy.acknowledged)
        await self.field.gateway.start()
        await until(lambda: len(self.proxy.acknowledged) > before, self.field.gateway.words()[-2000:])
        await asyncio.to_thread(self.card.cut)
        assert await self.field.gateway.gone() == HELD, self.field.gateway.words()[-2000:]
        last = self.field.gateway.words().splitlines()[-1]
        assert last.startswith("fieldgate: "), last
        # ext4 throws away what it cannot write, the index of the write-ahead log in memory among it.
        assert "SQLITE_IOERR" in last or "SQLITE_CORRUPT" in last
        await self._power_again()

    async def _power_again(self) -> None:
        self.cuts += 1
        await asyncio.to_thread(self.card.again)
        self.stored = await stored(self.field.data)
        self.lost_after_a_cut += len(self.acknowledged - set(self.stored))

    async def check(self) -> None:
        """What must hold after every cut, before anything is started again."""
        assert self.lost_after_a_cut == 0
        assert self.stored == sorted(set(self.stored)), "in order, and once"
        assert await asyncio.to_thread(verify_store, self.field.data, None, verbose=True) == 0
        await self._compare()

    async def _compare(self) -> None:
        by_node, by_gateway = await entries_of_node(self.folder / "node"), self.field.entries()
        assert by_node.keys() <= by_gateway.keys(), "the node was sent what was not durable"
        for entries in (by_node, by_gateway):
            for height, entry in entries.items():
                assert self.entries.setdefault(height, entry) == entry, f"two headers for height {height}"

    # -- the end ------------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Drains what is published, stops in order, and compares all of it."""
        self.quiet()
        gateway = self.field.gateway
        await gateway.start()
        wanted = set(self.published[:-1])  # the last may have been cancelled on its way to the broker
        await until(lambda: self.acknowledged >= wanted, f"all acknowledged\n{gateway.words()[-2000:]}")
        assert await gateway.end() == 0, gateway.words()[-2000:]
        self.stored = await stored(self.field.data)
        await self.check()
        readings = [int(r.records[0].value) for r in await self.field.readings() if r.source == "climate"]  # type: ignore[arg-type]
        assert readings == sorted(set(readings)), "in order, and once"
        assert set(readings) >= wanted
        size, by_node = await self.field.node_progress()
        assert size == by_node == len(self.entries) > 0
        assert "all good" in await fieldgate("verify", "--store", str(self.field.data), cwd=self.field.home)

    def told(self) -> str:
        again = sum(one.dup for one in self.proxy.of(PUBLISH, up=False))
        return (
            f"{self.cuts} cuts on {self.kind}, {len(self.acknowledged)} of {len(self.published)} acknowledged, "
            f"{self.lost_after_a_cut} lost, {again} redeliveries, {len(self.entries)} blocks"
        )


async def stored(data: Path) -> list[int]:
    """The readings in the journal, sealed or not, in order."""
    store = await Store.open(data, read_only=True)
    try:
        packs = [pack async for pack in store.blocks.readings_between("climate", 0, 2**60)]
        return [int(senml.resolve(pack).records[0].value) for pack in packs]  # type: ignore[arg-type]
    finally:
        await store.close()


async def entries_of_node(folder: Path) -> dict[int, bytes]:
    """Height to entry of the one log that the node holds."""
    store = await SqliteStore.open(folder / "data" / STORE_FILE)
    try:
        return dict(await store._read("SELECT height, data FROM entry", ()))  # type: ignore[arg-type]
    finally:
        await store.close()


async def _cut_and_settle(folder: Path, kind: str, cuts: int, steps: int, tell: Tell, seed: int) -> None:
    rng = random.Random(seed)
    rig = Rig(folder, kind)
    async with rig.running():
        await rig.cut_after(rng.uniform(0.2, 1.0), first_acknowledged=False)  # a store that is new
        await rig.check()
        lives = [*("random",) * (cuts - 2), "wait", *(STEPS * cuts)[rng.randrange(4) :][:steps]]
        rng.shuffle(lives)
        for life in lives:
            if life == "random":
                await rig.cut_after(rng.uniform(0, 0.6))
            elif life == "wait":
                await rig.cut_and_wait()
            else:
                await rig.cut_at(life)
            await rig.check()
        await rig.settle()
        tell(f"power cuts, seed {seed}: {rig.told()}")
    assert rig.cuts == cuts + steps


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", [KINDS[0], pytest.param(KINDS[1], marks=pytest.mark.nightly)])
async def test_acknowledged_readings_survive_the_power(tmp_path: Path, kind: str, tell: Tell, seed: int) -> None:
    await _cut_and_settle(tmp_path, kind, 4, 4, tell, seed)


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
async def test_acknowledged_readings_survive_many_cuts(tmp_path: Path, kind: str, tell: Tell, seed: int) -> None:
    await _cut_and_settle(tmp_path, kind, 30, 12, tell, seed)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", [KINDS[0], pytest.param(KINDS[1], marks=pytest.mark.nightly)])
async def test_control_with_synchronous_normal_loses(tmp_path: Path, kind: str, tell: Tell) -> None:
    rig = Rig(tmp_path, kind, linger_ms=60, max_age_s=60, rate_s=0.02)
    async with rig.running():
        for _ in range(3):
            await rig.cut_after(0.4, "synchronous=NORMAL")
            if rig.lost_after_a_cut:
                break
        tell(f"power cuts, control: {rig.told()}")
    assert rig.lost_after_a_cut > 0, "the rig would not notice a gateway that acknowledges before it is flushed"


# A gateway that comes to be


def _init(card: Card, *how: str) -> "subprocess.CompletedProcess[str]":
    command = (*CUTTABLE, str(card.folder), *how) if how else CLI
    words = (*command, *init_words(card.folder / "a"))
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)


def _cut_init(folder: Path, kind: str, at: Iterable[int]) -> int:
    """Cuts init before each of these calls, and where there is none after it is done; runs it again where it must be.

    Returns at how many calls it was cut.
    """
    cuts = 0
    with Card(folder / "card", kind) as card:
        where = card.folder / "a"
        for number in at:
            make_folders(where)
            os.sync()
            done = _init(card, f"at-file-call={number}")
            if done.returncode == 0:
                card.cut()
            card.again()
            if done.returncode != 0:
                assert done.returncode == -signal.SIGKILL, done.stderr
                cuts += 1
                again = _init(card)
                assert again.returncode == 0 or "is there already" in again.stderr, again.stderr
            assert_whole(where)
            shutil.rmtree(where)
            if done.returncode == 0:
                break
    return cuts


@pytest.mark.timeout(120)
def test_a_new_gateway_is_made_whole_or_not_at_all(tmp_path: Path, tell: Tell) -> None:
    at = [*sorted(random.sample(range(5, 50), 4)), 10_000]
    cuts = _cut_init(tmp_path, "ext4", at)
    tell(f"power cuts: init cut before its calls {at[:cuts]}, and when it was done")
    assert cuts >= 2


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_gateway_is_made_whole_at_every_call(tmp_path: Path, kind: str) -> None:
    assert _cut_init(tmp_path, kind, range(1, 1_000)) > 30
