"""Plays a recorded file of lines, from its beginning each time it is run."""

import asyncio
import errno
import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, BinaryIO

from msgspec import Meta

from drivers.api import REPLAYED, DriverError, Emit, Link, Reject, Sample
from drivers.blocking import BlockingCall
from drivers.conditions import FILE_UNREADABLE
from drivers.findings import items
from drivers.kinds import Kind
from drivers.limits import REPLAY_LINES
from drivers.lines import LineOptions, stream

CHUNK_BYTES = 16_384
OPEN_S = 10.0


class ReplayOptions(LineOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "replay"."""

    path: Annotated[
        str, Meta(pattern=r"^/[^\x00-\x1f\x7f]+\Z", description="a whole path, from / on", title="The recorded file")
    ]
    rate: Annotated[float, Meta(ge=0, le=100_000, title="Lines a second. 0: as fast as they become durable")] = 0.0
    loop: Annotated[bool, Meta(title="true: again and again")] = False
    replayed: Annotated[bool, Meta(title="false: readings are not marked as replayed (quality 16)")] = True


class ReplayDriver:
    """One source: one file. The next lines are handed over when the last ones are durable."""

    def __init__(self, source: str, options: ReplayOptions, *, now: Callable[[], float | None] = time.time) -> None:
        self.name = f"replay-{source}"
        self.sources: Mapping[str, object] = {source: options}
        self._source, self._options, self._now = source, options, now
        self._opening = BlockingCall(self.name)

    async def run(self, emit: Emit) -> None:
        """To the end of the file, or until cancelled. DriverError where the file cannot be read."""
        path = Path(self._options.path)
        emit([Link(up=True, detail=f"plays {path}")])
        while (played := await self._play(path, emit)) and self._options.loop:
            pass
        emit([Link(up=True, detail=f"played {path} to its end: {played} lines")])

    async def _play(self, path: Path, emit: Emit) -> int:
        """Once through the file; how many lines it had."""
        quality = REPLAYED if self._options.replayed else 0
        lines = stream(self._options)
        pace = _Pace(self._options.rate)
        try:
            file = await self._opening.run(
                functools.partial(_open, path), timeout_s=OPEN_S, abandon=lambda late: late.close()
            )
            try:
                while data := await asyncio.to_thread(_read, file):
                    await self._give(items(self._source, lines.feed(data, self._now()), quality), pace, emit)
                await self._give(items(self._source, lines.end(self._now()), quality), pace, emit)
            finally:
                file.close()
        except OSError as error:
            why, cure = error.strerror or "it does not open", "Correct path, or allow it to be read"
            raise DriverError(
                f"{path} cannot be read: {why}", cure, FILE_UNREADABLE, path=str(path), detail=why
            ) from error
        return pace.given

    async def _give(self, items: list[Sample | Reject], pace: "_Pace", emit: Emit) -> None:
        while items:
            due = await pace.due(min(len(items), REPLAY_LINES))
            await asyncio.wait({emit(items[:due])})  # never the future itself: a cancellation would end it for all
            del items[:due]


class _Pace:
    """How many lines are due: by the clock of the event loop, so that a slow disk is caught up with."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.given = 0

    async def due(self, most: int) -> int:
        """Sleeps until at least one line is due; how many are, at most `most`, which the caller then gives."""
        count = most
        if self._rate:
            await asyncio.sleep(self._began + self.given / self._rate - self._loop.time())
            late = self._loop.time() - self._began
            count = max(1, min(most, int(late * self._rate) + 1 - self.given))
        self.given += count
        return count


def _open(path: Path) -> BinaryIO:
    """Only a regular file: reading from anything else may never return."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file")
    return path.open("rb")


def _read(file: BinaryIO) -> bytes:
    return file.read(CHUNK_BYTES)


KIND = Kind(
    "replay",
    "a recorded file of lines",
    "stream",
    ReplayOptions,
    stream,
    ReplayDriver,
    examples={
        "trip": {
            "path": "/var/lib/fieldgate/recordings/trip.log",
            "format": "csv",
            "columns": ["time", "temp"],
            "values": {"temp": {"unit": "Cel"}},
        }
    },
)
