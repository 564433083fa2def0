"""An event loop whose time stands still while anything happens, and jumps to the next timer when nothing does.

Only what `busy` says waits for the real world (a commit in SQLite's thread): that takes no time at all. So figures that
hang on time come out the same on any machine.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class _Selector(selectors.DefaultSelector):
    """Never waits for a timer."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or self.loop.busy():
            return super().select(None if timeout is None or timeout > 0 else 0)
        found = super().select(0)
        if not found and timeout > 0:
            self.loop.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """`now`: its time in seconds. `busy`: whether it has to wait for what is not a timer."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self.now = 1_000.0
        self.busy: Callable[[], bool] = lambda: True
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def run(main: Callable[[VirtualLoop], Coroutine[Any, Any, None]]) -> None:
    """Runs it. Until it sets `busy`, time stands still."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        runner.run(main(loop))
