"""Something that is done again and again beside a test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable


@contextlib.asynccontextmanager
async def again(
    work: Callable[[], Awaitable[object]], every_s: float, *, but: tuple[type[Exception], ...] = ()
) -> AsyncIterator[None]:
    """Does it until the end of the block, with a pause between. but: what may come of it, of a chain that is away."""

    async def on() -> None:
        while True:
            with contextlib.suppress(*but):
                await work()
            await asyncio.sleep(every_s)

    task = asyncio.create_task(on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
