"""How many lines of one kind are written, so that an outage of any length fills no card.

A kind is a logger and a message template. Each may write LOG_AT_ONCE lines at once and one a minute after that, all
kinds together LOG_ALL_AT_ONCE and LOG_ALL_A_MINUTE. What is left out is counted, and a later line says how many it
were. Conditions are not limited here: the watch tells each of them so often and no more (gateway/watch.py).
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from gateway.core import limits
from gateway.logs.told import told_of

_MINUTE_S = 60.0
Kind = tuple[str, str]


class LeftOut(NamedTuple):
    """Lines of one kind that were not written. An empty template: of kinds that are not told apart any more."""

    logger: str
    template: str
    lines: int


@dataclass(slots=True)
class _Bucket:
    """Lines that may be written now; they come back with time."""

    most: float
    a_minute: float
    left: float
    at: float
    out: int = 0  # lines left out since the last that was written

    def fill(self, now: float) -> None:
        self.left = min(self.most, self.left + (now - self.at) / _MINUTE_S * self.a_minute)
        self.at = now


class Limiter:
    """Says of each record whether it is written. `monotonic` in seconds. Not for several threads at once."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._kinds: OrderedDict[Kind, _Bucket] = OrderedDict()  # the one that was met last is at the end
        self._all = self._bucket(limits.LOG_ALL_AT_ONCE, limits.LOG_ALL_A_MINUTE)
        self._forgotten = 0  # lines left out of kinds that had to make room

    def _bucket(self, most: float, a_minute: float) -> _Bucket:
        return _Bucket(most, a_minute, most, self._monotonic())

    def admit(self, record: logging.LogRecord) -> int | None:
        """None: it is left out. Else it is written, and so many like it were left out before it.

        DEBUG is only there where a person asked for it, and always written.
        """
        if record.levelno < logging.INFO or told_of(record):
            return 0
        bucket = self._find((record.name, str(record.msg)[: limits.LOG_TEMPLATE_CHARS]))
        if not self._take(bucket):
            bucket.out += 1
            return None
        out, bucket.out = bucket.out, 0
        return out

    def _find(self, kind: Kind) -> _Bucket:
        bucket = self._kinds.get(kind)
        if bucket is None:
            bucket = self._kinds[kind] = self._bucket(limits.LOG_AT_ONCE, limits.LOG_A_MINUTE)
            if len(self._kinds) > limits.LOG_KINDS:
                self._forgotten += self._kinds.popitem(last=False)[1].out
        self._kinds.move_to_end(kind)
        return bucket

    def _take(self, *buckets: _Bucket) -> bool:
        """Whether a line may be written that counts for these, and for all together."""
        now = self._monotonic()
        for bucket in (counted := (*buckets, self._all)):
            bucket.fill(now)
        if min(bucket.left for bucket in counted) < 1:
            return False
        for bucket in counted:
            bucket.left -= 1
        return True

    def left_out(self) -> list[LeftOut]:
        """What was left out of each kind that may write a line again, and of which none came. It is told once."""
        told: list[LeftOut] = []
        for (logger, template), bucket in self._kinds.items():
            if bucket.out and self._take(bucket):
                told.append(LeftOut(logger, template, bucket.out))
                bucket.out = 0
        if self._forgotten and self._take():
            told.append(LeftOut("", "", self._forgotten))
            self._forgotten = 0
        return told
