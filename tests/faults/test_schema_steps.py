"""Forward over a real schema step, back, and forward again: nothing that was acknowledged is missing, and no height
gets a second header, whatever the step and the way back are killed at.

The next version is this one with one more step for store and sign-state (fakes/next_version.py), in processes of its
own.
"""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from fakes import calls, next_version, one_thread
from fakes.calls import Fault, Traced
from fakes.command import within
from fakes.damaged import make, read
from fakes.field import fieldgate
from fakes.gateway_store import Pipeline, sample, signer
from fakes.restored import Restored
from fakes.sweep import Program, Sweep
from fakes.telling import Tell

from gateway import recover
from gateway import store as stores
from gateway.errors import HeldError, NoRoomError, Refused, StoreError
from gateway.store import DATABASE, SIGN_STATE, Store, create_database, signstate, snapshot
from gateway.store.database import Database, Schema, create_file
from gateway.store.signstate import SignState

NEXT = (sys.executable, next_version.__file__)
SNAPSHOT = f"{DATABASE}.schema-{len(stores.SCHEMA.steps)}"
ONE_THREAD = (sys.executable, one_thread.__file__)
NOW_MS = 1_795_500_000_000
CONFIG = '[gateway]\nname = "henhouse-3.example.farm"\ndata_dir = "{0}/data"\nkey = "file:{0}/log.key"\n'


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as con:
        return int(con.execute("PRAGMA user_version").fetchone()[0])


def step_up(folder: Path, which: str = "store,state") -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (Path(__file__).parents[2], Path(__file__).parents[1])))
    return subprocess.run(
        [*NEXT, which, "open", str(folder)], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


_NIGHTLY = pytest.mark.nightly
_WAYS = [("store,state", 1), pytest.param("store,state", 3, marks=_NIGHTLY), pytest.param("state", 2, marks=_NIGHTLY)]


@pytest.mark.parametrize(("which", "times"), _WAYS)
async def test_forward_back_and_forward_again_with_broker_and_node(tmp_path: Path, which: str, times: int) -> None:
    async with Restored(tmp_path).running() as gateway:
        own = gateway.field.gateway.command
        gateway.field.gateway.env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        await gateway.life()
        for _ in range(times):
            gateway.field.gateway.command = (*NEXT, which, "run")
            await gateway.life()
            await _killed_life(gateway)
            await _refused(gateway, own)
            told = await fieldgate("restore", "--snapshot", cwd=gateway.field.home)
            assert "Start the gateway again" in told
            gateway.field.gateway.command = own
            await gateway.life()
        await gateway.judge()
        assert len(list(gateway.data.glob("newer-*"))) == times
        assert len(list(gateway.data.glob(f"{DATABASE}.schema-*"))) == ("store" in which)


async def _killed_life(gateway: Restored) -> None:
    """Readings are acknowledged, and then there is no ordered stop: some of them are in no block."""
    await gateway.field.gateway.start()
    await gateway.field.up()
    await gateway.publish(6)
    assert await gateway.field.gateway.end(9) == -9


async def _refused(gateway: Restored, own: tuple[str, ...]) -> None:
    """The version before says what goes back, and changes nothing."""
    gateway.field.gateway.command = own
    await gateway.field.gateway.start()
    assert await gateway.field.gateway.gone() == 4
    last = gateway.field.gateway.words().splitlines()[-1]
    assert "was written by a newer version" in last
    assert "`fieldgate restore --snapshot`" in last


# -- the step ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store with sealed blocks, and readings in none."""
    folder = tmp_path_factory.mktemp("steps") / "good"
    folder.mkdir()
    asyncio.run(make(folder))
    return folder


@pytest.fixture
def data(tmp_path: Path, good: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "data"))


async def test_a_snapshot_is_made_before_a_step_and_at_no_other_time(data: Path, good: Path) -> None:
    await (await Store.open(data)).close()
    assert not (data / SNAPSHOT).exists()
    for _ in range(2):
        assert step_up(data).returncode == 0
        assert [path.name for path in data.glob("fieldgate.db.*")] == [SNAPSHOT]
    assert not list(data.glob(f"{SIGN_STATE}.*"))  # of which there is no copy, ever
    (data / SNAPSHOT).rename(data / DATABASE)
    assert await read(data) == await read(good)


def test_a_second_step_replaces_the_snapshot(data: Path) -> None:
    assert step_up(data).returncode == 0
    snapshot.take(data / DATABASE, 9, 0)
    assert [path.name for path in data.glob("fieldgate.db.schema-*")] == [f"{DATABASE}.schema-9"]
    assert snapshot.newest(data / DATABASE, 8) is None


def test_without_room_for_the_snapshot_nothing_is_changed(data: Path) -> None:
    free = shutil.disk_usage(data).free
    before = (data / DATABASE).read_bytes()
    with pytest.raises(NoRoomError, match="Nothing was changed") as caught:
        snapshot.take(data / DATABASE, 3, free)
    assert caught.value.exit_code == 3
    assert (data / DATABASE).read_bytes() == before
    assert not list(data.glob("*schema*"))


@pytest.mark.parametrize("fault", ["pwrite64:error=ENOSPC:when=9", "fsync:error=EIO:when=1", "rename:error=EIO"])
async def test_a_snapshot_that_fails_takes_no_step(data: Path, good: Path, fault: str) -> None:
    calls.need_ptrace()
    name, what, *_ = fault.split(":")
    path = data / f".{SNAPSHOT}.part"
    call = calls.Call(name, str(path), int(fault.rpartition("=")[2]) if "when" in fault else 1, "", "")
    traced = calls.trace([*NEXT, "store", "open", data], data.parent / "log", Fault(call, what.partition("=")[2]))
    assert traced.code in (3, 4), traced.words
    assert traced.words.startswith("fieldgate: ")
    assert version(data / DATABASE) == len(stores.SCHEMA.steps)
    assert [path.name for path in data.glob("*schema*")] == []
    assert await read(data) == await read(good)


# -- the way back -----------------------------------------------------------------------------------------------------


async def test_what_the_newer_version_stored_and_signed_is_carried_over(data: Path, good: Path) -> None:
    with closing(sqlite3.connect(data / SIGN_STATE)) as con:
        con.execute("UPDATE head SET counter=7")  # of a TPM, which goes on counting
        con.commit()
    assert step_up(data).returncode == 0
    before = await signstate.handed_over(data / SIGN_STATE)
    back = await recover.step_back(data, NOW_MS)
    assert (back.store, back.state, back.blocks) == (True, True, back.signed)
    assert await signstate.handed_over(data / SIGN_STATE) == before
    assert await signstate.counted(data / SIGN_STATE) == 7
    assert await read(data) == await read(good)
    assert (version(data / DATABASE), version(data / SIGN_STATE)) == (
        len(stores.SCHEMA.steps),
        len(signstate.SCHEMA.steps),
    )
    assert {path.name for path in back.kept.iterdir()} >= {DATABASE, f"retired-{SIGN_STATE}"}
    await _goes_on(data)


async def _goes_on(data: Path) -> None:
    made = await Pipeline.open(data)
    assert await made.recover() is None
    made.start()
    size = made.store.blocks.size
    made.emit([sample("s-0", 99.0)])
    await made.journal.commit()
    await made.age()
    assert made.store.blocks.size > size
    await made.stop()


async def test_nothing_newer_is_nothing_to_go_back_from(data: Path) -> None:
    with pytest.raises(Refused, match="no newer version"):
        await recover.step_back(data, NOW_MS)


@pytest.mark.parametrize("number", range(1, len(stores.SCHEMA.steps)))
async def test_every_step_there_is_can_be_gone_back_over(tmp_path: Path, number: int) -> None:
    """The law of steps: a file of all steps has every table and column of each one before."""
    older, path = Schema(stores.SCHEMA.application_id, stores.SCHEMA.steps[:number]), tmp_path / "older.db"
    await asyncio.to_thread(create_database, tmp_path / "now.db", signer().vkey)
    await asyncio.to_thread(create_file, path, older)
    await asyncio.to_thread(snapshot.carry, tmp_path / "now.db", path)
    db = await Database.open(path, older)
    assert await db.read("SELECT vkey FROM meta") == [(str(signer().vkey),)]
    await db.close()


async def test_a_step_against_the_law_is_refused_and_the_copy_from_before_it_can_be_had(
    data: Path, good: Path, tmp_path: Path
) -> None:
    assert step_up(data, "broken").returncode == 0
    with pytest.raises(Refused, match=r"no block\.entry") as caught:
        await recover.step_back(data, NOW_MS)
    assert "--as-it-was" in caught.value.cure
    assert version(data / DATABASE) > len(stores.SCHEMA.steps)
    back = await recover.step_back(data, NOW_MS, as_it_was=True)
    assert back.signed == back.blocks
    assert await read(data) == await read(good)
    await _goes_on(data)


async def test_as_it_was_signs_nothing_where_blocks_were_signed_since(data: Path) -> None:
    await _goes_on(data)
    kept = await signstate.handed_over(data / SIGN_STATE)
    assert step_up(data, "broken").returncode == 0
    assert kept is not None
    with closing(sqlite3.connect(data / SIGN_STATE)) as con:  # as the newer version leaves it that seals one more
        con.execute("UPDATE head SET size=size+1")
        con.commit()
    back = await recover.step_back(data, NOW_MS, as_it_was=True)
    assert back.signed == back.blocks + 1
    made = await Pipeline.open(data)
    held = await made.recover()
    assert held is not None
    assert "the sign-state has signed" in held.what
    await made.kill()


async def test_commits_that_a_damaged_log_hides_are_not_left_behind(data: Path, tmp_path: Path) -> None:
    assert step_up(data).returncode == 0
    with closing(sqlite3.connect(data / DATABASE, isolation_level=None)) as con:
        con.execute("PRAGMA wal_autocheckpoint=0")
        for number in range(2, 8):
            con.execute("INSERT INTO extra VALUES (?,'y')", (number,))
        shutil.copytree(data, tmp_path / "killed")
    path = tmp_path / "killed" / f"{DATABASE}-wal"
    spoilt = bytearray(path.read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    path.write_bytes(spoilt)
    with pytest.raises(Refused, match="commits from there on are lost"):
        await recover.step_back(tmp_path / "killed", NOW_MS)
    assert version(tmp_path / "killed" / DATABASE) > len(stores.SCHEMA.steps)


@pytest.mark.parametrize("spoil", ["UPDATE head SET header=NULL", "DELETE FROM head", "UPDATE head SET vkey='x'"])
async def test_a_head_that_cannot_be_had_is_not_made_up(data: Path, spoil: str) -> None:
    assert step_up(data).returncode == 0
    with closing(sqlite3.connect(data / SIGN_STATE)) as con:
        con.execute(spoil)
        con.commit()
    with pytest.raises(HeldError):
        await recover.step_back(data, NOW_MS)
    assert version(data / SIGN_STATE) > len(signstate.SCHEMA.steps)
    with pytest.raises(StoreError, match="restore --snapshot"):
        await SignState.open(data / SIGN_STATE, str(signer().vkey))


# -- killed -----------------------------------------------------------------------------------------------------------


def _homes(good: Path, before: Callable[[Path], None] = lambda data: None) -> Callable[[Path], None]:
    def build(home: Path) -> None:
        shutil.copytree(good, home / "data")
        before(home / "data")

    return build


def _config(home: Path) -> None:
    (home / "fieldgate.toml").write_text(CONFIG.format(home))


def _all_is_there(good: Path) -> Callable[[Path, Traced], list[str]]:
    truth = asyncio.run(read(good))
    head = asyncio.run(signstate.handed_over(good / SIGN_STATE))

    def after(home: Path, traced: Traced) -> list[str]:
        """Whatever was left, the version before goes back, and has everything; the log goes on where it was."""
        data = home / "data"
        _config(home)
        done = within("restore", "--snapshot", cwd=home)
        wrong = [] if done.code == 0 or "no newer version" in done.err else [f"exit {done.code}: {done.err}"]
        if asyncio.run(read(data)) != truth:
            wrong.append("something else is stored")
        if asyncio.run(signstate.handed_over(data / SIGN_STATE)) != head:
            wrong.append("another head")
        for path in data.glob(f"{DATABASE}.schema-*"):
            with closing(sqlite3.connect(path)) as con:
                if con.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                    wrong.append("a snapshot that is not whole")
        asyncio.run(_goes_on(data))
        return wrong

    return after


def _step_program(good: Path) -> Program:
    return Program(
        _homes(good), lambda home: [*NEXT, "store,state", "open", home / "data"], "data", _all_is_there(good)
    )


def _back_program(good: Path) -> Program:
    def words(home: Path) -> list[str | Path]:
        _config(home)
        return [*ONE_THREAD, "restore", "--snapshot"]

    def stepped(data: Path) -> None:
        done = step_up(data)
        assert done.returncode == 0, done.stderr

    return Program(_homes(good, stepped), words, "data", _all_is_there(good))


def _promise(fault: Fault, name: str, traced: Traced) -> list[str]:
    """Whoever was not killed ended well, or with one clear line."""
    lines = traced.words.splitlines()
    if fault.what == calls.KILL or traced.code == 0:
        return []
    clear = traced.code in (1, 3, 4) and bool(lines) and lines[-1].startswith("fieldgate: ") and len(lines) == 1
    return [] if clear else [f"exit {traced.code}: {lines}"]


@pytest.mark.parametrize("program", [_step_program, _back_program])
def test_killed_at_some_calls(tmp_path: Path, good: Path, program: Callable[[Path], Program], tell: Tell) -> None:
    calls.need_ptrace()
    sweep = Sweep(tmp_path, program(good))
    named = [c for c in sweep.calls if c.name in ("rename", "unlink", "fsync") and "/newer-" not in c.path]
    wrong = sweep.run([Fault(call, calls.KILL) for call in named[:: max(len(named) // 2, 1)]], _promise)
    tell(sweep.told())
    assert wrong == []


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("program", [_step_program, _back_program])
def test_killed_at_every_call(tmp_path: Path, good: Path, program: Callable[[Path], Program], tell: Tell) -> None:
    calls.need_ptrace()
    sweep = Sweep(tmp_path, program(good))
    named = [call for call in sweep.calls if "/newer-" not in call.path]  # named by the time
    wrong = sweep.run([Fault(call, calls.KILL) for call in sweep.kills(named)], _promise)
    once = {(call.name, call.path): call for call in reversed(named)}.values()
    wrong += sweep.run([Fault(call, what) for call in once for what in ("EIO", "ENOSPC")], _promise)
    tell(sweep.told())
    assert wrong == []
