"""kill -9 under live sensors: at random moments, and at every numbered step of commit, seal, sign, push and the node.

What was acknowledged on the wire is in the chain exactly once and in order, what was journaled of a serial line stays,
no height and no size is ever signed in two ways, and the node is in step. The oracles are a proxy that saw the PUBACKs,
the journal's rows as they were on disk after each kill, and what was about to be signed. Two controls go through the
same rig and must fail: acknowledging before the commit loses, and no de-duplication duplicates.

FIELDGATE_SEED=N repeats the schedule of a run that printed `seed N`.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from fakes.rig import Rig, Verdict
from fakes.telling import Tell
from faults.killable import GATEWAY_STEPS, NODE_STEPS


class Lives:
    """A schedule of lives made of a seed: each a start, and how it ends."""

    def __init__(self, rig: Rig, seed: int, *, steps: int, at_random: int) -> None:
        self._rig, self._rng = rig, random.Random(seed)
        self.kills: Counter[str] = Counter()
        gap = ["commit.2", "commit.3"] * 2  # where a reading is durable and its sender does not know it yet
        self.plan = [*[*GATEWAY_STEPS, *gap, *NODE_STEPS] * steps, *["random"] * at_random]
        self._rng.shuffle(self.plan)

    async def run(self) -> None:
        for kind in self.plan:
            number = self._rng.randint(1, 3)
            wait_s = self._rng.uniform(0, 0.3)
            asked = self._rng.random() < 0.3
            if kind in NODE_STEPS:
                await self._node_dies(f"{kind}={number}", wait_s)
            elif kind in GATEWAY_STEPS:
                await self._gateway_dies(f"{kind}={number}")
            else:
                await self._killed(wait_s, asked=asked)
            self._rig.look()

    async def _gateway_dies(self, how: str) -> None:
        """At the step, by its own hand; the node lives on."""
        rig = self._rig
        if not rig.node.running:
            await rig.start_node()
        await rig.gateway.start(how)
        assert await rig.gateway.gone() == -signal.SIGKILL, rig.gateway.words()[-2000:]
        self.kills[how.partition("=")[0]] += 1

    async def _node_dies(self, how: str, wait_s: float) -> None:
        """At the step; the gateway is killed some time after it, whatever it does then."""
        rig = self._rig
        if rig.node.running:
            await rig.node.end(signal.SIGKILL)
            self.kills["node at random"] += 1
        await rig.start_node(how)
        await rig.gateway.start()
        assert await rig.node.gone() == -signal.SIGKILL, rig.node.words()[-2000:]
        self.kills[how.partition("=")[0]] += 1
        await self._end_gateway(wait_s)

    async def _killed(self, wait_s: float, *, asked: bool) -> None:
        """After it has acknowledged something; perhaps in the middle of an orderly stop."""
        rig = self._rig
        await rig.gateway.start()
        await rig.acknowledges()
        if asked:
            os.kill(rig.gateway.pid, signal.SIGTERM)
        await self._end_gateway(wait_s)

    async def _end_gateway(self, wait_s: float) -> None:
        rig = self._rig
        await asyncio.sleep(wait_s)
        if await rig.gateway.end(signal.SIGKILL) == -signal.SIGKILL:
            self.kills["at random"] += 1

    def words(self) -> str:
        """What was counted."""
        return ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))


async def _kill_loop(folder: Path, seed: int, *, steps: int, at_random: int) -> tuple[Lives, Verdict]:
    rig = Rig(folder, serial=True)
    async with rig.running():
        lives = Lives(rig, seed, steps=steps, at_random=at_random)
        await lives.run()
        verdict = await rig.settle()
    return lives, verdict


def _judge(tell: Tell, seed: int, lives: Lives, verdict: Verdict, at_least: int) -> None:
    kills = sum(lives.kills.values())
    tell(
        f"kill loop, seed {seed}: {kills} kills ({lives.words()}); {verdict.acknowledged} of {verdict.published} "
        f"acknowledged, {verdict.redeliveries} redeliveries, {verdict.serial} serial readings, "
        f"{verdict.heights} blocks, {verdict.stored} stored by the node"
    )
    assert kills >= at_least
    assert not (GATEWAY_STEPS.keys() | NODE_STEPS.keys()) - lives.kills.keys()
    assert verdict.sound, verdict
    assert verdict.never_came == []
    assert min(verdict.redeliveries, verdict.acknowledged, verdict.serial) > 0


@pytest.mark.timeout(240)
async def test_acknowledged_readings_survive_every_kill_exactly_once(tmp_path: Path, tell: Tell, seed: int) -> None:
    _judge(tell, seed, *await _kill_loop(tmp_path, seed, steps=1, at_random=24), 50)


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
async def test_some_hundred_kills(tmp_path: Path, tell: Tell, seed: int) -> None:
    _judge(tell, seed, *await _kill_loop(tmp_path, seed, steps=8, at_random=80), 300)


@pytest.mark.timeout(120)
async def test_control_acknowledging_before_the_commit_loses(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with rig.running():
        for number in range(3):
            await rig.gateway.start("ack-early", f"commit.1={number + 2}")
            assert await rig.gateway.gone() == -signal.SIGKILL
        verdict = await rig.settle("ack-early")
    assert verdict.lost, "the rig would not notice a gateway that acknowledges before it stores"


@pytest.mark.timeout(120)
async def test_control_without_deduplication_duplicates(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with rig.running():
        for number in range(3):
            await rig.gateway.start("no-dedupe", f"commit.2={number + 1}")
            assert await rig.gateway.gone() == -signal.SIGKILL
        verdict = await rig.settle("no-dedupe")
    assert verdict.lost == []
    assert verdict.twice, "the rig would not notice a gateway that stores redeliveries"
