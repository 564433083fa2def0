"""A planned change of the log's key in a whole installation: both logs are co-signed, and the change is proved."""

from pathlib import Path

import pytest
from fakes.field import fieldgate, ran
from fakes.restored import Restored


async def _key(gateway: Restored, *words: str, code: int = 0) -> str:
    """`fieldgate key`, on both streams."""
    done = await ran("key", *words, cwd=gateway.field.home)
    assert done.code == code, done
    return done.out + done.err


def _new_key(told: str) -> str:
    return next(line.split()[3] for line in told.splitlines() if line.startswith("new log key"))


@pytest.mark.nightly
async def test_a_rotation_is_prepared_made_and_proved_offline(tmp_path: Path) -> None:
    async with Restored(tmp_path).running() as gateway:
        home = gateway.field.home
        await gateway.life()
        old = next(vkey for vkey, _ in gateway.entries)
        vkey = _new_key(await _key(gateway, "rotate", "--prepare"))
        await gateway.enrol(vkey, "field2")
        told = await _key(gateway, "rotate")
        assert _new_key(told) == vkey
        assert "does not have all of it" not in told
        await gateway.life()
        await gateway.judge()

        closed = ("--config", str(gateway.data / "epoch-1" / "fieldgate.toml"))
        await fieldgate("policy", "--log", old, "-o", "both.policy", cwd=home)
        await fieldgate("receipt", "gateway", "--at", "now", "--policy", "both.policy", "-o", "last", *closed, cwd=home)
        await fieldgate("receipt", "gateway", "--first", "--policy", "both.policy", "-o", "first", cwd=home)
        verify = ("verify", "first", "--successor-of", "last", "--policy", "both.policy")
        proved = await fieldgate(*verify, "-v", cwd=home)
        assert "8. the succession" in proved
        assert f"old log         {old}" in proved
        assert f"new log         {vkey}" in proved
        await fieldgate("policy", "-o", "old.policy", *closed, cwd=home)
        await fieldgate("receipt", "climate", "--at", "now", "--policy", "old.policy", "-o", "old", *closed, cwd=home)
        assert "verified" in await fieldgate("verify", "old", "--policy", "old.policy", cwd=home)


@pytest.mark.nightly
async def test_a_closed_log_waits_for_its_nodes_while_readings_are_journaled(tmp_path: Path) -> None:
    async with Restored(tmp_path).running() as gateway:
        await gateway.life()
        await gateway.field.node.end()
        told = await _key(gateway, "rotate", code=4)
        assert "node does not have all of it" in told
        assert "the log is closed" in await gateway.recover(code=4)
        await gateway.field.node.start()
        state = await gateway.life(held="the log is closed")
        assert "fieldgate key rotate" in state["chain"]["held"]
        told = await _key(gateway, "rotate")
        assert "does not have all of it" not in told
        await gateway.life(node=False)
        told_again = await _key(gateway, "rotate", code=1)
        assert "has not seen the log field.example/2 yet" in told_again, "no second rotation by mistake"
        await gateway.enrol(_new_key(told), "field2")
        await gateway.life()
        await gateway.judge()
