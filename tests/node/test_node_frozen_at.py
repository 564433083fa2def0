"""`frozen_at`, for a stolen key: nothing from that height on is taken by any way in, what is below stays good."""

import asyncio
import logging
from pathlib import Path

import pytest
from fakes.log_maker import LogMaker
from fakes.nodes import READ, READER, SEEN, STORED, check_lines, enrolled, running
from fakes.pulled_gateway import PulledGateway

from gateway.core import limits, merkle
from gateway.core.note import b64encode
from gateway.node import pull


@pytest.fixture
def maker() -> LogMaker:
    """A log of six blocks."""
    return LogMaker().add(6)


async def test_a_push_below_is_taken_and_one_that_reaches_it_is_refused_whole(tmp_path: Path, maker: LogMaker) -> None:
    async with running(tmp_path, {"a": enrolled(maker, frozen_at=4)}) as client:
        for refused in (await client.sync(maker, 0, 5), await client.sync(maker, 0)):
            assert refused.status == 403, "no fork: the gateway that was robbed is not told that it lied"
            assert b"from block 4 on" in refused.data
        fields = (await client.sync(maker, 0, 4)).fields
        check_lines(maker, 4, fields[1], SEEN)
        for refused in (await client.sync(maker, 4, 5), await client.sync(maker, 4)):
            assert refused.status == 403
        for height in range(4):
            assert (await client.put(maker, height)).status == 204
        assert (await client.put(maker, 4)).status == 403
        fields = (await client.sync(maker, 4, 4)).fields
        check_lines(maker, 4, fields[5], STORED)
        assert (await client.read(READER, maker.id, "checkpoint")).status == 200
        assert (await client.read(READER, maker.id, "blocks/3")).status == 200


async def test_a_witness_signs_no_checkpoint_above_it(tmp_path: Path, maker: LogMaker) -> None:
    async with running(tmp_path, {"a": enrolled(maker, frozen_at=4)}) as client:
        assert (await client.add_checkpoint(_request(maker, 0, 5))).status == 403
        assert (await client.add_checkpoint(_request(maker, 0, 4))).status == 200
        assert (await client.add_checkpoint(_request(maker, 4, 6))).status == 403


def _request(maker: LogMaker, old: int, new: int) -> bytes:
    hashes = [merkle.leaf_hash(entry) for entry in maker.entries[:new]]
    proof = merkle.consistency_path(hashes, old) if old else []
    lines = "".join(f"{b64encode(item)}\n" for item in proof)
    return f"old {old}\n{lines}\n{maker.note(new).encode()}".encode()


async def test_nothing_above_it_is_pulled(tmp_path: Path, maker: LogMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PULL_BACKOFF_S", 0.1)
    monkeypatch.setattr(pull, "_AGAIN_S", 0.1)
    gateway = PulledGateway(maker, READ)
    async with (
        gateway.serve(),
        running(tmp_path, {"a": enrolled(maker, pull=gateway.url, frozen_at=4)}) as client,
        asyncio.timeout(20),
    ):
        while sum("checkpoint" in path for path in gateway.asked) < 3:
            await asyncio.sleep(0.02)
        assert (await client.node.store.head(maker.id)).size == 0
        gateway.size = 4
        while (await client.node.store.head(maker.id)).size < 4 or await client.node.store.wants(maker.id, 1):
            await asyncio.sleep(0.02)


async def test_bodies_below_it_are_pulled_and_none_above_it_is_asked_for(
    tmp_path: Path, maker: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the gateway has gone on since, or stands where the node does."""
    monkeypatch.setattr(limits, "PULL_BACKOFF_S", 0.1)
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0, 5)
    gateway = PulledGateway(maker, READ)
    async with (
        gateway.serve(),
        running(tmp_path, {"a": enrolled(maker, pull=gateway.url, frozen_at=3)}) as client,
        asyncio.timeout(20),
    ):
        while (await client.node.store.wants(maker.id, 1))[0][0] < 3:
            await asyncio.sleep(0.02)
        assert await client.node.store.wants(maker.id, 9) == [(3, 5)]


async def test_a_look_at_what_is_not_taken_any_more_finds_nothing_to_do(tmp_path: Path, maker: LogMaker) -> None:
    """Another look at once would be asked for without an end."""
    maker.add(70)
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
    gateway = PulledGateway(maker, READ)
    async with (
        gateway.serve(),
        running(tmp_path, {"a": enrolled(maker, pull=gateway.url, frozen_at=0)}) as client,
        asyncio.timeout(20),
    ):
        (puller,) = client.node._pullers
        assert not await puller.look()
        assert not [path for path in gateway.asked if "blocks" in path]


async def test_what_was_taken_before_is_told_and_grows_no_further(
    tmp_path: Path, maker: LogMaker, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0, 5)
    with caplog.at_level(logging.WARNING):
        async with running(tmp_path, {"a": enrolled(maker, frozen_at=3)}) as client:
            assert "2 blocks from frozen_at = 3 on were taken before" in caplog.text
            assert (await client.sync(maker, 5)).status == 403
            assert (await client.sync(maker, 5, 5)).status == 403
            assert (await client.put(maker, 3)).status == 403
            assert (await client.put(maker, 2)).status == 204


async def test_a_second_history_is_still_kept_as_evidence(tmp_path: Path, maker: LogMaker) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0, 5)
    async with running(tmp_path, {"a": enrolled(maker, frozen_at=5)}) as client:
        assert (await client.sync(maker.fork(3, 4), 0, 6)).status == 422
        (evidence,) = await client.node.store.evidence(maker.id)
        assert evidence.number == 3


async def test_another_log_is_not_touched(tmp_path: Path, maker: LogMaker) -> None:
    other = LogMaker("barn.example/1").add(3)
    async with running(tmp_path, {"a": enrolled(maker, frozen_at=0), "b": enrolled(other)}) as client:
        assert (await client.sync(maker, 0, 1)).status == 403
        assert (await client.sync(other, 0)).fields[2] == 3
