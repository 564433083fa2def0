"""Clocks that jump, that begin in another age, and that stand still while the gateway sleeps.

A whole gateway runs under libfaketime, with a broker and a node whose clocks are right; the node pulls, so it has to
answer challenges until the gateway's clock is synchronised. Each message carries its true time: what a reader makes of
the readings (fakes/dating.py) is held against it.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import aiomqtt
import pytest
from fakes.broker import Mosquitto
from fakes.clock import FakeClock
from fakes.dating import UNSYNCHRONISED, dated, facts
from fakes.field import Field, Process, fieldgate, until
from fakes.mqtt_proxy import SUBACK, MqttProxy
from fakes.rig import Rig, node_lacks
from fakes.telling import Tell

from gateway import app
from gateway.configured import read
from gateway.core.block import Header, parse_entry
from gateway.core.senml import Reading

CLOCKED = Path(__file__).with_name("clocked.py")
HOUR_S, TEN_YEARS_S = 3_600.0, 3_652 * 86_400.0
AGES = {"1970": 100.0, "2015": 1_420_070_400.0, "2100": 4_102_444_800.0}
NEAR_MS = 60_000  # the smallest jump is an hour
UNKNOWN_US, GOOD_US = 16_000_000, 1_000

SOURCES = """
[seal]
max_age_s = 0.3
heartbeat_s = 1
[journal]
linger_ms = 40
[broker.local]
url = "mqtt://127.0.0.1:{port}"
[source.climate]
driver = "mqtt"
broker = "local"
topic = "farm/climate"
values = {{ n = {{}}, true_ms = {{}} }}
"""


class Found(NamedTuple):
    """A log that was verified."""

    readings: list[Reading]
    headers: list[Header]

    @property
    def climate(self) -> list[Reading]:
        return [one for one in self.readings if one.source == "climate"]

    def events(self, *kinds: str) -> list[dict[str, object]]:
        told = [facts(one) for one in self.readings if one.source == "gateway"]
        return [one for one in told if one["event"] in kinds]


class Installation:
    """A gateway whose clock the test sets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        self._clock = folder / "clock"

    @contextlib.asynccontextmanager
    async def running(self, wall_s: float | None = None) -> AsyncIterator[None]:
        """wall_s: what the gateway's clock reads at the start; None: the truth. Nobody has synchronised it."""
        self.folder.mkdir(exist_ok=True)
        broker = Mosquitto(self.folder / "broker")
        await asyncio.to_thread(broker.start)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(asyncio.to_thread, broker.stop)
            self._proxy = await stack.enter_async_context(MqttProxy(broker.port))
            self.field = Field(self.folder, SOURCES.format(port=self._proxy.port))
            await self.field.make()
            self._let_the_node_pull()
            self.gateway = self.field.gateway = Process(
                "gateway", self.field.home, sys.executable, str(CLOCKED), "fieldgate.toml", str(self._clock)
            )
            self.gateway.env = {**os.environ, **_faketime(self._clock)}
            self.set(0.0 if wall_s is None else wall_s - time.time())
            await stack.enter_async_context(self.field.started(node=False))
            await until(lambda: bool(self._proxy.of(SUBACK, up=False)), f"a subscription\n{self.gateway.words()}")
            await self.field.node.start()
            sensor = aiomqtt.Client("127.0.0.1", broker.port, identifier="sensor")
            self._sensor = await stack.enter_async_context(sensor)
            yield

    def _let_the_node_pull(self) -> None:
        with (self.field.home / "fieldgate.toml").open("a") as file:
            file.write("upload = false\n")
        table = self.folder / "node" / "node.toml"
        text = table.read_text().replace("[node]", "[node]\npull_every_s = 0.2", 1)
        table.write_text(text + f'pull = "http://127.0.0.1:{self.field.web_port}"\n')

    def set(self, offset_s: float, error_us: int = UNKNOWN_US) -> None:
        """Sets the gateway's clock to the truth and so much, and what the kernel says of it, in one go."""
        new = self._clock.with_suffix(".new")
        new.write_text(f"{offset_s:+.3f}\n# {error_us}\n")
        new.replace(self._clock)

    def set_right(self) -> None:
        """It is the truth, and synchronised."""
        self.set(0.0, GOOD_US)

    async def killed_and_started(self) -> None:
        """Another life of the same boot. The node is held meanwhile: its pauses grow with each failure to reach it."""
        os.kill(self.field.node.pid, signal.SIGSTOP)
        await self.gateway.end(signal.SIGKILL)
        await self.gateway.start()
        await self.field.up()
        os.kill(self.field.node.pid, signal.SIGCONT)

    async def measure(self, count: int = 5) -> None:
        """Returns when so many more messages are acknowledged."""
        for _ in range(count):
            payload = {"n": self.count, "true_ms": round(time.time() * 1000)}
            await self._sensor.publish("farm/climate", json.dumps(payload), qos=1)
            self.count += 1
        await until(lambda: len(self._proxy.acknowledged) >= self.count, f"{self.count} PUBACKs\n{self._words()}")

    async def in_step(self) -> int:
        """Returns when the node stores all that is sealed soon after now: how many blocks that is."""
        size = len(self.field.entries()) + 2  # one may be on its way
        await until(lambda: self._stored_at_the_node() >= size, f"a node in step\n{self._words()}")
        return size

    def _stored_at_the_node(self) -> int:
        file = self.folder / "node" / "data" / "node.sqlite"
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as con:
            return int(con.execute("SELECT coalesce(max(size), 0) FROM note WHERE stored <> ''").fetchone()[0])

    def _words(self) -> str:
        return self.field.node.words()[-2000:] + self.gateway.words()[-2000:]

    async def stopped(self) -> Found:
        """Ends it in order and verifies store and node: nothing lost, nothing twice, order kept, the chain whole."""
        size = await self.in_step()
        assert await self.gateway.end() == 0, self._words()
        assert await self.field.node.end() == 0, self._words()
        assert "all good" in await fieldgate("verify", "--store", "data", cwd=self.field.home)
        entries = self.field.entries()
        assert list(entries) == list(range(len(entries)))
        assert await node_lacks(self.folder / "node", self.field.data, dict(list(entries.items())[:size])) == []
        found = Found(await self.field.readings(), [parse_entry(entry).header for entry in entries.values()])
        assert [one.records[0].value for one in found.climate] == list(range(self.count))
        for line in self.gateway.words().splitlines():
            told = re.match("ERROR gateway.watch: (The clock is wrong|Node node .* is away)", line)  # as they are
            assert told or not line.startswith(("ERROR", "CRITICAL")), line
        return found


def _faketime(clock: Path) -> dict[str, str]:
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # and so CLOCK_BOOTTIME is real: a jump is one of the wall clock alone
        "NO_FAKE_STAT": "1",
    }


def check_dates(found: Found) -> int:
    """A reader gets the true time of every reading from the readings alone. How many were claimed wrongly."""
    wrong = 0
    for one in dated(found.readings):
        assert one.true_ms is not None
        if one.reading.source == "climate":
            true_ms = one.reading.records[1].value
            assert isinstance(true_ms, int)
            assert abs(one.true_ms - true_ms) < NEAR_MS, (one, true_ms)
            wrong += abs(one.reading.time_ms - true_ms) > NEAR_MS
    return wrong


@pytest.mark.timeout(180)
async def test_jumps_while_it_runs(tmp_path: Path, tell: Tell) -> None:
    """An hour and ten years, there and back, in both directions; then the clock is set right and synchronised."""
    offsets = [HOUR_S, 0.0, -HOUR_S, 0.0, TEN_YEARS_S, 0.0, -TEN_YEARS_S]
    made = Installation(tmp_path)
    async with made.running():
        await made.measure()
        for offset_s in offsets:
            made.set(offset_s)
            await made.measure()
        await made.in_step()
        made.set_right()
        await made.measure()
        found = await made.stopped()
    jumps = [new - old for old, new in zip([0.0, *offsets], [*offsets, 0.0], strict=True)]
    told = found.events("clock-step")
    assert [round(_number(one, "new") - _number(one, "old")) for one in told] == jumps
    assert [round(_number(one, "offset")) for one in told] == [*offsets, 0.0]
    assert [one["event"] for one in found.events("clock-step", "clock-synchronised")][-1] == "clock-synchronised"
    assert {one["boot"] for one in told} == {Path("/proc/sys/kernel/random/boot_id").read_text().strip()}
    marked = [bool(one.quality & UNSYNCHRONISED) for one in found.climate]
    assert marked == [True] * (made.count - 5) + [False] * 5
    assert {one.clock for one in found.headers} == {0, 1}
    assert found.headers[-1].clock == 1
    assert found.headers[-1].error == 1
    claims = [claim for one in found.headers for claim in (one.first, one.last, one.sealed)]
    assert claims != sorted(claims), "the claims went back, and nothing minded"
    wrong = check_dates(found)
    tell(f"{len(told)} jumps of the clock, {made.count} readings, {wrong} of them dated by the offsets alone")
    assert wrong == 5 * 4


@pytest.mark.nightly
@pytest.mark.timeout(900)
async def test_a_clock_that_is_set_again_and_again(tmp_path: Path, tell: Tell, seed: int) -> None:
    """Wherever it stands it is not synchronised, unless it is right; and the gateway is killed meanwhile."""
    rng = random.Random(seed)
    made = Installation(tmp_path)
    kills = 0
    async with made.running(rng.choice(list(AGES.values()))):
        for _ in range(40):
            made.set(rng.choice([-1, 1]) * rng.choice([HOUR_S, 86_400.0, TEN_YEARS_S, -time.time() + 5]))
            await made.measure(rng.randint(1, 5))
            if rng.random() < 0.4:
                kills += 1
                await made.killed_and_started()
            if rng.random() < 0.4:
                made.set_right()
                await made.measure(rng.randint(1, 5))
        made.set_right()
        await made.measure()
        found = await made.stopped()
    wrong = check_dates(found)
    steps, again = len(found.events("clock-step")), len(found.events("clock-synchronised"))
    tell(f"seed {seed}: {steps} jumps, {again} synchronisations, {kills} kills, {wrong} of {made.count} dated")
    assert wrong > 0


@pytest.mark.timeout(180)
@pytest.mark.parametrize("age", ["1970", pytest.param("2015", marks=pytest.mark.nightly), "2100"])
async def test_starts_in_another_age(tmp_path: Path, tell: Tell, age: str) -> None:
    """1970 without a clock battery, 2015 by an old fake-hwclock, 2100; then the clock is set and synchronised."""
    made, wall_s = Installation(tmp_path), AGES[age]
    async with made.running(wall_s):
        await made.measure()
        await made.in_step()  # by challenges: no dated request can be judged yet
        await made.killed_and_started()  # this life will be synchronised
        await made.measure()
        assert (await made.field.status())["clock"]["synchronised"] is False
        made.set_right()
        began_s = time.time()
        await made.measure()
        found = await made.stopped()
        if wall_s > began_s:
            await _found_by_true_time(made, found, began_s)
    assert len(found.events("clock-synchronised")) == 1
    assert len(found.events("start")) == 2
    assert [bool(one.quality & UNSYNCHRONISED) for one in found.climate] == [True] * 10 + [False] * 5
    assert {one.clock for one in found.headers} == {0, 1}
    assert all(one.sealed >= 2**28 * 1000 for one in found.headers)
    before = [one.sealed for one in found.headers if not one.clock]
    assert before == sorted(before)  # what stands in for 1970 goes on from the last block
    assert check_dates(found) == 10
    tell(f"a start in {age}: dated by the readings alone, pulled by challenge, then by date")


async def _found_by_true_time(made: Installation, found: Found, began_s: float) -> None:
    """Claims that lie in the future hide no later reading from who asks for a receipt, or for a span of time."""
    home = made.field.home
    await fieldgate("policy", "-o", "policy", cwd=home)
    await fieldgate("receipt", "climate", "--at", "now", "--policy", "policy", "-o", "one", cwd=home)
    told = await fieldgate("verify", "one", "--policy", "policy", cwd=home)
    assert "verified" in told
    assert str(found.climate[-1].records[1].value) in told
    span = ("--from", f"{began_s - 1:.0f}", "--to", f"{time.time() + 1:.0f}")
    readings = json.loads(await fieldgate("export", "climate", *span, cwd=home))
    assert [one["v"] for one in readings if one["n"] == "n"] == list(range(10, 15))


def _number(event: dict[str, object], name: str) -> float:
    value = event[name]
    assert isinstance(value, int | float)
    return float(value)


@pytest.mark.nightly
@pytest.mark.timeout(120)
async def test_a_gateway_that_is_stopped_for_longer_than_keepalive_and_max_age(tmp_path: Path, tell: Tell) -> None:
    """SIGSTOP until the broker has given it up (keepalive 5 s), then SIGCONT: no clock has jumped, nothing is lost."""
    rig = Rig(tmp_path, rate_s=0.02)
    async with rig.running():
        await rig.start()
        await rig.acknowledges(20)
        os.kill(rig.gateway.pid, signal.SIGSTOP)
        try:
            await until(lambda: "exceeded timeout" in rig.broker.log, "the broker gives it up")
        finally:
            os.kill(rig.gateway.pid, signal.SIGCONT)
        await rig.acknowledges(20)
        verdict = await rig.settle()
        events = [facts(one)["event"] for one in await rig.field.readings() if one.source == "gateway"]
    assert verdict.sound, verdict
    assert verdict.never_came == []
    assert "clock-step" not in events
    tell(f"a gateway stopped and continued: {verdict.acknowledged} of {verdict.published} acknowledged")


async def test_a_machine_that_has_been_up_for_years(tmp_path: Path) -> None:
    """A time namespace whose boot time is ahead, as after suspends: it counts for `uptime` and for nothing else."""
    ahead_s = 300_000_000
    namespace = ("unshare", "-T", "--boottime", str(ahead_s))
    probe = await asyncio.create_subprocess_exec(*namespace, "true", stderr=asyncio.subprocess.DEVNULL)
    if await probe.wait():
        pytest.skip("this machine makes no time namespaces")
    field = Field(tmp_path, "[seal]\nmax_age_s = 0.2\nheartbeat_s = 0.3\n", with_node=False)
    await field.make()
    field.gateway.command = (*namespace, *field.gateway.command)
    async with field.started():
        await until(lambda: (field.data / "fieldgate.db").exists() and len(field.entries()) >= 3, "three blocks")
        assert await field.gateway.end() == 0, field.gateway.words()
    (start,) = [facts(one) for one in await field.readings() if facts(one)["event"] == "start"]
    assert ahead_s < _number(start, "uptime") < 2 * ahead_s
    assert abs(_number(start, "offset")) < 0.5
    assert "all good" in await fieldgate("verify", "--store", "data", cwd=field.home)


@pytest.mark.may_block
async def test_after_a_suspend_what_fell_due_meanwhile_is_sealed(tmp_path: Path) -> None:
    """The loop's clock stands still while the machine sleeps; blocks grow old all the same, and no clock has jumped."""
    field = Field(tmp_path, "[seal]\nmax_age_s = 36_000\nheartbeat_s = 36_000\n", with_node=False)
    await field.make()
    clock = FakeClock()
    path = field.home / "fieldgate.toml"
    running = asyncio.create_task(app.serve(path, await asyncio.to_thread(read, path), clock))
    try:
        await field.up()
        await until(lambda: field.journaled() == 2, "the start, and its configuration")
        assert field.entries() == {}
        clock.advance(36_001)
        await until(lambda: len(field.entries()) == 1, "the block that grew old")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [facts(one)["event"] for one in await field.readings()] == ["start", "configuration"]
