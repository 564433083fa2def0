"""A quay: a weighbridge and a ship's instruments that write to a real pseudo-terminal."""

import asyncio
import contextlib
import os
import random
import tty
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from drivers.simulators import scales


class Writable(Protocol):
    """A line to write to: `Line` here, and those of network.py."""

    def write(self, data: bytes) -> bool:
        """True if it took all of the data."""
        ...


class Line:
    """A pseudo-terminal: this side writes, a gateway opens `path`. `link`: a stable name for it, replaced where it is.

    Leave it (`with`), or `close` it: the gateway's side then sees an unplug.
    """

    def __init__(self, link: Path | None = None) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.path = Path(os.ttyname(slave))
        self._slave: int | None = slave  # held: without any reader a terminal forgets its settings
        self._closed = False
        os.set_blocking(self.master, False)
        if link is not None:
            link.unlink(missing_ok=True)
            link.symlink_to(self.path)
            self.path = link

    def write(self, data: bytes) -> bool:
        """True if the line took it all. Where nobody reads, it is full after some 4 KiB, and the rest is lost."""
        with contextlib.suppress(OSError):  # full, or nobody has it open
            return os.write(self.master, data) == len(data)
        return False

    def let_go(self) -> None:
        """This program has the gateway's side open no more."""
        if self._slave is not None:
            os.close(self._slave)
            self._slave = None

    def close(self) -> None:
        """Unplugs it."""
        self.let_go()
        if not self._closed:
            os.close(self.master)
            self._closed = True

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def weighbridge(seed: int = 1, form: str = "st-gs") -> Iterator[bytes]:
    """What a weighing indicator writes, without end: lorries roll on, come to rest, and drive off."""
    rng = random.Random(seed)  # noqa: S311  a simulation
    weight = scales.FORMS[form]
    while True:
        mass = rng.uniform(7_000, 39_000)
        steps = [(False, mass * 0.4), (False, mass * 0.9), (False, mass * 1.02), *[(True, mass)] * 4]
        for stable, now in [*steps, (False, mass * 0.3), (True, 0.0), (True, 0.0)]:
            written = weight(stable, round(now / 20) * 20)
            if written:
                yield written


async def run(
    line: Writable,
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
