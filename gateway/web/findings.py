"""What `doctor` found when somebody last let it look."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from gateway.conditions import Problem


class Findings:
    """Runs the doctor, one look at a time. at_ms: when it last looked, by the gateway's clock; None: never."""

    def __init__(self, look: Callable[[], Awaitable[Sequence[Problem]]] | None, now_ms: Callable[[], int]) -> None:
        self._look, self._now_ms = look, now_ms
        self._looking: asyncio.Task[Sequence[Problem]] | None = None
        self.problems: Sequence[Problem] = ()
        self.at_ms: int | None = None

    @property
    def offered(self) -> bool:
        """Whether there is a doctor."""
        return self._look is not None

    async def look(self) -> None:
        """Lets it look; who asks while it does waits for the same look."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._once(), name="doctor from the page")
            self._looking.add_done_callback(self._end)
        await asyncio.shield(self._looking)

    async def _once(self) -> Sequence[Problem]:
        assert self._look is not None
        self.problems = await self._look()
        self.at_ms = self._now_ms()
        return self.problems

    def _end(self, _: "asyncio.Task[Sequence[Problem]]") -> None:
        self._looking = None
