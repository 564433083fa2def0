"""Runs a driver as its supervisor would, once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fakes.collector import Collector

from drivers.api import Driver, DriverError


@asynccontextmanager
async def running(driver: Driver, collector: Collector) -> AsyncIterator["asyncio.Task[None]"]:
    """The driver's task; cancelled at the end. Its failure is raised here: for one that is expected see `failure`."""
    task = asyncio.create_task(driver.run(collector.emit), name=driver.name)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def failure(driver: Driver, collector: Collector | None = None) -> DriverError:
    """What the driver ends with."""
    try:
        async with asyncio.timeout(20):
            await driver.run((collector or Collector()).emit)
    except DriverError as error:
        return error
    raise AssertionError("it ended without an error")
