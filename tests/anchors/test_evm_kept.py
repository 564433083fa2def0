"""What is anchored stays so, whatever a server forgets: only another block at its height takes it away."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fakes import anvil, lying_rpc
from fakes.again import again
from fakes.anvil import CHAIN_ID, KEY, Anvil
from fakes.gateway_store import Pipeline, pipeline, sample, until
from fakes.lying_rpc import Lie, LyingServer

from gateway.anchors.evm import chain as evm
from gateway.anchors.evm.options import EvmOptions
from gateway.anchors.of_log import OfLog
from gateway.anchors.task import Anchoring
from gateway.core import limits
from gateway.core.anchor_row import ANCHORED, AnchorRow
from gateway.settings import AnchorSettings

SETTINGS = AnchorSettings(kind="evm", every_s=0.0, confirmations=3, look_s=0.02, late_s=1_000.0)
ANCHORS = 3


@asynccontextmanager
async def anchoring(pipe: Pipeline, server: LyingServer) -> AsyncIterator[Anchoring]:
    options = EvmOptions(url=server.url, chain_id=CHAIN_ID, key="file:/none")
    opened = partial(evm.KIND.opened, options, {"file:/none": KEY})
    task = Anchoring("coop", SETTINGS, str(CHAIN_ID), opened, OfLog(pipe.store), pipe.clock, random.Random(1))
    running = asyncio.create_task(task.run())
    try:
        yield task
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def grow(pipe: Pipeline) -> int:
    size = pipe.store.blocks.size
    pipe.emit([sample()])
    await pipe.journal.commit()
    await pipe.running(pipe.store.blocks.wait_beyond(size))
    return size + 1


async def anchor(pipe: Pipeline, node: Anvil, task: Anchoring) -> None:
    """One more block of the log is anchored."""
    size = await grow(pipe)
    async with again(node.mine, 0.02):
        await until(lambda: task.status()["anchored"] >= size)


async def rows(pipe: Pipeline) -> list[AnchorRow]:
    return [row for row in await pipe.store.anchors.listed(ANCHORS + 2) if row.size <= ANCHORS]


def null_receipts(method: str, _: list[Any], result: Any) -> Any:
    return None if method == "eth_getTransactionReceipt" else result


def pruned(method: str, params: list[Any], result: Any) -> Any:
    """It has neither the receipts nor the blocks of what was."""
    if method == "eth_getBlockByNumber" and params[0] != "latest":
        return None
    return null_receipts(method, params, result)


@asynccontextmanager
async def three_anchored(tmp_path: Path) -> AsyncIterator[tuple[Pipeline, Anvil, LyingServer, Anchoring]]:
    async with (
        anvil.running(tmp_path) as node,
        lying_rpc.lying(node.url) as server,
        pipeline(tmp_path, max_count=1) as pipe,
        anchoring(pipe, server) as task,
    ):
        pipe.clock.synchronised = False  # anvil dates its blocks by the machine's
        for _ in range(ANCHORS):
            await anchor(pipe, node, task)
        await node.mine(20)
        yield pipe, node, server, task


async def test_a_receipt_that_is_not_there_any_more_takes_nothing_away(tmp_path: Path) -> None:
    """The account's nonce is above the transaction's, twenty blocks deep: that says nothing, for ours has used it."""
    async with three_anchored(tmp_path) as (pipe, node, server, task):
        before = await rows(pipe)
        assert [row.state for row in before] == [ANCHORED] * ANCHORS
        server.lie = null_receipts
        await grow(pipe)
        await until(lambda: task.status()["size"] == ANCHORS + 1 and task.status()["state"] == "submitted")
        assert await rows(pipe) == before
        server.lie = lying_rpc.honest
        async with again(node.mine, 0.02):
            await until(lambda: task.status()["anchored"] == ANCHORS + 1)
        assert await rows(pipe) == before


@pytest.mark.parametrize("lie", [pruned, lambda *asked: pruned(*asked) if asked[0] != "eth_blockNumber" else "0x1"])
async def test_a_server_that_has_not_the_block_is_told_and_holds_nothing_up_for_ever(tmp_path: Path, lie: Lie) -> None:
    async with three_anchored(tmp_path) as (pipe, _, server, task):
        before = await rows(pipe)
        server.lie = lie
        await grow(pipe)
        await until(lambda: bool(task.problems))
        assert task.problems[0].condition in ("anchor-away", "anchor-answer")
        assert task.status()["size"] == ANCHORS
        assert await rows(pipe) == before
        pipe.clock.advance(limits.ANCHOR_HELD_UP_S + 1)
        task.ask()
        await until(lambda: task.status()["size"] == ANCHORS + 1)
        assert await rows(pipe) == before


async def test_another_block_at_its_height_puts_it_back_and_it_comes_to_stand_again(tmp_path: Path) -> None:
    async with three_anchored(tmp_path) as (pipe, node, _, task):
        before = await rows(pipe)
        last = before[0]
        assert last.number is not None
        await node.reorganise(int(await node.rpc("eth_blockNumber"), 16) - last.number + 1)
        await anchor(pipe, node, task)
        after = await rows(pipe)
        assert (after[0].state, after[0].data) == (ANCHORED, last.data)
        assert after[0].hash != last.hash
        assert after[1:] == before[1:]
