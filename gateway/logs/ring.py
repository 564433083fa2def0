"""The newest log records, kept in memory for `fieldgate logs`: bounded in number and in bytes."""

from collections import deque
from typing import Any, NamedTuple

from gateway.core import limits
from gateway.logs.told import Told


class Record(NamedTuple):
    """One record. `number` counts from 1 in the life of a process; `at_ms` is Unix time.

    Of a condition that begins (`holds`) or is over: its id and its subject; else "", "" and None.
    """

    number: int
    at_ms: int
    level: str
    logger: str
    text: str
    condition: str = ""
    subject: str = ""
    holds: bool | None = None


_ASIDE = 200  # bytes that a record takes beside its texts


class Ring:
    """Written by any thread that logs, under the lock of the logging handler; read on the event loop."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque()
        self._bytes = 0
        self._number = 0

    def add(self, at_ms: int, level: str, logger: str, text: str, told: Told | None = None) -> None:
        """Keeps one more; the oldest make room for it."""
        self._number += 1
        record = Record(self._number, at_ms, level, logger, text[: limits.RING_TEXT_CHARS])
        if told is not None:
            record = record._replace(condition=told.condition, subject=told.subject, holds=told.holds)
        self._records.append(record)
        self._bytes += _size(record)
        while self._bytes > limits.RING_BYTES or len(self._records) > limits.RING_RECORDS:
            self._bytes -= _size(self._records.popleft())

    def after(self, number: int) -> dict[str, Any]:
        """As JSON: the records after that number, oldest first; `last`, the newest number there is; and `lost`, how
        many after it are gone already.
        """
        kept = list(self._records)
        last = kept[-1].number if kept else 0
        oldest = kept[0].number if kept else 1
        return {
            "records": [record._asdict() for record in kept if record.number > number],
            "last": last,
            "lost": max(0, oldest - number - 1),
        }


def _size(record: Record) -> int:
    return _ASIDE + 4 * (len(record.text) + len(record.logger) + len(record.subject))
