"""`fieldgate run` with a way to die at a chosen point: `python killable.py CONFIG MARKS [HOW ...]`.

die-after-commit=N    SIGKILL after the Nth commit that held deliveries is durable, before its future completes
die-before-commit=N   SIGKILL before the Nth such commit
ack-early             a control that must lose: a future completes before its commit
no-dedupe             a control that must duplicate: no delivery is known

A line is appended to MARKS before each death.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from drivers.api import Item
from gateway import app, config
from gateway.cli.run import log_to_stderr
from gateway.intake import Intake
from gateway.store.journal import Batch, Journal
from gateway.store.redeliveries import Redeliveries


def main() -> None:
    path, marks, *hows = sys.argv[1:]
    log_to_stderr()
    for how in hows:
        name, _, number = how.partition("=")
        if name == "ack-early":
            _acknowledge_early()
        elif name == "no-dedupe":
            Redeliveries.knows = lambda self, delivery: False  # type: ignore[method-assign]
        else:
            _die(name, int(number), Path(marks))
    sys.exit(app.run(config.load(Path(path))))


def _die(name: str, number: int, marks: Path) -> None:
    write = Journal._write
    left = number

    def die() -> None:
        with marks.open("a") as file:
            file.write(name + "\n")
        os.kill(os.getpid(), signal.SIGKILL)

    async def dying(self: Journal, batch: Batch) -> None:
        nonlocal left
        left -= bool(batch.keys)
        if left == 0 and name == "die-before-commit":
            die()
        await write(self, batch)
        if left == 0:
            die()

    Journal._write = dying  # type: ignore[method-assign]


def _acknowledge_early() -> None:
    emitter = Intake.emitter

    def early(self: Intake, *args: Any) -> Callable[[Sequence[Item]], "asyncio.Future[None]"]:
        emit = emitter(self, *args)

        def lying(items: Sequence[Item]) -> "asyncio.Future[None]":
            emit(items)
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done

        return lying

    Intake.emitter = early  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
