"""A node and three gateways, each a process: one time stamp for all, in receipts that verify offline with a pin."""

import asyncio
import contextlib
import json
import signal
from pathlib import Path

import pytest
from fakes import offline
from fakes.field import Field, fieldgate
from fakes.stamp_server import StampGround, stamp_ground

SOURCES = """
[seal]
max_age_s = 0.5
[source.box]
driver = "system"
every_s = 1
"""
ANCHOR = """
[anchor.tsa]
kind = "rfc3161"
url = "{url}"
roots_file = "{roots}"
every_s = 1
look_s = 0.1
"""
GATEWAYS = 3


async def _vkey(field: Field) -> str:
    lines = (await fieldgate("policy", cwd=field.home)).splitlines()
    return next(line.split()[1] for line in lines if line.startswith("log "))


async def _fields(folder: Path, ground: StampGround) -> list[Field]:
    """Three gateways that send to the first one's node, which anchors."""
    first = Field(folder / "gw-0", SOURCES, name="gw-0.example")
    await first.make()
    text = (first.home / "fieldgate.toml").read_text()
    tables = ANCHOR.format(url=ground.options.url, roots=ground.options.roots_file)
    made = [first]
    for number in range(1, GATEWAYS):
        sources = f"{SOURCES}{text[text.rindex('[node.') :]}"
        field = Field(folder / f"gw-{number}", sources, with_node=False, name=f"gw-{number}.example")
        await field.make()
        tables += f'\n[gateway.gw-{number}]\nvkey = "{await _vkey(field)}"\n'
        made.append(field)
    with (first.folder / "node" / "node.toml").open("a") as file:
        file.write(tables)
    return made


async def _anchored(field: Field, size: int) -> int:
    """The largest size of the log that the node's anchors have, when it is larger than `size`."""
    async with asyncio.timeout(60):
        while True:
            told = json.loads(await fieldgate("anchors", "--json", cwd=field.home))["anchors"]
            if told and told[0]["size"] > size:
                assert (told[0]["name"], told[0]["kind"]) == ("by node node, 127.0.0.1", "fleet")
                return int(told[0]["size"])


@pytest.mark.nightly
@pytest.mark.timeout(240)
async def test_one_time_stamp_for_three_gateways_in_receipts_that_verify_offline(tmp_path: Path) -> None:
    async with stamp_ground(tmp_path / "tsa") as ground, contextlib.AsyncExitStack() as undo:
        fields = await _fields(tmp_path, ground)
        node = fields[0].node
        for field in fields:
            await undo.enter_async_context(field.started())
        sizes = [await _anchored(field, 0) for field in fields]
        for _ in range(2):
            await node.end(signal.SIGKILL)
            await node.start()
            sizes = [await _anchored(field, size) for field, size in zip(fields, sizes, strict=True)]
        pin = f"rfc3161 127.0.0.1 root {ground.authority.root.fingerprint}\n"
        for field in fields:
            await fieldgate("policy", "-o", "its.policy", cwd=field.home)
            (field.home / "chains.pins").write_text(pin)
            await fieldgate("receipt", "gateway", "--first", "-o", "box.tlog-proof", cwd=field.home)
        for process in (*(field.gateway for field in fields), node):
            assert await process.end() == 0
    for field in fields:
        command = ("box.tlog-proof", "--policy", "its.policy", "--pins", "chains.pins", "-v")
        told = await asyncio.to_thread(offline.verify, *command, cwd=field.home)
        assert told.code == 0, told.err
        assert "logs by the node node.example, not later than" in told.out
        assert "(proven by the pinned root root)" in told.out
