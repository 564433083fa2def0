"""From a reading to a receipt whose anchor verifies offline: a gateway, and a real chain of the Ethereum kind."""

import asyncio
import json
import signal
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from fakes import anvil, offline
from fakes.again import again
from fakes.anvil import CHAIN_ID, KEY, Anvil
from fakes.command import Done, fieldgate
from fakes.field import Field
from fakes.gateway_store import ORIGIN, signer
from fakes.running_gateway import Home, Running

from gateway.core import note
from gateway.core.note import COSIGNATURE, format_line
from gateway.core.policy import make_policy
from gateway.core.receipt import parse_receipt
from gateway.keys import Signer, cosign, encode_key, parse_key
from gateway.store.receipts import build_receipt

TABLE = """
[seal]
max_age_s = 0.2
[source.box]
driver = "system"
every_s = 1
[anchor.spartan]
kind = "evm"
url = "{url}"
chain_id = {chain}
key = "file:{key}"
every_s = 1
confirmations = 3
look_s = 0.1
"""
VET = parse_key(encode_key("vet.example", COSIGNATURE, bytes(range(32))), where="a test")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "anchor.key"
    path.touch(mode=0o600)
    path.write_text(KEY + "\n")
    return path


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def table(chain: Anvil, key: Path) -> str:
    return TABLE.format(url=chain.url, chain=CHAIN_ID, key=key)


def mined(chain: Anvil, every_s: float = 0.05) -> AbstractAsyncContextManager[None]:
    """A block now and then, as long as the chain is there."""
    return again(chain.mine, every_s, but=(OSError, AssertionError))


async def pins_of(chain: Anvil, receipt: bytes) -> str:
    """What a person writes down who has an own look at the chain."""
    (anchor,) = parse_receipt(receipt).anchors
    told: Any = anchor.evidence
    number = int.from_bytes(number_of(told[2][0]), "big")
    return f"evm {CHAIN_ID} block {number} {await chain.hash(number)}\n"


def number_of(header: bytes) -> bytes:
    from gateway.core import rlp

    fields = rlp.decode(header)
    assert isinstance(fields, list) and isinstance(fields[8], bytes)
    return fields[8]


async def cosigned(running: Running, by: Signer) -> None:
    """A witness has signed the log as it stands."""
    size, text = await running.store.blocks.note()  # type: ignore[misc]
    line = format_line(cosign(by, note.parse_note(text).text, 1_800_000_000))
    await running.store.cosigned.save("vet", "seen", size, text, line)


def verified(folder: Path, receipt: bytes, pins: str) -> Done:
    """By somebody who has these three files, and no network."""
    (folder / "policy").write_bytes(make_policy([signer(ORIGIN).vkey], [VET.vkey]))
    (folder / "receipt").write_bytes(receipt)
    (folder / "pins").write_text(pins)
    return offline.verify("receipt", "--policy", "policy", "--pins", "pins", cwd=folder)


async def test_a_reading_is_anchored_and_proven_without_a_network(tmp_path: Path, home: Home, key: Path) -> None:
    async with anvil.running(tmp_path) as chain, mined(chain):
        await asyncio.to_thread(home.write, table(chain, key))
        async with home.running() as running:
            anchors = lambda: running.status()["anchors"]["spartan"]  # noqa: E731
            await running.until(lambda: anchors()["anchored"] > 0)
            await cosigned(running, VET)
            assert [one for one in running.status()["problems"] if one["condition"].startswith("anchor")] == []
            row = await running.store.anchors.anchored("spartan")
            assert row is not None
            reading = (await running.store.blocks.header(row.size - 1)).last
            receipt = (await build_receipt(running.store, "gateway", reading)).encode()
            await running.reload("")
            assert running.status()["anchors"] == {}, "what is configured no more is told nothing more"
        pins = await pins_of(chain, receipt)
    told = await asyncio.to_thread(verified, tmp_path, receipt, pins)
    assert (told.code, told.err) == (0, "")
    assert "of evm 9090, not later than" in told.out
    assert "(proven by the pinned block" in told.out
    told = await asyncio.to_thread(verified, tmp_path, receipt, pins.replace("0x", "0x00")[:-3] + "\n")
    assert told.code == 1
    assert "refused at step 9 (the anchors)" in told.err


@pytest.mark.nightly
@pytest.mark.timeout(300)
async def test_the_chain_is_killed_and_reorganised_and_the_gateway_killed_on_the_way(tmp_path: Path, key: Path) -> None:
    """With a node that co-signs, every part a process of its own, and the receipt verified when all have ended."""
    async with anvil.running(tmp_path) as chain:
        field = Field(tmp_path, table(chain, key).replace("confirmations = 3", "confirmations = 8"))
        await field.make()

        async def spartan() -> dict[str, Any]:
            found: dict[str, Any] = (await field.status())["anchors"]["spartan"]
            return found

        async def reached(*states: str) -> dict[str, Any]:
            async with asyncio.timeout(60):
                while (told := await spartan())["state"] not in states:
                    await asyncio.sleep(0.05)
            return told

        async with field.started():
            await field.up()
            await reached("submitted")
            await field.gateway.end(signal.SIGKILL)
            await chain.mine(2)
            await field.gateway.start()
            await field.up()
            before = await reached("in block")
            assert before["why"] == ""
            await chain.reorganise(2)
            await reached("submitted", "waiting")
            await chain.mine(2)
            await reached("in block")
            await asyncio.sleep(1.5)  # the chain writes its state once a second
            await chain.stop(signal.SIGKILL)
            async with asyncio.timeout(60):
                while "anchor-away" not in [one["condition"] for one in (await field.status())["problems"]]:
                    await asyncio.sleep(0.05)
            await chain.start()
            async with mined(chain, 0.2):
                async with asyncio.timeout(90):
                    while not (await spartan())["anchored"] or (await field.status())["nodes"]["node"]["seen"] < 3:
                        await asyncio.sleep(0.1)
                done = fieldgate("receipt", "gateway", "--first", "-o", "receipt", cwd=field.home)
                assert done.code == 0, done.err
            told = json.loads(fieldgate("anchors", "--json", cwd=field.home).out)
            assert await field.gateway.end() == 0
        receipt = (field.home / "receipt").read_bytes()
        (field.home / "pins").write_text(await pins_of(chain, receipt))
        data = await chain.data()
        for row in told["anchors"]:
            stands = sum(bytes.fromhex(row["root"]) in one for one in data)
            assert stands == (1 if row["state"] in ("anchored", "in block") else stands), row
            assert stands <= 1, "never twice for one digest"
    assert fieldgate("policy", "-o", "policy", cwd=field.home).code == 0
    done = offline.verify("receipt", "--policy", "policy", "--pins", "pins", "-v", cwd=field.home)
    assert done.code == 0, done.err
    assert "(proven by the pinned block" in done.out
