"""A gateway, a node and a public witness: receipts whose policy wants the witness, through deaths of either."""

import asyncio
import signal
from pathlib import Path

import pytest
from fakes.aics import AicsWitness, installed
from fakes.field import Field, fieldgate

SOURCES = """
[seal]
max_age_s = 0.5
[source.box]
driver = "system"
every_s = 1
[witness.public]
url = "{url}"
vkey = "{vkey}"
every_s = 1
"""


async def _signed(field: Field, size: int) -> int:
    """The size that the witness has signed, when that is `size` or more and the gateway says that all is well."""
    async with asyncio.timeout(60):
        while True:
            status = await field.status()
            witness = status["witnesses"]["public"]
            if witness["ok"] and witness["seen"] >= size and status["nodes"]["node"]["seen"] >= size:
                return int(witness["seen"])


async def _condition(field: Field, name: str) -> None:
    async with asyncio.timeout(60):
        while name not in [one["condition"] for one in (await field.status())["problems"]]:
            pass


async def _proved(field: Field, policy: str) -> str:
    """What `verify` says of the newest receipt that meets the policy."""
    receipt = ("receipt", "box", "--at", "now", "--policy", policy, "-o", "box.tlog-proof")
    async with asyncio.timeout(60):
        while True:
            try:
                await fieldgate(*receipt, cwd=field.home)
                break
            except AssertionError:  # not yet
                await asyncio.sleep(0.2)
    return await fieldgate("verify", "box.tlog-proof", "--policy", policy, "-v", cwd=field.home)


@pytest.mark.nightly
@pytest.mark.timeout(240)
async def test_receipts_that_want_the_witness_verify_offline_whoever_dies(tmp_path: Path) -> None:
    packages = await asyncio.to_thread(installed, tmp_path / "packages")
    witness = await asyncio.to_thread(AicsWitness, tmp_path / "witness", packages)
    field = Field(tmp_path, SOURCES.format(url=witness.url, vkey=witness.vkey))
    await field.make()
    log = next(line.split()[1] for line in (await fieldgate("policy", cwd=field.home)).splitlines() if "log " in line)
    await asyncio.to_thread(witness.enrol, log)
    lines = [f"log {log}", f"witness public {witness.vkey}", "quorum public"]
    (field.home / "witness.policy").write_text("".join(f"{line}\n" for line in lines))
    await fieldgate("policy", "--quorum", "all", "-o", "both.policy", cwd=field.home)
    await witness.start()
    try:
        async with field.started():
            size = await _signed(field, 2)
            assert "co-signed by public)" in await _proved(field, "witness.policy")
            assert await _proved(field, "both.policy")

            await witness.end(signal.SIGKILL)
            await _condition(field, "witness-away")
            await field.gateway.end(signal.SIGKILL)
            await field.gateway.start()
            await _condition(field, "witness-away")
            await witness.start()
            await fieldgate("sync", "now", cwd=field.home)
            size = await _signed(field, size + 2)
            await _proved(field, "both.policy")
            assert not [one for one in (await field.status())["problems"] if one["condition"].startswith("witness-")]

            assert await field.gateway.end() == 0
            await field.gateway.start()
            await _signed(field, size + 2)
            await _proved(field, "witness.policy")
            assert await field.gateway.end() == 0
        stored = await fieldgate("verify", "--store", str(field.data), cwd=field.home)
        assert stored
    finally:
        if witness.running:
            await witness.end(signal.SIGKILL)
