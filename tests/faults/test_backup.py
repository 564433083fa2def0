"""Backups of stores that are written to, and what becomes of them: a prefix of the chain that verifies, no height
signed twice, nothing half in place whatever ends the command."""

import asyncio
import io
import json
import random
import shutil
import stat
import sys
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fakes import calls, one_thread
from fakes.calls import Fault, Traced
from fakes.command import fieldgate as run
from fakes.command import within
from fakes.damaged import make as fill
from fakes.damaged import read
from fakes.field import fieldgate
from fakes.gateway_store import ORIGIN, Pipeline, check_chain, pipeline, sample
from fakes.restored import Restored, new_key
from fakes.sweep import Program, Sweep
from fakes.telling import Tell

from gateway import backup, config, place, scrub
from gateway.backup import archive
from gateway.config import ConfigFile
from gateway.core import limits
from gateway.core.note import ED25519
from gateway.errors import (
    DamagedError,
    FieldgateError,
    FormatError,
    HeldError,
    InUseError,
    NoRoomError,
    Refused,
    StoreError,
)
from gateway.keys import encode_key
from gateway.place import Place
from gateway.store import DATABASE, MOVED, SIGN_STATE, Store, pruning, signstate
from gateway.store.copying import copy
from gateway.store.signstate import SignState

ONE_THREAD = (sys.executable, one_thread.__file__)
NOW_MS = 1_795_500_000_000
CONFIG = '[gateway]\nname = "henhouse-3.example.farm"\ndata_dir = "{0}/data"\nkey = "file:{0}/log.key"\n'
FILES = [ConfigFile(Path("/etc/x/fieldgate.toml"), b"[gateway]\n", 0o644, 0, 0)]


async def archived(data: Path, file: Path, *, move: bool = False) -> backup.Manifest:
    return await backup.make(data, FILES, file, NOW_MS, move=move)


# -- beside a gateway that runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [*range(4), *(pytest.param(turn, marks=pytest.mark.nightly) for turn in range(4, 60))])
async def test_a_backup_under_load_is_a_prefix_of_the_chain(tmp_path: Path, seed: int, turn: int) -> None:
    rng = random.Random(seed + turn)
    for name in ("data", "here", "there"):
        await asyncio.to_thread((tmp_path / name).mkdir)
    async with pipeline(tmp_path / "data", max_count=rng.randint(1, 6)) as gateway:
        running = asyncio.create_task(_load(gateway, rng))
        while gateway.store.blocks.size < 12:
            await asyncio.sleep(0.001)
        for number in range(3):
            acknowledged = await _newest(gateway)
            before = gateway.store.blocks.size
            reader = await Store.open(tmp_path / "data", read_only=True)
            copied = await copy(reader, tmp_path / f"{number}.db")
            await reader.close()
            assert before <= copied.size <= gateway.store.blocks.size
            await asyncio.to_thread(shutil.move, tmp_path / f"{number}.db", tmp_path / "here" / DATABASE)
            await _judge(gateway, tmp_path / "here", copied.size, copied.root, acknowledged)
            for path in (tmp_path / "here").iterdir():
                path.unlink()
        running.cancel()
        await asyncio.wait({running})


async def _load(gateway: Pipeline, rng: random.Random) -> None:
    number = 0
    while True:
        emitted = [sample(f"s-{n % 3}", number + n, payload=rng.randbytes(rng.choice((9, 5_000)))) for n in range(3)]
        number += len(emitted)
        gateway.clock.advance(1)
        await gateway.emit(emitted)
        if rng.random() < 0.2 and gateway.store.blocks.size > 8:
            await pruning.drop(gateway.store.db, 0, gateway.store.blocks.size - 4)


async def _newest(gateway: Pipeline) -> int:
    ((row,),) = await gateway.store.db.read("SELECT coalesce(max(row),0) FROM journal")
    return int(row)


async def _judge(gateway: Pipeline, folder: Path, size: int, root: bytes, acknowledged: int) -> None:
    """It verifies, its entries are the gateway's, and all that was acknowledged before it was begun is in it, but for
    what was sealed, sent and pruned meanwhile, up to somewhere within a block (store/copying.py).
    """
    store = await Store.open(folder, read_only=True)
    try:
        assert store.blocks.damage is None
        assert (store.blocks.size, store.blocks.frontier.root()) == (size, root)
        assert await store.blocks.entries(0, size) == await gateway.store.blocks.entries(0, size)
        ((row,),) = await store.db.read("SELECT coalesce(max(row),0) FROM journal")
        ((whole,),) = await gateway.store.db.read("SELECT coalesce(min(row),0) FROM journal WHERE secret IS NOT NULL")
        assert row >= acknowledged or acknowledged < whole
        pruned = [height for height in range(size) if (await store.blocks.block(height)).secret is None]  # type: ignore[union-attr]
        if not pruned:
            await check_chain(store)
    finally:
        await store.close()
    made = await Pipeline.open(folder)  # what a crash in the middle of pruning leaves is ended by the next start
    while (height := await pruning.half_gone(made.store.db)) is not None:
        if not await pruning.drop(made.store.db, height, height + 1):
            break
    await made.kill()


@pytest.mark.parametrize(
    "first", [0, 2, 35, 36, 37, *(pytest.param(n, marks=pytest.mark.nightly) for n in range(3, 35))]
)
async def test_all_is_pruned_behind_the_back_of_the_copy(
    tmp_path: Path, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From some read on, each finds that all of the log is sealed and pruned but its newest block."""
    monkeypatch.setattr(limits, "COPY_BYTES", 1)  # a row a page
    for name in ("data", "here"):
        await asyncio.to_thread((tmp_path / name).mkdir)
    async with pipeline(tmp_path / "data", max_count=5) as gateway:
        for number in range(33):
            await gateway.emit([sample(f"s-{number % 3}", number)])
        await gateway.sealed()
        reader = await Store.open(tmp_path / "data", read_only=True)
        read_, reads, size = reader.db.read, 0, reader.blocks.size

        async def pruning_read(*args: object) -> object:
            nonlocal reads
            reads += 1
            if reads > first:
                for number in range(7):
                    await gateway.emit([sample("s-1", reads * 10 + number)])
                await gateway.sealed()
                while await pruning.drop(gateway.store.db, 0, gateway.store.blocks.size):
                    pass
            return await read_(*args)  # type: ignore[arg-type]

        reader.db.read = pruning_read  # type: ignore[method-assign, assignment]
        copied = await copy(reader, tmp_path / "here" / DATABASE)
        await reader.close()
        assert copied.size == size
        report = scrub.Report()
        store = await Store.open(tmp_path / "here", read_only=True)
        async for _ in scrub.Walk(store, report).blocks():
            pass
        waiting = await store.db.read("SELECT height,max(secret) FROM journal WHERE height>=? GROUP BY height", (size,))
        await store.close()
        assert report.bad == []
        assert all(secret for _, secret in waiting), "what is to be sealed has its secret"
        assert report.blocks == size
    again = await Pipeline.open(tmp_path / "here")
    again.start()
    await again.emit([sample("s-0", 1.0)])
    await again.kill()


async def test_the_write_ahead_log_is_folded_while_a_backup_is_made(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    async with pipeline(tmp_path / "data") as gateway:
        for number in range(60):
            await gateway.emit([sample("s-0", number, payload=bytes(5_000))])
        folded = []
        reader = await Store.open(tmp_path / "data", read_only=True)
        put = reader.db.read

        async def reads(*args: object) -> object:
            found = await put(*args)  # type: ignore[arg-type]
            folded.append(await gateway.store.db.fold())
            return found

        reader.db.read = reads  # type: ignore[method-assign, assignment]
        await copy(reader, tmp_path / "copy.db")
        await reader.close()
        assert len(folded) > 1
        assert all(folded)


# -- an archive -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store with sealed blocks, and readings in none."""
    folder = tmp_path_factory.mktemp("backup") / "good"
    folder.mkdir()
    asyncio.run(fill(folder))
    return folder


@pytest.fixture
def data(tmp_path: Path, good: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "data"))


async def test_what_is_in_it_and_what_is_not(data: Path, tmp_path: Path) -> None:
    manifest = await archived(data, tmp_path / "b")
    with tarfile.open(tmp_path / "b") as tar:
        names = tar.getnames()
        told = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
        for name, digest in told["files"].items():
            assert sha256(tar.extractfile(name).read()).hexdigest() == digest  # type: ignore[union-attr]
    assert names == ["manifest.json", "config/fieldgate.toml", DATABASE]
    assert (told["origin"], told["size"], told["moved"]) == (ORIGIN, manifest.size, None)
    assert b"PRIVATE+KEY" not in (tmp_path / "b").read_bytes()
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"data", "b"}


async def test_a_name_and_a_size_that_the_oldest_tar_has_no_field_for(data: Path, tmp_path: Path) -> None:
    more = [*FILES, ConfigFile(Path(f"/etc/x/fieldgate.d/{'n' * 180}.toml"), b"[seal]\n", 0o644, 0, 0)]
    manifest = await backup.make(data, more, tmp_path / "b", NOW_MS)
    found = await asyncio.to_thread(backup.read_config, tmp_path / "b")
    assert [one.data for one in found] == [one.data for one in more]
    with (tmp_path / "large.db").open("wb") as large:
        large.truncate(9 << 30)
    with pytest.raises(_EnoughError):
        await asyncio.to_thread(archive.write, _Bounded(), manifest, [], tmp_path / "large.db")


class _EnoughError(Exception):
    """What is of interest is written."""


class _Bounded(io.BytesIO):
    """For the beginning of an archive."""

    def write(self, data: Any, /) -> int:
        if self.tell() > 1 << 20:
            raise _EnoughError
        return super().write(data)


async def test_it_is_put_in_place_and_signs_nothing(data: Path, tmp_path: Path, good: Path) -> None:
    await archived(data, tmp_path / "b")
    (tmp_path / "new").mkdir()
    placed = await backup.place(tmp_path / "b", tmp_path / "new", ORIGIN)
    assert placed.pruned == 0
    assert await read(tmp_path / "new") == await read(good)
    assert not (tmp_path / "new" / SIGN_STATE).exists()
    made = await Pipeline.open(tmp_path / "new")
    held = await made.recover()
    assert held is not None
    assert "the sign-state is missing" in held.what
    await made.kill()
    with pytest.raises(Refused, match="nothing is overwritten"):
        await backup.place(tmp_path / "b", tmp_path / "new", ORIGIN)


@pytest.mark.parametrize("seed_", [*range(12), *(pytest.param(n, marks=pytest.mark.nightly) for n in range(12, 300))])
async def test_a_changed_archive_is_refused_and_leaves_nothing(
    data: Path, tmp_path: Path, good: Path, seed_: int
) -> None:
    rng = random.Random(seed_)
    await archived(data, tmp_path / "b", move=seed_ % 2 == 1)
    spoilt = bytearray((tmp_path / "b").read_bytes())
    whole = len(spoilt) - 10_240  # behind it are the zeros that fill the last block of a tar
    at = rng.randrange(rng.choice((2_048, whole)))
    spoilt[at] ^= 1 << rng.randrange(8)
    cut = spoilt[: rng.randrange(len(spoilt))] if seed_ % 4 == 0 else spoilt
    (tmp_path / "b").write_bytes(cut)
    (tmp_path / "new").mkdir()
    try:
        await backup.place(tmp_path / "b", tmp_path / "new", ORIGIN)
    except FieldgateError as error:
        assert isinstance(error, Refused), error
        assert not (tmp_path / "new" / DATABASE).exists()
    else:  # a head's field that tells nothing of the contents, such as its time
        assert await read(tmp_path / "new") == await read(good)
        found = await signstate.handed_over(tmp_path / "new" / SIGN_STATE)
        known = await signstate.handed_over(good / SIGN_STATE)
        assert known is not None
        assert (found is None) == (seed_ % 2 == 0)
        assert found is None or found[:2] == known[:2]


@pytest.mark.parametrize("name", [DATABASE, SIGN_STATE])
@pytest.mark.parametrize("tail", ["", "-wal", "-shm"])
async def test_nothing_of_another_store_is_left_beside_it(data: Path, tmp_path: Path, name: str, tail: str) -> None:
    """SQLite would take a write-ahead log for that of the new file, verified or not."""
    await archived(data, tmp_path / "b")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / f"{name}{tail}").touch()
    with pytest.raises(Refused, match=f"{name}{tail}: there is a log here already"):
        await backup.place(tmp_path / "b", tmp_path / "new", ORIGIN)


async def test_of_another_log_or_a_newer_version(data: Path, tmp_path: Path) -> None:
    await archived(data, tmp_path / "b")
    (tmp_path / "new").mkdir()
    with pytest.raises(Refused, match=r"is of the log henhouse"):
        await backup.place(tmp_path / "b", tmp_path / "new", "other.example/1")
    _rewritten(tmp_path / "b", schema=99)
    with pytest.raises(Refused, match="a newer version made it"):
        await backup.place(tmp_path / "b", tmp_path / "new", ORIGIN)
    _rewritten(tmp_path / "b", schema=3, size=4)
    with pytest.raises(FormatError, match="is not what its manifest says"):
        await backup.place(tmp_path / "b", tmp_path / "new", ORIGIN)
    (tmp_path / "b").write_bytes(b"no tar")
    with pytest.raises(FormatError, match="no backup"):
        await backup.place(tmp_path / "b", tmp_path / "new", ORIGIN)


def _rewritten(file: Path, **changes: object) -> None:
    with tarfile.open(file) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]
    told = {**json.loads(members[0][1]), **changes}
    with tarfile.open(file, "w") as tar:
        for info, content in [(members[0][0], json.dumps(told).encode()), *members[1:]]:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


async def test_a_damaged_store_is_not_backed_up(data: Path, tmp_path: Path) -> None:
    spoilt = bytearray((data / DATABASE).read_bytes())
    for page in range(4, len(spoilt) // 1024):
        spoilt[page * 1024 : page * 1024 + 64] = bytes(64)
    (data / DATABASE).write_bytes(spoilt)
    with pytest.raises(DamagedError):
        await archived(data, tmp_path / "b")


async def test_no_room(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 4096))  # type: ignore[attr-defined]
    with pytest.raises(NoRoomError, match="another disk"):
        await archived(data, tmp_path / "b")


async def test_no_folder_to_write_to(data: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere: no backup can be written.* No such file"):
        await archived(data, tmp_path / "nowhere" / "b")


async def test_two_at_once_to_one_file(data: Path, tmp_path: Path) -> None:
    """The second is refused and spoils nothing; what a killed one left is in nobody's way."""
    (tmp_path / ".b.making").mkdir()
    for left in (DATABASE, "archive"):
        (tmp_path / ".b.making" / left).write_bytes(b"half a copy")
    both = await asyncio.gather(*(archived(data, tmp_path / "b") for _ in range(2)), return_exceptions=True)
    refused, made = sorted(both, key=lambda one: isinstance(one, backup.Manifest))
    assert isinstance(refused, InUseError), refused
    assert isinstance(made, backup.Manifest), made
    (tmp_path / "new").mkdir()
    await backup.place(tmp_path / "b", tmp_path / "new", ORIGIN)


# -- a move -----------------------------------------------------------------------------------------------------------


async def test_a_move_goes_on_there_and_never_here(data: Path, tmp_path: Path, good: Path) -> None:
    manifest = await archived(data, tmp_path / "b", move=True)
    assert manifest.moved is not None
    with pytest.raises(Refused, match="handed over to another place"):
        await Store.open(data)
    again = await archived(data, tmp_path / "again", move=True)  # a lost archive is written anew
    assert again.moved == manifest.moved
    (tmp_path / "new").mkdir()
    await backup.place(tmp_path / "b", tmp_path / "new", ORIGIN)
    there, here = [await signstate.handed_over(path / SIGN_STATE) for path in (tmp_path / "new", good)]
    assert there is not None
    assert here is not None
    assert there[:2] == here[:2]
    state = await SignState.inspect(tmp_path / "new" / SIGN_STATE, manifest.vkey)
    await state.settle(place.UNKNOWN)  # as `recover.settle` does, once the nodes were asked
    await state.close()
    made = await Pipeline.open(tmp_path / "new")
    assert await made.recover() is None
    made.start()
    await made.age()
    assert made.store.blocks.size > manifest.size
    await made.stop()


async def test_what_is_not_settled_signs_nothing_even_where_it_came_from(data: Path, tmp_path: Path) -> None:
    """A kill, or a node that knows better, before anybody was asked: the place alone must not let it go on."""
    manifest = await archived(data, tmp_path / "b", move=True)
    assert manifest.moved is not None
    (tmp_path / "new").mkdir()
    await backup.place(tmp_path / "b", tmp_path / "new", ORIGIN)
    path, came_from = tmp_path / "new" / SIGN_STATE, Place("0" * 32, manifest.moved.filesystem)
    assert "the machine is another" in await _held(path, manifest.vkey, came_from)
    state = await SignState.inspect(path, manifest.vkey)
    await state.settle(came_from)
    await state.close()
    assert await _held(path, manifest.vkey, came_from) == ""


async def _held(path: Path, vkey: str, here: Place) -> str:
    """Why nothing is signed here."""
    try:
        state = await SignState.open(path, vkey, here)
    except HeldError as error:
        return error.what
    await state.close()
    return ""


async def test_a_log_that_does_not_stand_still_is_not_handed_over(data: Path, tmp_path: Path) -> None:
    made = await Pipeline.open(data)
    await made.recover()
    assert made.state is not None
    await made.state.swap(made.store.blocks.size, b"\xa0")
    await made.kill()
    with pytest.raises(HeldError, match="not at the same block"):
        await archived(data, tmp_path / "b", move=True)
    assert not (data / MOVED).exists()


@pytest.mark.may_block
def test_logs_of_earlier_epochs_are_named_because_they_are_not_in_it(tmp_path: Path, good: Path) -> None:
    _home(good)(tmp_path)
    words = ("--config", _config(tmp_path))
    assert "epoch" not in within("backup", tmp_path / "stick" / "b", *words, cwd=tmp_path).err
    (tmp_path / "data" / "epoch-1").mkdir()
    done = within("backup", "--move", tmp_path / "stick" / "c", *words, cwd=tmp_path)
    assert done.code == 0
    assert "copy epoch-1 of" in done.err


# -- killed -----------------------------------------------------------------------------------------------------------


def _home(good: Path) -> Callable[[Path], None]:
    def build(home: Path) -> None:
        shutil.copytree(good, home / "data")
        for name in ("stick", "new"):
            (home / name).mkdir()
        seed_of = sha256(b"gateway_store " + ORIGIN.encode()).digest()
        (home / "log.key").write_text(encode_key(ORIGIN, ED25519, seed_of))
        (home / "log.key").chmod(0o600)

    return build


def _config(home: Path) -> Path:
    path = home / "fieldgate.toml"
    path.write_text(CONFIG.format(home))
    return path


def _backup_program(good: Path) -> Program:
    def words(home: Path) -> list[str | Path]:
        return [*ONE_THREAD, "backup", home / "stick" / "b", "--config", _config(home)]

    def after(home: Path, traced: Traced) -> list[str]:
        """The file is whole or not there, and the command may be given again."""
        wrong = []
        if (home / "stick" / "b").exists():
            asyncio.run(backup.place(home / "stick" / "b", home / "new", ORIGIN))
            shutil.rmtree(home / "new")
            (home / "new").mkdir()
        done = within("backup", home / "stick" / "b", "--config", _config(home), cwd=home)
        if done.code:
            wrong.append(done.err)
        wrong += [f"{path.name} is left" for path in (home / "stick").iterdir() if path.name != "b"]
        asyncio.run(backup.place(home / "stick" / "b", home / "new", ORIGIN))
        return wrong

    return Program(_home(good), words, "stick", after)


def _move_program(good: Path) -> Program:
    def words(home: Path) -> list[str | Path]:
        return [*ONE_THREAD, "backup", "--move", home / "stick" / "b", "--config", _config(home)]

    def after(home: Path, traced: Traced) -> list[str]:
        """Where there is a file the log is closed here, and it can be made again; the head is at one place."""
        closed = (home / "data" / MOVED).exists()
        wrong = [] if closed or not (home / "stick" / "b").exists() else ["handed over and not closed"]
        done = within("backup", "--move", home / "stick" / "b", "--config", _config(home), cwd=home)
        if done.code:
            wrong.append(done.err)
        wrong += [f"{path.name} is left" for path in (home / "stick").iterdir() if path.name != "b"]
        asyncio.run(backup.place(home / "stick" / "b", home / "new", ORIGIN))
        if not (home / "data" / MOVED).exists():
            wrong.append("not closed")
        return wrong

    return Program(_home(good), words, "", after)


def _restore_program(good: Path) -> Program:
    def build(home: Path) -> None:
        _home(good)(home)
        done = within("backup", "--move", home / "b", "--config", _config(home), cwd=home)
        assert done.code == 0, done.err
        shutil.rmtree(home / "data")

    def words(home: Path) -> list[str | Path]:
        return [*ONE_THREAD, "restore", home / "b", "--config", _config(home)]

    def after(home: Path, traced: Traced) -> list[str]:
        """Given again it says that all is in place, or puts it there; the log goes on."""
        done = within("restore", home / "b", "--config", _config(home), cwd=home)
        wrong = [] if done.code == 0 or "nothing is overwritten" in done.err else [done.err]
        done = within("recover", "--only-copy", "--config", _config(home), cwd=home)
        if done.code:
            wrong.append(done.out + done.err)
        if asyncio.run(read(home / "data")) != asyncio.run(read(good)):
            wrong.append("something else is stored")
        return wrong

    return Program(build, words, "data", after)


def _promise(fault: Fault, name: str, traced: Traced) -> list[str]:
    """Whoever was not killed ended well, or with one clear line."""
    lines = traced.words.splitlines()
    if fault.what == calls.KILL or traced.code == 0:
        return []
    clear = traced.code in (1, 3, 4) and bool(lines) and lines[-1].startswith("fieldgate: ") and len(lines) == 1
    return [] if clear else [f"exit {traced.code}: {lines}"]


def _named(sweep: Sweep) -> list[calls.Call]:
    """The calls on store and archive."""
    return [call for call in sweep.calls if {"data", "stick"} & set(Path(call.path).parts)]


PROGRAMS = [_backup_program, _move_program, _restore_program]


@pytest.mark.nightly
@pytest.mark.may_block
@pytest.mark.parametrize("program", [_restore_program, pytest.param(_move_program, marks=pytest.mark.nightly)])
def test_killed_at_some_calls(tmp_path: Path, good: Path, program: Callable[[Path], Program], tell: Tell) -> None:
    calls.need_ptrace()
    sweep = Sweep(tmp_path, program(good))
    named = [call for call in _named(sweep) if call.name in ("rename", "fsync")]
    wrong = sweep.run([Fault(call, calls.KILL) for call in named[:: max(len(named) // 2, 1)]], _promise)
    tell(sweep.told())
    assert wrong == []


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
@pytest.mark.may_block
@pytest.mark.parametrize("program", PROGRAMS)
def test_killed_at_every_call(tmp_path: Path, good: Path, program: Callable[[Path], Program], tell: Tell) -> None:
    calls.need_ptrace()
    sweep = Sweep(tmp_path, program(good))
    named = _named(sweep)
    wrong = sweep.run([Fault(call, calls.KILL) for call in sweep.kills(named)], _promise)
    once = {(call.name, call.path): call for call in reversed(named)}.values()
    wrong += sweep.run([Fault(call, what) for call in once for what in ("EIO", "ENOSPC")], _promise)
    tell(sweep.told())
    assert wrong == []


# -- whole gateways ---------------------------------------------------------------------------------------------------


async def test_a_failed_card_with_a_backup_and_a_node(tmp_path: Path) -> None:
    """Blocks since the backup come from the node, and a new epoch begins; no height is signed twice."""
    async with Restored(tmp_path).running() as gateway:
        await gateway.life()
        await gateway.field.gateway.start()
        await gateway.field.up()
        await gateway.publish(5)
        await fieldgate("backup", str(tmp_path / "b"), cwd=gateway.field.home)
        assert await gateway.field.gateway.end() == 0
        gateway.look()
        await gateway.life()
        shown = max(height for _, height in gateway.entries) + 1
        shutil.rmtree(gateway.data)
        told = await fieldgate("restore", str(tmp_path / "b"), cwd=gateway.field.home)
        assert "--new-epoch" in told
        held = await gateway.life(held="the sign-state is missing")  # readings are taken meanwhile
        assert held["sources"]["climate"]["stored"] >= 4
        told = await gateway.recover("--from", "node", "--new-epoch")
        await gateway.enrol(new_key(told), "field2")
        await gateway.life()
        await gateway.judge()
        assert len({height for vkey, height in gateway.entries if vkey.startswith("field.example/1")}) == shown


@pytest.mark.nightly
async def test_new_hardware_with_the_old_card_at_hand(tmp_path: Path) -> None:
    async with Restored(tmp_path).running() as gateway:
        await gateway.life()
        old = gateway.data
        file = str(tmp_path / "b")
        await fieldgate("backup", "--move", file, cwd=gateway.field.home)
        await gateway.field.gateway.start()
        assert await gateway.field.gateway.gone() == 1
        assert "handed over to another place" in gateway.field.gateway.words().splitlines()[-1]
        gateway.move(tmp_path / "new-card")
        told = await fieldgate("restore", file, cwd=gateway.field.home)
        assert "Node node has seen nothing of this log that is not here" in told
        await gateway.life()
        await gateway.judge()
        gateway.move(old)
        assert "another copy goes on" in await gateway.recover("--only-copy", code=4)  # the move is not off
        gateway.move(tmp_path / "second-card")
        done = await asyncio.to_thread(run, "restore", file, cwd=gateway.field.home)
        assert done.code == 4  # a backup that is restored twice is a clone: the node knows better
        assert "another copy goes on" in done.err
        await gateway.life(held=" is another")


@pytest.mark.nightly
async def test_a_move_that_is_off(tmp_path: Path) -> None:
    async with Restored(tmp_path).running() as gateway:
        await gateway.life()
        await fieldgate("backup", "--move", str(tmp_path / "b"), cwd=gateway.field.home)
        assert "handed over" in await gateway.recover(code=4)
        assert "goes on in this place" in await gateway.recover("--only-copy")
        await gateway.life()
        await gateway.judge()


def test_the_configuration_comes_along(tmp_path: Path, good: Path) -> None:
    home = tmp_path / "old"
    home.mkdir()
    _home(good)(home)
    (home / "fieldgate.d").mkdir()
    (home / "fieldgate.d" / "10-more.toml").write_text("[seal]\nmax_age_s = 7\n")
    assert within("backup", home / "b", "--config", _config(home), cwd=home).code == 0
    shutil.rmtree(home / "data")
    etc = tmp_path / "etc"
    etc.mkdir()
    done = within("restore", home / "b", "--config", etc / "fieldgate.toml", cwd=tmp_path)
    assert done.code == 0, done.err
    settings = config.load(etc / "fieldgate.toml")
    assert (settings.origin, settings.seal.max_age_s) == (ORIGIN, 7)
    assert (home / "data" / DATABASE).exists()
    assert "put the keys where it names them" in done.out
