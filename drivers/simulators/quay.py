"""A quay: a weighbridge and a ship's instruments that write to a real pseudo-terminal."""

import asyncio
import contextlib
import os
import random
import tty
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path


class Line:
    """A pseudo-terminal: this side writes, a gateway opens `path`. `link`: a stable name for it, replaced where it is.

    Leave it (`with`), or `close` it: the gateway's side then sees an unplug.
    """

    def __init__(self, link: Path | None = None) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.path = Path(os.ttyname(slave))
        self._slave: int | None = slave  # held: without any reader a terminal forgets its settings
        os.set_blocking(self.master, False)
        if link is not None:
            link.unlink(missing_ok=True)
            link.symlink_to(self.path)
            self.path = link

    def write(self, data: bytes) -> bool:
        """True if the line took it all. Where nobody reads, it is full after some 4 KiB, and the rest is lost."""
        with contextlib.suppress(BlockingIOError):
            return os.write(self.master, data) == len(data)
        return False

    def close(self) -> None:
        """Unplugs it."""
        if self._slave is not None:
            os.close(self._slave)
            os.close(self.master)
            self._slave = None

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def weighbridge(seed: int = 1) -> Iterator[bytes]:
    """Lines of a weighing indicator without end: lorries roll on, come to rest, and drive off. ST is stable, US not."""
    rng = random.Random(seed)  # noqa: S311  a simulation
    while True:
        mass = rng.uniform(7_000, 39_000)
        for part in (0.4, 0.9, 1.02):
            yield _weight("US", mass * part)
        for _ in range(4):
            yield _weight("ST", mass)
        yield _weight("US", mass * 0.3)
        for _ in range(2):
            yield _weight("ST", 0.0)


def _weight(state: str, mass: float) -> bytes:
    return f"{state},GS,+{round(mass / 20) * 20:8d}kg\r\n".encode("ascii")


async def run(
    line: Line,
    lines: Iterable[bytes],
    *,
    every_s: float = 0.25,
    on_written: Callable[[bytes], None] = lambda data: None,
) -> None:
    """Writes the lines one after the other until there are no more. on_written is told of each that went out whole."""
    for data in lines:
        if line.write(data):
            on_written(data)
        await asyncio.sleep(every_s)
