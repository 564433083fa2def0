"""kill -9 in the middle of a reload: whichever file is there then, the gateway starts with it, and nothing is lost."""

import os
import random
import signal
from pathlib import Path

import aiomqtt
import pytest
from fakes.mqtt_proxy import PUBLISH
from fakes.rig import Rig
from fakes.telling import Tell
from faults.killable import RELOAD_STEPS

FEED = """
[source.feed]
driver = "mqtt"
broker = "local"
topic = "kill/feed"
values = { n = { pointer = "/n" } }
[source.box]
driver = "system"
every_s = 1
[retention]
min_age_h = 1
"""
TWICE = {"reload.3", "reload.5", "reload.5+"}


@pytest.mark.timeout(240)
async def test_a_gateway_killed_at_any_step_of_a_reload_starts_with_the_file_that_is_there(
    tmp_path: Path, tell: Tell, seed: int
) -> None:
    """FEED comes and goes; a death may be followed by a return to the file before it."""
    rng, rig = random.Random(seed), Rig(tmp_path, serial=True)
    plan = [
        (step, number) for step in RELOAD_STEPS for number in ((1, 2) if step in ("reload.3", "reload.5") else (1,))
    ]
    rng.shuffle(plan)
    async with rig.running():
        path = rig.field.home / "fieldgate.toml"
        lean = path.read_text()
        texts = [lean, lean + FEED]
        await rig.start_node()
        for step, number in plan:
            await rig.gateway.start(f"{step}={number}")
            if number > 1 or not step.startswith("reload.5"):  # those are at the start
                await rig.acknowledges()
                before = path.read_text()
                path.write_text(texts[before == lean])
                os.kill(rig.gateway.pid, signal.SIGHUP)
                await _dies(rig)
                if rng.random() < 0.4:
                    path.write_text(before)
            else:
                await _dies(rig)
            rig.look()
        path.write_text(lean)
        await rig.gateway.start()
        await rig.acknowledges(5)
        told = await rig.field.status()
        assert set(told["sources"]) == {"gateway", "climate", "ship"}
        assert all(source["balanced"] for source in told["sources"].values())
        count = len(rig.proxy.of(PUBLISH, up=False))
        async with aiomqtt.Client("127.0.0.1", rig.broker.port) as client:
            await client.publish("kill/feed", b'{"n": 1}', qos=1)
        await rig.acknowledges(5)
        assert all(one.topic != "kill/feed" for one in rig.proxy.of(PUBLISH, up=False)[count:])
        verdict = await rig.settle()
    tell(
        f"killed {len(plan)} times in a reload, seed {seed}: {verdict.acknowledged} of {verdict.published} "
        f"acknowledged, {verdict.redeliveries} redeliveries, {verdict.serial} serial readings"
    )
    assert verdict.sound, verdict
    assert verdict.never_came == []


async def _dies(rig: Rig) -> None:
    assert await rig.gateway.gone() == -signal.SIGKILL, rig.gateway.words()[-2000:]
