"""From a reading to a receipt whose anchor verifies offline: a gateway, and chains behind a city node's stand-in."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes import offline
from fakes.again import again
from fakes.bsn_grounds import (
    FabricGround,
    FiscoGround,
    fabric_ground,
    fabric_options,
    fisco_ground,
    fisco_options,
    one_line,
    sealers_pin,
)
from fakes.command import fieldgate
from fakes.field import Field

Ground = FabricGround | FiscoGround
GROUNDS: dict[str, Callable[[Path], AbstractAsyncContextManager[Any]]] = {
    "fabric": fabric_ground,
    "fisco": fisco_ground,
}
HEAD = """
[seal]
max_age_s = 0.5
[source.box]
driver = "system"
every_s = 1
[anchor.city]
every_s = 1
look_s = 0.1
"""


@pytest.fixture(params=GROUNDS)
async def ground(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ground]:
    async with GROUNDS[request.param](tmp_path) as made:
        yield made


def table(ground: Ground, key: Path) -> str:
    """The options as a technician writes them."""
    options = fabric_options(ground.node) if isinstance(ground, FabricGround) else fisco_options(ground.node)
    values = {"kind": ground.kind, **msgspec.to_builtins(options), "access_key": f"file:{key}"}
    rows = [f"{name} = {json.dumps(value)}" for name, value in values.items() if value is not None]
    return HEAD + "\n".join(rows) + "\n"


@pytest.mark.nightly
@pytest.mark.timeout(240)
async def test_gateway_and_city_node_die_on_the_way(tmp_path: Path, ground: Ground) -> None:
    """Gateway and node are processes of their own, and all have ended when the receipt is verified."""
    key = tmp_path / "bsn.key"
    key.touch(mode=0o600)
    key.write_text(one_line(ground.node.app) + "\n")
    field = Field(tmp_path, table(ground, key))
    await field.make()

    async def city() -> dict[str, Any]:
        found: dict[str, Any] = (await field.status())["anchors"]["city"]
        return found

    async def until(true: Callable[[dict[str, Any]], bool]) -> None:
        async with asyncio.timeout(60):
            while not true(await city()):
                await asyncio.sleep(0.05)

    async def away(condition: str) -> None:
        async with asyncio.timeout(60):
            while condition not in [one["condition"] for one in (await field.status())["problems"]]:
                await asyncio.sleep(0.05)

    async with field.started():
        await field.up()
        await until(lambda told: told["state"] == "submitted")
        await field.gateway.end(signal.SIGKILL)
        await field.gateway.start()
        await field.up()
        await ground.away(True)
        await away("anchor-away")
        await ground.away(False)
        async with again(ground.mine, 0.3):
            await until(lambda told: told["anchored"] > 0)
            async with asyncio.timeout(60):
                while (await field.status())["nodes"]["node"]["seen"] < 3:
                    await asyncio.sleep(0.05)
            done = await asyncio.to_thread(fieldgate, "receipt", "gateway", "--first", "-o", "receipt", cwd=field.home)
            assert done.code == 0, done.err
        assert await field.gateway.end() == 0
    done = await asyncio.to_thread(fieldgate, "policy", "-o", "policy", cwd=field.home)
    assert done.code == 0, done.err
    (field.home / "pins").write_text(sealers_pin(ground))
    await ground.away(True)
    command = ("receipt", "--policy", "policy", "--pins", "pins", "-v")
    done = await asyncio.to_thread(offline.verify, *command, cwd=field.home)
    await ground.away(False)
    assert done.code == 0, done.err
    assert f"of {ground.kind} " in done.out
    assert "of the pin of line 1)" in done.out or "sealers of line 1)" in done.out
