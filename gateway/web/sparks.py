"""Charts that were drawn, kept for the minute in which nothing changes in them."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable

from gateway.core import limits
from gateway.store.rollup import Rollup
from gateway.web import charts
from gateway.web.html import Markup


class Sparks:
    """A small line of the last hour for each source, and the large charts that somebody looks at."""

    def __init__(self, rollup: Rollup | None) -> None:
        self._rollup = rollup
        self._kept: OrderedDict[Hashable, tuple[int, Markup]] = OrderedDict()

    async def spark(self, source: str, now_min: int) -> Markup | None:
        """The first numeric value of a source; None where there is no rollup, or no such value."""
        rollup = self._rollup
        names = rollup.names(source) if rollup else ()
        if rollup is None or not names:
            return None
        name = names[0][0]

        async def draw() -> Markup:
            minutes = await rollup.minutes(source, name, now_min - 59, now_min + 1)
            return charts.spark(minutes, now_min)

        return await self.keep((source, name), now_min, draw)

    async def keep(self, key: Hashable, now_min: int, draw: Callable[[], Awaitable[Markup]]) -> Markup:
        """What was drawn under this key in this minute, or is drawn now."""
        kept = self._kept.get(key)
        if kept is None or kept[0] != now_min:
            kept = (now_min, await draw())
            await asyncio.sleep(0)
        self._kept[key] = kept
        self._kept.move_to_end(key)
        while len(self._kept) > limits.PAGE_CHARTS:
            self._kept.popitem(last=False)
        return kept[1]
