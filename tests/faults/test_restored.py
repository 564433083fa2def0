"""Files that were put back from a copy, lost or taken from elsewhere, under whole gateways: never two headers for a
height, readings are still journaled and acknowledged, and the command that the message names mends it."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.card import Card, need_loop_devices
from fakes.field import fieldgate
from fakes.restored import Restored, new_key

from gateway.core import senml
from gateway.core.note import parse_checkpoint, parse_note
from gateway.store import DATABASE, SIGN_STATE, Store


async def test_an_older_store_with_the_newer_sign_state_gets_its_blocks_back_from_the_node(tmp_path: Path) -> None:
    async with Restored(tmp_path).running() as gateway:
        await gateway.life()
        kept = gateway.copy(DATABASE)
        await gateway.life()
        gateway.put_back(kept)
        state = await gateway.life(held="the sign-state has signed")
        assert "fieldgate recover" in state["chain"]["held"]
        assert "--from NODE" in await gateway.recover(code=4)
        assert "Nothing is wrong" in await gateway.recover("--from", "node")
        await gateway.life()
        await gateway.judge()
        size, stored = await gateway.field.node_progress()
        assert size == stored


def _older(gateway: Restored, kept: Path) -> None:
    gateway.put_back(kept)


def _missing(gateway: Restored, kept: Path) -> None:
    gateway.lose(SIGN_STATE)


def _damaged(gateway: Restored, kept: Path) -> None:
    gateway.lose(SIGN_STATE)
    (gateway.data / SIGN_STATE).write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 30)


def _of_another_log(gateway: Restored, kept: Path) -> None:
    gateway.lose(SIGN_STATE)
    shutil.copy2(gateway.folder / "other" / "data" / SIGN_STATE, gateway.data / SIGN_STATE)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_older, "the sign-state has signed"),
        (_missing, "the sign-state is missing"),
        pytest.param(_damaged, "the sign-state ", marks=pytest.mark.nightly),
        pytest.param(_of_another_log, "the sign-state is of another log", marks=pytest.mark.nightly),
    ],
)
async def test_a_sign_state_that_cannot_be_trusted_ends_the_epoch(
    tmp_path: Path, spoil: Callable[[Restored, Path], None], why: str
) -> None:
    async with Restored(tmp_path).running() as gateway:
        (tmp_path / "other").mkdir()
        await fieldgate("init", "--name", "other.example", cwd=tmp_path / "other")
        await gateway.life()
        kept = gateway.copy(SIGN_STATE)
        await gateway.life()
        shown = max(height for _, height in gateway.entries) + 1
        await asyncio.to_thread(spoil, gateway, kept)
        state = await gateway.life(held=why)
        assert "fieldgate recover" in state["chain"]["held"]
        assert "--new-epoch" in await gateway.recover(code=4)
        told = await gateway.recover("--new-epoch")
        await gateway.enrol(new_key(told), "field2")
        await gateway.life()
        await gateway.judge()
        await _check_succession(gateway, shown)
        text = (gateway.field.home / "fieldgate.toml").read_text()
        assert "epoch = 2" in text
        assert "# An upstream node" in text  # comments stay
        assert (gateway.field.home / "fieldgate.toml.epoch-1").exists()


async def _check_succession(gateway: Restored, shown: int) -> None:
    """Leaf 0 cites the newest checkpoint, and a receipt of the old epoch can be made and verified."""
    store = await Store.open(gateway.data, read_only=True)
    try:
        first = senml.resolve((await anext(store.blocks.items(0)))[0])
    finally:
        await store.close()
    said = {record.name: record.value for record in first.records}
    assert (first.source, said["event"]) == ("gateway", "successor-of")
    checkpoint = parse_checkpoint(parse_note(str(said["checkpoint"])).text)
    assert (checkpoint.origin, checkpoint.size) == ("field.example/1", shown)
    old = ("--config", str(gateway.data / "epoch-1" / "fieldgate.toml"))
    home = gateway.field.home
    await fieldgate("policy", "-o", "old.policy", *old, cwd=home)
    await fieldgate("receipt", "climate", "--at", "now", "--policy", "old.policy", "-o", "old.proof", *old, cwd=home)
    assert "verified" in await fieldgate("verify", "old.proof", "--policy", "old.policy", cwd=home)
    assert "climate" in await fieldgate("export", "climate", *old, cwd=home)


async def test_a_dead_card_goes_on_in_a_new_epoch_with_the_old_log_from_the_node(tmp_path: Path) -> None:
    async with Restored(tmp_path).running() as gateway:
        await gateway.life()
        await gateway.life()
        shown = max(height for _, height in gateway.entries) + 1
        shutil.rmtree(gateway.data)
        told = await gateway.recover("--from", "node", "--new-epoch")
        await gateway.enrol(new_key(told), "field2")
        await gateway.life()
        await gateway.judge()
        await _check_succession(gateway, shown)
        assert len({height for vkey, height in gateway.entries if vkey.startswith("field.example/1")}) == shown


async def test_recover_refuses_beside_a_running_gateway_and_finds_nothing_wrong_with_a_stopped_one(
    tmp_path: Path,
) -> None:
    async with Restored(tmp_path).running() as gateway:
        await gateway.field.gateway.start()
        await gateway.field.up()
        for options in ((), ("--new-epoch",), ("--from", "node"), ("--only-copy",), ("--drop-damaged",)):
            assert "another gateway runs" in await gateway.recover(*options, code=3)
        assert await gateway.field.gateway.end() == 0
        assert "Nothing is wrong" in await gateway.recover()
        assert not (gateway.data / ".recover").exists()
        await gateway.life()
        await gateway.judge()


async def test_a_card_that_was_copied_signs_nothing_until_a_person_says_that_it_is_the_only_one(tmp_path: Path) -> None:
    with Card(tmp_path / "one", "ext4", mib=300) as one, Card(tmp_path / "two", "ext4", mib=300) as two:
        async with Restored(tmp_path, data=one.folder / "d").running() as gateway:
            await gateway.life()
            await asyncio.to_thread(shutil.copytree, one.folder / "d", two.folder / "d", ignore=_sockets)
            gateway.move(two.folder / "d")
            state = await gateway.life(held="the file system is another")
            assert "fieldgate recover --only-copy" in state["chain"]["held"]
            assert "--only-copy" in await gateway.recover(code=4)
            told = await gateway.recover("--only-copy")
            assert "Node node has seen nothing of this log that is not here" in told
            await gateway.life()
            await gateway.judge()
            gateway.move(one.folder / "d")  # a clone by now, and its node knows more than it does
            assert "another copy goes on" in await gateway.recover("--only-copy", code=4)


async def test_another_machine_signs_nothing_until_a_person_says_so(tmp_path: Path) -> None:
    need_loop_devices()
    (tmp_path / "id").write_text("0123456789abcdef" * 2 + "\n")
    async with Restored(tmp_path).running() as gateway:
        await gateway.life()
        own = gateway.field.gateway.command
        bind = f'mount --bind {tmp_path / "id"} /etc/machine-id && exec "$@"'
        gateway.field.gateway.command = ("unshare", "--mount", "sh", "-c", bind, "sh", *own)
        state = await gateway.life(held="the machine is another")
        assert "fieldgate recover --only-copy" in state["chain"]["held"]
        await gateway.field.node.end()
        told = await gateway.recover("--only-copy", under=gateway.field.gateway.command[:6])
        assert "Node node could not be asked" in told
        await gateway.field.node.start()
        await gateway.life()
        gateway.field.gateway.command = own
        await gateway.life(held="the machine is another")
        await gateway.recover("--only-copy")
        await gateway.life()
        await gateway.judge()


def _sockets(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name.endswith(".sock")}
