"""kill -9 at random points of journaling and sealing: acknowledged is stored, and a height has one header for ever."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.gateway_store import Pipeline, check_chain, signer, values
from fakes.recorder import Recorder

from gateway.core import block, senml
from gateway.store.minutes import Minute

KILLS = 30


class Killed:
    """What the killed gateways said: the readings acknowledged, and every header that was ever to be signed."""

    def __init__(self, program: "subprocess.Popen[str]") -> None:
        self._program = program
        self.acknowledged: set[int] = set()
        self.headers: dict[int, set[str]] = {}

    def run(self, folder: Path, first: int, lines: int) -> None:
        """One gateway, killed when it has said so many lines, which it goes on beyond."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(f"{folder} {first}\n")
        self._program.stdin.flush()
        pid = 0
        for number, line in enumerate(self._program.stdout):
            word, *rest = line.split()
            if word == "pid":
                pid = int(rest[0])
            elif word == "ack":
                self.acknowledged.update(range(first, int(rest[0]) + 1))
            elif word == "signed":
                self.headers.setdefault(int(rest[0]), set()).add(rest[1])
            elif word == "end":
                assert int(rest[0]) == signal.SIGKILL, "it ended by itself"
                return
            if number == lines:
                os.kill(pid, signal.SIGKILL)
        raise AssertionError("the program ended")


@pytest.fixture
def killed() -> Iterator[Killed]:
    """The program that makes them: started once, so that a kill costs a fork and not an interpreter."""
    command = [sys.executable, str(Path(__file__).parents[1] / "fakes" / "killed_gateway.py")]
    paths = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    ) as program:
        yield Killed(program)
        assert program.stdin is not None
        program.stdin.close()
        assert program.wait(20) == 0


async def _stored(folder: Path) -> list[int]:
    """All readings, after a start that recovers and an ordered stop."""
    recorder = Recorder(signer())
    gateway = await Pipeline.open(folder)
    assert await gateway.recover(recorder) is None
    gateway.start()
    await gateway.stop()
    gateway = await Pipeline.open(folder)
    try:
        return [int(value) for value in values(await check_chain(gateway.store))]  # type: ignore[arg-type]
    finally:
        await gateway.kill()


async def _headers(folder: Path) -> dict[int, str]:
    gateway = await Pipeline.open(folder)
    try:
        entries = [await gateway.store.blocks.block(height) for height in range(gateway.store.blocks.size)]
        return {row.height: block.parse_entry(row.entry).header_bytes.hex() for row in entries if row is not None}
    finally:
        await gateway.kill()


async def _charts(folder: Path) -> tuple[list[Minute], list[Minute]]:
    """What the rollup tells once it has made anew what is missing, and what the readings come to."""
    gateway = await Pipeline.open(folder)
    assert await gateway.recover() is None
    gateway.start()
    try:
        await gateway.rollup.load()
        gateway.intake.event("start")
        await gateway.journal.commit()
        while await gateway.rollup.turn():
            pass
        told = await gateway.rollup.minutes("climate", "temp", 0, 2**40)
        made: dict[int, list[float]] = {}
        async for pack in gateway.store.blocks.readings_between("climate", 0, 2**53):
            reading = senml.resolve(pack)
            made.setdefault(reading.time_ms // 60_000, []).append(float(reading.records[0].value))
        return told, [Minute(at, min(of), max(of), of[-1], len(of)) for at, of in sorted(made.items())]
    finally:
        await gateway.kill()


async def test_kill_9_at_random_points(tmp_path: Path, killed: Killed, seed: int) -> None:
    chosen = random.Random(seed)
    first = 0
    for _ in range(KILLS):
        killed.run(tmp_path, first, chosen.randint(1, 60))
        first = max(killed.acknowledged, default=0) + 1_000  # what was not acknowledged is not sent again
    told, wanted = await _charts(tmp_path)
    assert [(one.at, one.low, one.high, one.count) for one in told] == [(*one[:3], one.count) for one in wanted]
    stored = await _stored(tmp_path)
    assert stored == sorted(set(stored)), "in order, and once"
    assert killed.acknowledged
    assert killed.acknowledged <= set(stored)
    headers = await _headers(tmp_path)
    assert all(len(told) == 1 for told in killed.headers.values()), "two headers for a height"
    assert len(killed.headers) > KILLS
    assert {height: {headers[height]} for height in killed.headers} == killed.headers
