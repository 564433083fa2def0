"""When a broker waits for us: its window is full, or its messages stop coming where they stopped before.

A 3.1.1 client is never told how many messages a broker sends before it waits (`window`). Where the configuration names
more than the broker sends, a backlog would come in by one window a linger; so the number at which it stalls is learnt.
"""

from typing import Final

STALL_S: Final = 0.005
_LEAST: Final = 2  # of one message alone nobody can tell that another was due
_SPACES: Final = 4


class Window:
    """One broker's messages in the open batch. Times are seconds of one monotonic clock. Its owner is intake.

    The number at which a batch's linger found it, unchanged for half the linger, is remembered. The next batch that
    stops growing there, for 5 ms and for longer than its messages were apart, is at its end. The number is forgotten
    when more come, and when what follows the acknowledgement is not prompt: then the broker had not waited for it.
    """

    __slots__ = (
        "_acknowledged",
        "_first",
        "_half_s",
        "_last",
        "_prompt_s",
        "_size",
        "_stalled",
        "count",
        "fresh",
        "learnt",
    )

    def __init__(self, size: int, linger_s: float) -> None:
        self._size = size
        self._half_s, self._prompt_s = linger_s / 2, linger_s / 10
        self.fresh = 0  # messages of this wake-up, not yet in `count`
        self.count = 0  # messages in the open batch
        self.learnt = 0  # the number where they stalled; 0: none
        self._first = self._last = 0.0  # when the batch's first and newest came
        self._stalled = False  # a batch that ended at a stall is on its way
        self._acknowledged: float | None = None  # when such a batch was, and nothing has come since

    def grow(self, now: float) -> bool:
        """Takes in what one wake-up brought. True where the broker waits for its acknowledgements for certain."""
        late = self._acknowledged is not None and now - self._acknowledged > self._prompt_s
        if not self.count:
            self._first = now
        self._last, self._acknowledged = now, None
        self.count += self.fresh
        self.fresh = 0
        if late or self._stalled or self.count > self.learnt:
            self.learnt = 0
        return self.count >= self._size

    def due(self) -> float | None:
        """When the batch ends unless more comes; None: not before its linger."""
        if self.count < _LEAST or self.count != self.learnt:
            return None
        apart_s = (self._last - self._first) / (self.count - 1)
        return self._last + max(STALL_S, _SPACES * apart_s)

    def stall(self) -> None:
        """The open batch ends because of `due`."""
        self._stalled = True

    def close(self, lingered: float | None) -> None:
        """The batch is closed. lingered: when its linger ended it; None where something else did."""
        if lingered is not None and STALL_S < self._half_s <= lingered - self._last and self.count:
            self.learnt = self.count
        self.count = 0

    def acknowledge(self, now: float) -> None:
        """The batch that ended at a stall is durable."""
        self._stalled, self._acknowledged = False, now
