"""Sealing blocks of two sizes on a real store, receipts out of the larger one, and the length of an entry."""

import asyncio
import time
from collections.abc import Awaitable
from pathlib import Path
from statistics import median

from bench.filled import SOURCE, cosigned, fill
from bench.run import WINDOW, Run
from fakes.gateway_store import Pipeline

from gateway.core.limits import BLOCK_LEAVES
from gateway.store.receipts import build_receipt


def run(run: Run) -> dict[str, float]:
    small, large = run.scale.sealed
    sealed4096, _, entry = asyncio.run(_seal(run.folder / "small", small, 0))
    sealed65536, receipt, longest = asyncio.run(_seal(run.folder / "large", large, run.scale.repeats))
    return {
        "seal4096.ms": sealed4096 * 1000,
        "seal65536.ms": sealed65536 * 1000,
        "receipt.build65536_ms": receipt * 1000,
        "entry.bytes": max(entry, longest),
    }


async def _seal(folder: Path, readings: int, receipts: int) -> tuple[float, float, int]:
    """Seconds from closing a block of so many readings to its publishing; seconds for a receipt; bytes of its entry."""
    folder.mkdir()
    made = await Pipeline.open(folder, max_count=BLOCK_LEAVES, linger_s=60, windows={"local": WINDOW})
    try:
        await made.recover()
        made.tasks = [asyncio.create_task(made.journal.run())]
        await fill(made, readings)
        if made.journal.block.readings:
            await made.journal.cut()
        began = time.monotonic()
        made.tasks.append(asyncio.create_task(made.sealer.run()))
        await made.running(made.store.blocks.wait_beyond(0))
        took = time.monotonic() - began
        policy = await cosigned(made.store)
        times = [await timed(build_receipt(made.store, SOURCE, made.clock.ms, policy)) for _ in range(receipts)]
        (entry,) = await made.store.blocks.entries(0, 1)
        return took, median(times or [0.0]), len(entry)
    finally:
        await made.kill()


async def timed(made: Awaitable[object]) -> float:
    began = time.monotonic()
    await made
    return time.monotonic() - began
