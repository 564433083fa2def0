"""kill -9 under a live publisher: what was acknowledged on the wire is in the chain exactly once, and nothing forks.

The oracle is a proxy between gateway and broker that saw the PUBACKs. Two controls go through the same rig and must
fail: acknowledging before the commit loses, and no de-duplication duplicates.
"""

import asyncio
import contextlib
import json
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt
import pytest
from fakes.broker import Mosquitto
from fakes.field import Field, Process, fieldgate, until
from fakes.mqtt_proxy import PUBLISH, SUBACK, MqttProxy

KILLS_IN_GAP, KILLS_AT_RANDOM = 8, 14
RATE_S = 0.004
KILLABLE = Path(__file__).with_name("killable.py")

SOURCES = """
[seal]
max_age_s = 0.2
max_count = 50
[journal]
linger_ms = 40
[broker.local]
url = "mqtt://127.0.0.1:{port}"
[source.climate]
driver = "mqtt"
broker = "local"
topic = "kill/climate"
values = {{ n = {{ pointer = "/n" }} }}
"""


@dataclass
class Verdict:
    """What a run found."""

    published: int = 0
    acknowledged: int = 0
    lost: list[int] = field(default_factory=list)
    never_came: list[int] = field(default_factory=list)
    twice: list[int] = field(default_factory=list)
    forks: list[int] = field(default_factory=list)
    in_order: bool = True
    kills: int = 0
    in_gap: int = 0
    redeliveries: int = 0
    heights: int = 0
    stored: int = 0


class Rig:
    """Broker, proxy, publisher, node, and a gateway that is killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.verdict = Verdict()
        self.published: list[int] = []
        self.entries: dict[int, bytes] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        broker = Mosquitto(self.folder / "broker")
        await asyncio.to_thread(broker.start)
        try:
            async with MqttProxy(broker.port) as self.proxy:
                self.field = Field(self.folder, SOURCES.format(port=self.proxy.port))
                await self.field.make()
                self.marks = self.folder / "marks"
                killable = (sys.executable, str(KILLABLE), "fieldgate.toml", str(self.marks))
                self.gateway = self.field.gateway = Process("gateway", self.field.home, *killable)
                await self.field.node.start()
                self.publishing = asyncio.create_task(self._publish(broker.port))
                try:
                    yield
                finally:
                    self.publishing.cancel()
                    for process in (self.gateway, self.field.node):
                        if process.running:
                            await process.end(signal.SIGKILL)
        finally:
            await asyncio.to_thread(broker.stop)

    async def _publish(self, port: int) -> None:
        await until(lambda: bool(self.proxy.of(SUBACK, up=False)), "the gateway's first subscription")
        async with aiomqtt.Client("127.0.0.1", port, identifier="publisher") as client:
            number = 0
            while True:
                await client.publish("kill/climate", json.dumps({"n": number}), qos=1)
                self.published.append(number)
                number += 1
                await asyncio.sleep(RATE_S)

    async def life(self, *hows: str, kill_after_s: float | None = None) -> None:
        """One start of the gateway, until it dies of a hook or is killed after it has acknowledged something."""
        before = len(self.proxy.acknowledged)
        await self.gateway.start(*hows)
        if kill_after_s is not None:
            await until(lambda: len(self.proxy.acknowledged) > before, f"a PUBACK\n{self.gateway.words()[-2000:]}")
            await asyncio.sleep(kill_after_s)
            await self.gateway.end(signal.SIGKILL)
        else:
            assert await self.gateway.gone() == -signal.SIGKILL, self.gateway.words()[-2000:]
        self.verdict.kills += 1
        self._compare_entries()

    def _compare_entries(self) -> None:
        for height, entry in self.field.entries().items():
            if self.entries.setdefault(height, entry) != entry:
                self.verdict.forks.append(height)

    async def settle(self, *hows: str) -> Verdict:
        """Lets the gateway drain what is published, stops it in order, and compares."""
        self.publishing.cancel()
        await asyncio.wait({self.publishing})
        await self.gateway.start(*hows)
        quiet = len(self.proxy.seen)

        def drained() -> bool:
            nonlocal quiet
            was, quiet = quiet, len(self.proxy.of(PUBLISH, up=False))
            return was == quiet and len(self._unacknowledged()) == 0

        with contextlib.suppress(AssertionError):
            await until(drained, "every delivery acknowledged", 20)
        await self.field.up()
        assert await self.gateway.end() == 0, self.gateway.words()[-2000:]
        self._compare_entries()
        return await self._judge()

    def _unacknowledged(self) -> set[bytes]:
        sent = {one.payload for one in self.proxy.of(PUBLISH, up=False)}
        wanted = {json.dumps({"n": number}).encode() for number in self.published}
        return (sent | wanted) - {one.payload for one in self.proxy.acknowledged}

    async def _judge(self) -> Verdict:
        verdict = self.verdict
        stored = [int(r.records[0].value) for r in await self.field.readings() if r.source == "climate"]  # type: ignore[arg-type]
        counts = Counter(stored)
        acknowledged = {json.loads(one.payload)["n"] for one in self.proxy.acknowledged}
        verdict.published, verdict.acknowledged = len(self.published), len(acknowledged)
        verdict.lost = sorted(acknowledged - set(counts))
        verdict.never_came = sorted(set(self.published) - set(counts))
        verdict.twice = sorted(number for number, count in counts.items() if count > 1)
        verdict.in_order = stored == sorted(stored)
        verdict.in_gap = self.marks.read_text().count("die-after-commit") if self.marks.exists() else 0
        verdict.redeliveries = sum(one.dup for one in self.proxy.of(PUBLISH, up=False))
        verdict.heights, verdict.stored = await self.field.node_progress()
        return verdict


@pytest.mark.timeout(240)
async def test_acknowledged_readings_survive_every_kill_exactly_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    rig = Rig(tmp_path)
    async with rig.running():
        lives: list[tuple[tuple[str, ...], float | None]] = [
            *(((f"die-after-commit={1 + n % 4}",), None) for n in range(KILLS_IN_GAP)),
            *(((), rng.uniform(0, 0.5)) for _ in range(KILLS_AT_RANDOM)),
        ]
        rng.shuffle(lives)
        for hows, kill_after_s in lives:
            await rig.life(*hows, kill_after_s=kill_after_s)
        verdict = await rig.settle()
        told = await fieldgate("verify", "--store", "data", cwd=rig.field.home)
    with capsys.disabled():
        print(
            f"\nkill loop, seed {seed}: {verdict.kills} kills, {verdict.in_gap} of them between commit and PUBACK; "
            f"{verdict.acknowledged} of {verdict.published} acknowledged, {verdict.redeliveries} redeliveries, "
            f"{verdict.heights} blocks, {verdict.stored} stored by the node"
        )
    assert verdict.kills >= 20
    assert verdict.in_gap >= 5
    assert verdict.redeliveries > 0
    assert verdict.acknowledged > 0
    assert (verdict.lost, verdict.never_came, verdict.twice, verdict.forks) == ([], [], [], [])
    assert verdict.in_order
    assert verdict.heights == verdict.stored == len(rig.entries), told


@pytest.mark.timeout(120)
async def test_control_acknowledging_before_the_commit_loses(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with rig.running():
        for number in range(3):
            await rig.life("ack-early", f"die-before-commit={number + 2}")
        verdict = await rig.settle("ack-early")
    assert verdict.lost, "the rig would not notice a gateway that acknowledges before it stores"


@pytest.mark.timeout(120)
async def test_control_without_deduplication_duplicates(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with rig.running():
        for number in range(3):
            await rig.life("no-dedupe", f"die-after-commit={number + 1}")
        verdict = await rig.settle("no-dedupe")
    assert verdict.lost == []
    assert verdict.twice, "the rig would not notice a gateway that stores redeliveries"
