"""From a reading to a receipt whose time stamp verifies offline, with an authority that is away and two lives."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from fakes import offline
from fakes.gateway_store import ORIGIN, signer
from fakes.running_gateway import Home, Running
from fakes.stamp_authority import issue
from fakes.stamp_server import stamp_ground

from gateway.core import note
from gateway.core.block import parse_entry
from gateway.core.note import COSIGNATURE, format_line
from gateway.core.policy import make_policy
from gateway.core.timestamp import Request
from gateway.keys import cosign, encode_key, parse_key
from gateway.store.receipts import build_receipt

WITNESS = parse_key(encode_key("node.coop.example", COSIGNATURE, b"w" * 32), where="a test")

TABLES = """
[seal]
max_age_s = 0.05
[anchor.tsa]
kind = "rfc3161"
url = "{url}"
roots_file = "{roots}"
look_s = 0.1
"""


def anchor_of(running: Running) -> dict[str, object]:
    return running.status()["anchors"]["tsa"]


async def receipt_of(running: Running) -> str:
    """Of a reading of the first block, which every anchor covers."""
    (entry,) = await running.store.blocks.entries(0, 1)
    size, text = await running.store.blocks.note()  # type: ignore[misc]
    line = format_line(cosign(WITNESS, note.parse_note(text).text, 1_800_000_000))
    await running.store.cosigned.save(WITNESS.vkey.name, "seen", size, text, line)
    return await build_receipt(running.store, "gateway", parse_entry(entry).header.sealed)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


async def test_the_whole_way(home: Home, tmp_path: Path) -> None:
    async with stamp_ground(tmp_path) as ground:
        home.write(TABLES.format(url=ground.options.url, roots=ground.options.roots_file))

        async def away(_: bytes) -> web.StreamResponse:
            return web.Response(status=503)

        ground.lie = away
        async with home.running() as running:
            await running.until(lambda: len(ground.asked) > 1)
            assert anchor_of(running)["state"] == "waiting"
            assert "anchor-away" in [one["condition"] for one in running.status()["problems"]]
        ground.lie = None
        async with home.running() as running:
            await running.until(lambda: anchor_of(running)["state"] == "anchored")
            assert len(set(ground.asked)) == 1, "the same request, whoever sends it"
            receipt = await receipt_of(running)
    assert Request.decode(ground.asked[0]).policy == ""
    other = issue("root", authority=True).fingerprint
    files = {
        "receipt": receipt.encode(),
        "policy": make_policy([signer(ORIGIN).vkey], [WITNESS.vkey], "all"),
        "pins": f"rfc3161 127.0.0.1 root {ground.authority.root.fingerprint}\n".encode(),
        "false": f"rfc3161 127.0.0.1 root {other}\n".encode(),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    claimed, proved, refused = await asyncio.gather(
        *(
            asyncio.to_thread(offline.verify, "receipt", "--policy", "policy", *more, cwd=tmp_path)
            for more in ((), ("--pins", "pins"), ("--pins", "false"))
        )
    )
    assert claimed.code == 0 and "a claim: no pin names its root" in claimed.out, claimed.err
    assert proved.code == 0, proved.err
    assert "time stamp of 127.0.0.1, not later than" in proved.out
    assert "(proven by the pinned root root)" in proved.out
    assert refused.code == 1 and "no root that is asked for" in refused.err
