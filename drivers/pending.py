"""How much a driver has handed over that is not yet durable, and when there is room again."""

import asyncio
import functools


class Pending:
    """Owned by one driver. `full` means: read nothing more."""

    def __init__(self, messages: int, size: int) -> None:
        self._most_messages, self._most_size = messages, size
        self._messages = self._size = 0
        self._room = asyncio.Event()
        self._room.set()
        self._newest: asyncio.Future[None] | None = None
        self._share = [0, 0]  # messages and bytes that it will make durable

    @property
    def full(self) -> bool:
        """Whether a limit is reached."""
        return self._messages >= self._most_messages or self._size >= self._most_size

    def add(self, future: "asyncio.Future[None]", messages: int, size: int) -> None:
        """Counts what `future` will make durable. Whoever adds a callback later finds all of it counted off already."""
        self._messages += messages
        self._size += size
        if future is not self._newest or future.done():
            self._newest, self._share = future, [0, 0]
            future.add_done_callback(functools.partial(self._durable, self._share))
        self._share[0] += messages
        self._share[1] += size
        if self.full:
            self._room.clear()

    def _durable(self, share: list[int], _: "asyncio.Future[None]") -> None:
        self._messages -= share[0]
        self._size -= share[1]
        if not self.full:
            self._room.set()

    async def room(self) -> None:
        """Returns when it is not full."""
        await self._room.wait()

    async def drained(self, timeout_s: float) -> None:
        """Returns when all that was handed over is durable, at the latest after `timeout_s`."""
        if self._newest is not None and not self._newest.done():
            await asyncio.wait({self._newest}, timeout=timeout_s)
