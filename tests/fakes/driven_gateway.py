"""A gateway's store, intake and sealer in a process of their own, driven through a fixed sequence without a network:
`driven_gateway.py DATA SAID SEQUENCE [HOW ...]`.

SEQUENCE is one letter a step: `c` a commit of three readings, `b` a bigger one, `s` a block closed for its age, sealed
and signed, `h` an empty one, `r` charts written and read. At the end comes the ordered stop.

SAID, on another file system where that matters, is told in one write each: `open`, `ack FIRST LAST` when the future of
a commit has completed, `signed HEIGHT HEADER` when the key is about to sign, `stop`, `end`.

ack-early             a control: readings are said to be acknowledged before they are committed
synchronous=LEVEL     a control: what SQLite waits for
checkpoint-pages=N    checkpoints come this often
The exit code and the words are those of `fieldgate run`.
"""

import asyncio
import os
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fakes.gateway_store import Pipeline, sample, signer
from fakes.recorder import Recorder
from fakes.weakened import weaken

from gateway import sealer
from gateway.cli import explain
from gateway.store import database, journal

BIG_BYTES = 3_000
RETRY_S = 0.02
_PATIENCE_S = 20.0


class Driven:
    """The gateway and what it says."""

    def __init__(self, data: Path, said: Path, *, early: bool) -> None:
        self._data = data
        self._said = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._early = early
        self._next = 0

    def say(self, text: str) -> None:
        os.write(self._said, text.encode() + b"\n")

    async def run(self, sequence: str, first: int) -> None:
        self._next = first
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))  # the same thread in every run
        made = await Pipeline.open(self._data, max_count=1_000)
        try:
            key = Recorder(signer(), lambda height, header: self.say(f"signed {height} {header.hex()}"))
            held = await made.recover(key)
            if held is not None:
                raise held
            made.start()
            self.say("open")
            for step in sequence:
                await self._step(made, step)
            self.say("stop")
            await made.running(made.journal.commit())
            made.sealer.stop()
            await made.tasks[1]
        finally:
            await made.kill()

    async def _step(self, made: Pipeline, step: str) -> None:
        if step in "cb":
            first, self._next = self._next, self._next + 3
            size = BIG_BYTES if step == "b" else 1
            said = f"ack {first} {self._next - 1}"
            if self._early:
                self.say(said)
            await made.running(
                made.emit([sample(value=n, payload=b"%d" % n + os.urandom(size)) for n in range(first, self._next)])
            )
            if not self._early:
                self.say(said)
        elif step == "r":
            await made.rollup.load()
            await made.rollup.write()
            await made.rollup.minutes("climate", "temp", 0, 2**40)
        elif step == "s":
            made.clock.advance(3600)
            made.journal.grown.set()
            await made.running(_until_sealed(made))
        else:
            await made.age()


async def _until_sealed(made: Pipeline) -> None:
    while made.journal.block.readings or made.store.blocks.size < made.journal.block.height:
        await asyncio.sleep(0.001)


def first_unused(said: Path) -> int:
    """The first reading that no earlier run has tried: numbers are never used again."""
    lines = [line.split() for line in said.read_text().splitlines()] if said.exists() else []
    return max((int(line[2]) + 1_000 for line in lines if line[0] == "ack"), default=0)


def main() -> None:
    data, said, sequence, *hows = sys.argv[1:]
    journal._FULL_RETRY_S = sealer._RETRY_S = RETRY_S  # type: ignore[misc]
    for how in hows:
        if how.startswith("synchronous="):
            weaken(how.partition("=")[2])
        elif how.startswith("checkpoint-pages="):
            database._WAL_PAGES = int(how.partition("=")[2])  # type: ignore[misc]
    code = 0
    driven = Driven(Path(data), Path(said), early="ack-early" in hows)
    try:
        asyncio.run(asyncio.wait_for(driven.run(sequence, first_unused(Path(said))), _PATIENCE_S))
        driven.say("end")
    except (Exception, sqlite3.Error) as error:
        code = explain(error)
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
