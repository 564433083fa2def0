"""Writing to a pseudo-terminal as fast as its reader reads. The terminal itself is drivers.simulators.quay.Line."""

import asyncio
import os

from drivers.simulators.quay import Line

__all__ = ["Line", "feed"]


async def feed(line: Line, data: bytes, chunk: int = 4096) -> None:
    """Writes all of `data`, waiting where the line is full."""
    sent = 0
    while sent < len(data):
        try:
            sent += os.write(line.master, data[sent : sent + chunk])
        except BlockingIOError:
            await asyncio.sleep(0.002)
        await asyncio.sleep(0)
