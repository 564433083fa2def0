"""From a reading to a receipt whose anchor verifies offline, through a city node's gateway: the gateway's task is ended
at each state and begun anew on the store that it left, the city node is away in between and answers are lost.

Receipts are checked in a process of their own that can open no socket and import nothing of an extra.
"""

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.bsn_gateway import CityNode
from fakes.bsn_grounds import FabricGround, FiscoGround, fabric_ground, fisco_ground, name_of, sealers_pin
from fakes.gateway_store import ORIGIN, Pipeline, pipeline, sample, signer, until
from fakes.proofs import make_policy

from gateway.anchors.of_log import OfLog
from gateway.anchors.task import Anchoring
from gateway.core import cbor, merkle, note
from gateway.core.anchor import Statement
from gateway.core.anchor_row import ANCHORED, IN_BLOCK, SUBMITTED, WAITING
from gateway.core.note import COSIGNATURE, format_line
from gateway.core.receipt import Anchor, Receipt, parse_receipt
from gateway.keys import cosign, encode_key, parse_key
from gateway.settings import AnchorSettings
from gateway.store import Store
from gateway.store.receipts import build_receipt

Ground = FabricGround | FiscoGround
GROUNDS: dict[str, Callable[[Path], AbstractAsyncContextManager[Any]]] = {
    "fabric": fabric_ground,
    "fisco": fisco_ground,
}
WITNESS = parse_key(encode_key("node.coop.example", COSIGNATURE, b"w" * 32), where="a test")

OFFLINE = """
import socket, sys
def refuse(*_, **__):
    raise OSError("there is no network")
socket.socket.connect = socket.socket.connect_ex = refuse
for name in ("cryptography", "coincurve", "gmssl", "aiohttp"):
    sys.modules[name] = None
from pathlib import Path
from gateway.core.anchor import parse_pins
from gateway.verify import verify_receipt
receipt, policy, pins = (Path(name).read_bytes() for name in sys.argv[1:])
for _, anchored in verify_receipt(receipt, policy, parse_pins(pins)).anchors:
    print(anchored.by)
"""


@pytest.fixture(params=GROUNDS)
async def ground(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ground]:
    async with GROUNDS[request.param](tmp_path) as made:
        yield made


@asynccontextmanager
async def life(pipe: Pipeline, ground: Ground) -> AsyncIterator[Anchoring]:
    """The task of one process's life, which a kill ends wherever it is."""
    settings = AnchorSettings(kind=ground.kind, every_s=3_600.0, confirmations=2, look_s=0.01, late_s=1_000.0)
    task = Anchoring("city", settings, name_of(ground), ground.open, OfLog(pipe.store), pipe.clock, random.Random(1))
    running = asyncio.create_task(task.run())
    try:
        yield task
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def losing(node: CityNode) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """The answer to the next submission is cut; the transaction was taken."""

    def cut(call: str, answer: dict[str, Any]) -> dict[str, Any]:
        node.cut_after = 10 if call == "node/reqChainCode" else None
        if node.cut_after:
            node.spoil_signed = restored
        return answer

    def restored(call: str, answer: dict[str, Any]) -> dict[str, Any]:
        node.cut_after = None
        return answer

    return cut


async def receipt_of(store: Store) -> Receipt:
    size, text = await store.blocks.note()  # type: ignore[misc]
    line = format_line(cosign(WITNESS, note.parse_note(text).text, 1_800_000_000))
    await store.cosigned.save(WITNESS.vkey.name, "seen", size, text, line)
    return parse_receipt((await build_receipt(store, "climate", 2**52)).encode())


async def test_the_whole_way(ground: Ground, tmp_path: Path) -> None:
    async with pipeline(tmp_path, max_count=1) as pipe:
        pipe.clock.synchronised = False  # the stand-ins date their blocks by another clock
        pipe.emit([sample()])
        await pipe.journal.commit()
        await pipe.running(pipe.store.blocks.wait_beyond(0))
        await ground.away(True)
        async with life(pipe, ground) as task:
            await until(lambda: bool(task.problems))
            assert task.status()["state"] == WAITING
        await ground.away(False)
        ground.node.spoil_signed = losing(ground.node)
        async with life(pipe, ground) as task:
            await until(lambda: task.status()["state"] == SUBMITTED)
        await ground.mine()
        async with life(pipe, ground) as task:
            await until(lambda: task.status()["state"] == IN_BLOCK)
        await ground.mine()
        async with life(pipe, ground) as task:
            await until(lambda: task.status()["state"] == ANCHORED)
            assert task.problems == []
        row = await pipe.store.anchors.newest("city")
        assert row is not None
        assert row.evidence is not None
        assert await ground.stands(Statement.of(ORIGIN, row.size, row.root)) == 1, "the lost answer, and then again"
        made = await receipt_of(pipe.store)
        path = await pipe.store.blocks.path(merkle.inclusion_ranges(made.log_index, row.size))
    anchor = Anchor(ground.kind, row.size, row.root, tuple(path), cbor.decode(row.evidence))
    files = {
        "receipt": replace(made, anchors=(anchor,)).encode(),
        "policy": make_policy([signer(ORIGIN).vkey], [WITNESS.vkey], "all").decode(),
        "pins": sealers_pin(ground),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-c", OFFLINE, *(str(tmp_path / name) for name in files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("an orderer of the pin of line 1", "3 of the 4 sealers of line 1")
