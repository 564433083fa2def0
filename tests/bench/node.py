"""Entries that a node takes in a second, each verified and durable before it is co-signed; and what a body costs it."""

import asyncio
import time
from pathlib import Path

from bench.run import Run
from fakes.log_maker import LogMaker
from fakes.nodes import Client, enrolled, running

from gateway.core.limits import SYNC_ENTRIES
from gateway.node.log import encode_sync


def run(run: Run) -> dict[str, float]:
    """One node on loopback, one request after the other over HTTP."""
    return asyncio.run(_run(run.folder, run.scale.requests, run.scale.body))


async def _run(folder: Path, requests_: int, readings: int) -> dict[str, float]:
    log = LogMaker().add(requests_ * SYNC_ENTRIES, readings=0)
    heavy = LogMaker("bench.example/1").add(2, readings=readings, sources=20)
    steps = range(0, log.size, SYNC_ENTRIES)
    requests = [
        encode_sync(old, log.entries[old : old + SYNC_ENTRIES], log.note(old + SYNC_ENTRIES).encode()) for old in steps
    ]
    async with running(folder, {"log": enrolled(log), "heavy": enrolled(heavy)}) as client:
        stall = asyncio.create_task(_longest_stall())
        began, cpu = time.monotonic(), time.process_time()
        for request in requests:
            assert (await client.post_sync(log.id, request)).status == 200
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        stall.cancel()
        body_s = await _body(client, heavy)
    return {
        "node.sqlite_entries_per_s": log.size / took,
        "node.entry_cpu_us": cpu / log.size * 1e6,
        "node.stall_ms": _stalls.pop() * 1000,
        "node.body4096_ms": body_s * 1000,
    }


_stalls: list[float] = []


async def _longest_stall() -> None:
    longest = 0.0
    try:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - before - 0.001)
    finally:
        _stalls.append(longest)


async def _body(client: Client, log: LogMaker) -> float:
    await client.sync(log, 0)
    data = log.blocks[1].compressed
    before = time.monotonic()
    assert (await client.put(log, 1, data)).status == 204
    return time.monotonic() - before
