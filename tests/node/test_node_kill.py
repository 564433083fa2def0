"""kill -9 of a real node in the middle of sync, again and again: it never signs two roots for one size.

The oracle is what came over the wire: every co-signature, whichever process made it. After a kill the node is shown
either the same entries again or another branch of the log, as a gateway would that lost its memory.
"""

import asyncio
import random
import signal
from pathlib import Path

import aiohttp
from fakes.field import CLI, Process, fieldgate
from fakes.log_maker import LogMaker

from gateway.core import cbor
from gateway.core.note import VerifierKey, parse_checkpoint, parse_lines, verify_cosignature
from gateway.node import log as judge

KILLS = 8
STEP = 120


class Wire:
    """What this test has seen: for each log and size the roots that the node's seen key signed."""

    def __init__(self, seen: VerifierKey) -> None:
        self.seen = seen
        self.roots: dict[tuple[str, int], set[bytes]] = {}
        self.largest: dict[str, int] = {}

    def note(self, maker: LogMaker, size: int, lines: str) -> None:
        text = maker.note(size).text
        (line,) = parse_lines(lines)
        verify_cosignature(text, line, self.seen)
        checkpoint = parse_checkpoint(text)
        self.roots.setdefault((maker.id, size), set()).add(checkpoint.root)
        self.largest[maker.id] = max(size, self.largest.get(maker.id, 0))


async def listening(process: Process, before: int) -> str:
    """The address that the node tells once it listens."""
    async with asyncio.timeout(30):
        while True:
            for line in process.words()[before:].splitlines():
                if "listening on " in line:
                    return line.split("listening on ")[1].split(",")[0]
            assert process.running, process.words()
            await asyncio.sleep(0.01)


async def push(http: aiohttp.ClientSession, url: str, maker: LogMaker, old: int, wire: Wire) -> tuple[int, int]:
    """Sends a step of the log from `old` on; the status, and the size that the node is at."""
    new = min(old + STEP, maker.size)
    data = judge.encode_sync(old, maker.entries[old:new], maker.note(new).encode())
    headers = {"Content-Type": "application/cbor"}
    async with http.post(f"{url}/v1/logs/{maker.id}/sync", data=data, headers=headers) as response:
        body = await response.read()
    if response.status == 200:
        fields = cbor.decode(body)
        assert isinstance(fields, dict)
        lines, size = fields.get(1), fields[2]
        assert isinstance(size, int)
        if lines:
            wire.note(maker, size, str(lines))
        return 200, size
    return response.status, int(body) if response.status == 409 else old


async def run_until_killed(url: str, maker: LogMaker, wire: Wire, process: Process, rng: random.Random) -> bool:
    """Pushes until the process is killed under it; whether a request was then without an answer."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
        old = 0
        for _ in range(rng.randrange(1, 4)):
            status, old = await push(http, url, maker, old, wire)
            assert status in (200, 409)
        last = asyncio.create_task(push(http, url, maker, old, wire))
        await asyncio.sleep(rng.uniform(0.0, rng.choice([0.004, 0.04])))  # a step takes some ten milliseconds
        answered = last.done()
        await process.end(signal.SIGKILL)
        (result,) = await asyncio.gather(last, return_exceptions=True)
        assert isinstance(result, tuple | aiohttp.ClientError), result
        return not answered


async def show_the_other_branch(url: str, branches: list[LogMaker], wire: Wire) -> None:
    """After the restart: what was acknowledged is still there, and the other branch is never signed beside it."""
    maker, other = branches
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
        status, size = await push(http, url, other, 0, wire)
        acknowledged = wire.largest.get(maker.id, 0)
        if status == 409:
            assert size >= acknowledged
            status, size = await push(http, url, other, size, wire)
        assert status == 200 or acknowledged  # nothing was signed yet: the other branch may become the log
        for old in (0, size):
            await push(http, url, maker, old, wire)


async def test_killed_in_the_middle_of_sync(tmp_path: Path) -> None:
    rng = random.Random(20_261_123)
    trunks = [LogMaker(f"log-{n}.example/1").add(5 * STEP, readings=0) for n in range(KILLS)]
    logs = [[trunk, trunk.fork(2, 5 * STEP - 2)] for trunk in trunks]
    init = ("node", "init", "--name", "node.example", "--dir", "node", "--listen", "127.0.0.1:0")
    told = await fieldgate(*init, cwd=tmp_path)
    wire = Wire(VerifierKey.parse(told.split('seen_key = "')[1].split('"')[0]))
    with (tmp_path / "node" / "node.toml").open("a") as file:
        file.writelines(f'\n[gateway.log-{n}]\nvkey = "{made[0].vkey}"\n' for n, made in enumerate(logs))
    process = Process("node", tmp_path, *CLI, "node", "run", "--config", "node/node.toml")
    in_the_middle = 0
    try:
        for branches in logs:
            before = len(process.words())
            await process.start()
            url = await listening(process, before)
            in_the_middle += await run_until_killed(url, branches[0], wire, process, rng)
        before = len(process.words())
        await process.start()
        url = await listening(process, before)
        for branches in logs:
            await show_the_other_branch(url, branches, wire)
        assert await process.end() == 0
    finally:
        if process.running:
            await process.end(signal.SIGKILL)
    print(f"{KILLS} kills, {in_the_middle} of them with a request without an answer, {len(wire.roots)} sizes signed")
    assert in_the_middle
    assert all(len(roots) == 1 for roots in wire.roots.values()), "two roots were signed for one size"
