"""A node's fleet on a real chain of the Ethereum kind: as plain data, and by the contract, which wants rising sizes."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from fakes import anvil
from fakes.again import again
from fakes.anvil import CHAIN_ID, AnvilGround
from fakes.log_maker import LogMaker
from fakes.nodes import NAME as NODE
from fakes.nodes import Client, enrolled, running

from gateway.anchors.api import Chain
from gateway.core import anchor_kinds, cbor
from gateway.core.anchor import Anchored, Statement, parse_pins
from gateway.settings import AnchorSettings

SETTINGS = AnchorSettings(kind="evm", every_s=0.0, confirmations=3, look_s=0.05, late_s=1_000.0)
MAKERS = 3

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(180)]


class Kind:
    """The kind `evm` on a chain of the tests."""

    final = False

    def __init__(self, ground: AnvilGround) -> None:
        self._ground = ground

    def chain(self, _: object) -> str:
        return str(CHAIN_ID)

    def opened(self, _: object, __: object) -> AbstractAsyncContextManager[Chain]:
        return self._ground.open()


def mined(ground: AnvilGround) -> AbstractAsyncContextManager[None]:
    """A block now and then, as long as the chain is there."""
    return again(ground.mine, 0.1, but=(OSError, AssertionError))


async def part_of(client: Client, maker: LogMaker, size: int) -> list[Any]:
    """The log's part, when it has that size."""
    async with asyncio.timeout(60):
        while True:
            reply = await client.ask("GET", f"/{maker.id}/fleet")
            if reply.status == 200:
                found = cbor.decode(reply.data)
                assert isinstance(found, list)
                if found[0][0] == size:
                    return list(found[0])
            await asyncio.sleep(0.05)


async def pinned(ground: AnvilGround, maker: LogMaker, part: list[Any]) -> Anchored:
    """What it proves to somebody who has looked the block up."""
    statement = Statement.of(maker.origin, part[0], maker.root(part[0]))
    claim = anchor_kinds.check_fleet(statement, part[2])
    assert claim is not None
    pin = f"evm {CHAIN_ID} block {claim.number} {await ground.anvil.hash(claim.number)}"
    found = anchor_kinds.check_fleet(statement, part[2], parse_pins(pin.encode()))
    assert found is not None
    return found


@pytest.mark.parametrize("made", [anvil.ground, anvil.ground_with_contract])
async def test_each_log_is_proven_through_a_dead_chain_a_reorganisation_and_a_restart(
    tmp_path: Path, made: Callable[[Path], AbstractAsyncContextManager[AnvilGround]]
) -> None:
    makers = [LogMaker(f"gw-{n}.example/1").add(n + 1) for n in range(MAKERS)]
    tables = {f"gw-{n}": enrolled(maker) for n, maker in enumerate(makers)}
    (tmp_path / "chain").mkdir()
    (tmp_path / "node").mkdir()
    async with made(tmp_path / "chain") as ground:
        with_chain = {"anchors": {"coop": SETTINGS}, "kind_of": lambda _: Kind(ground)}
        async with running(tmp_path / "node", tables) as client:
            for maker in makers:
                await client.sync(maker, 0)
        async with running(tmp_path / "node", tables, **with_chain) as client:
            fleet = client.node.fleets["coop"]
            async with asyncio.timeout(60):
                while (row := await fleet.newest("coop")) is None or row.state != "submitted":
                    await asyncio.sleep(0.05)
            await ground.mine()
            async with asyncio.timeout(60):
                while (row := await fleet.newest("coop")) is None or row.state != "in block":
                    await asyncio.sleep(0.05)
            await ground.reorganise(1)
            await asyncio.sleep(1.5)  # the chain writes its state once a second
            await ground.anvil.stop(signal.SIGKILL)
        await ground.anvil.start()
        async with running(tmp_path / "node", tables, **with_chain) as client, mined(ground):
            for maker in makers:
                found = await pinned(ground, maker, await part_of(client, maker, maker.size))
                assert (found.node, found.logs, found.by) == (NODE, MAKERS, f"the pinned block {found.number}")
            makers[0].add()
            await client.sync(makers[0], 1)
            assert (await pinned(ground, makers[0], await part_of(client, makers[0], 2))).logs == MAKERS
            rows = await client.node.fleets["coop"]._store.anchors("coop")
        assert [row.state for row in rows] == ["anchored", "anchored"]
        assert rows[0].size > rows[1].size
        for row in rows:
            on_chain = Statement.of(f"fleet {NODE}", row.size, row.root)
            assert await ground.stands(on_chain) == 1
