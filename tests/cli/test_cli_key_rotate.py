"""`fieldgate key rotate`: what it refuses, and that a key which is missing on the way is never made a second time."""

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import time
import tomllib
from contextlib import closing
from pathlib import Path

import pytest
from fakes.command import FIELDGATE, PATIENCE_S, fieldgate, within
from fakes.configs import vkey

from gateway import keys
from gateway.core import body, senml
from gateway.core.note import VerifierKey, parse_note, verify_note, verify_sm2
from gateway.store.blocks import inflate

WORDS = "four words of mine"
STEP_5 = """\
import sys
from pathlib import Path
from gateway.cli import key_rotate
from gateway.errors import FieldgateError
def die(*_): raise SystemExit(9)
key_rotate._succeed = die
key_rotate.rotate(Path(sys.argv[1]), prepare=False, without_nodes=False)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gateway that has sealed a block."""
    folder = tmp_path_factory.mktemp("made")
    assert within("init", "--name", "key.example", cwd=folder).code == 0
    process = subprocess.Popen([*FIELDGATE, "run"], cwd=folder, env={"PATH": "/usr/bin:/bin"}, stderr=-3)
    deadline = time.monotonic() + PATIENCE_S
    while not (folder / "data" / "control.sock").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    return folder


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    home = tmp_path / "gw"
    shutil.copytree(made, home)
    path = home / "fieldgate.toml"
    path.write_text(path.read_text().replace(str(made), str(home)))
    return home


def closed(home: Path) -> None:
    """Everything but the last step, as a crash leaves it."""
    done = subprocess.run([FIELDGATE[0], "-c", STEP_5, home / "fieldgate.toml"], cwd=home, check=False, timeout=60)
    assert done.returncode == 9


def new_key(told: str) -> str:
    return next(line.split()[3] for line in told.splitlines() if line.startswith("new log key"))


def test_what_was_prepared_is_what_follows(home: Path) -> None:
    prepared = [fieldgate("key", "rotate", "--prepare", cwd=home) for _ in range(2)]
    assert [one.code for one in prepared] == [0, 0]
    done = fieldgate("key", "rotate", cwd=home)
    assert done.code == 0, done
    assert {new_key(one.out) for one in (*prepared, done)} == {new_key(done.out)}
    assert (home / "log.key").exists()
    assert (home / "log-epoch-2.key").stat().st_mode & 0o777 == 0o600
    again = fieldgate("key", "rotate", cwd=home)
    assert (again.code, "has no block yet" in again.err) == (1, True), again


def test_a_next_key_that_is_gone_is_not_made_again(home: Path) -> None:
    closed(home)
    path = home / "log-epoch-2.key"
    kept = path.read_text()
    path.unlink()
    gone = fieldgate("key", "rotate", cwd=home)
    assert (gone.code, "this key is gone" in gone.err, "--new-epoch" in gone.err) == (2, True, True), gone
    assert not path.exists()
    path.touch(mode=0o600)
    path.write_text(keys.generate("key.example/2"))
    other = fieldgate("key", "rotate", cwd=home)
    assert (other.code, "this is the key key.example/2" in other.err) == (2, True), other
    path.write_text(kept)
    assert fieldgate("key", "rotate", cwd=home).code == 0


@pytest.mark.nightly
def test_a_closed_log_is_ended_by_a_new_epoch_where_the_next_key_is_lost(home: Path) -> None:
    closed(home)
    (home / "log-epoch-2.key").unlink()
    done = fieldgate("recover", "--new-epoch", cwd=home)
    assert done.code == 0, done
    assert within("key", "test", cwd=home).code == 0


def test_a_file_that_is_another_logs_key_is_left_alone(home: Path) -> None:
    keys.write_key(home / "log-epoch-2.key", keys.generate("other.example/2"))
    before = (home / "log-epoch-2.key").read_bytes()
    done = fieldgate("key", "rotate", cwd=home)
    assert (done.code, "not one of the log key.example/2" in done.err) == (2, True), done
    assert (home / "log-epoch-2.key").read_bytes() == before


def test_a_gateway_in_an_inline_table_is_followed(home: Path) -> None:
    path = home / "fieldgate.toml"
    table = tomllib.loads(path.read_text())["gateway"]
    path.write_text(
        "gateway = { " + ", ".join(f"{name} = {json.dumps(value)}" for name, value in table.items()) + " }\n"
    )
    assert fieldgate("key", "rotate", cwd=home).code == 0
    assert tomllib.loads(path.read_text())["gateway"]["epoch"] == 2


def test_a_new_epoch_follows_the_log_that_is_here_whatever_the_key(home: Path, tmp_path: Path) -> None:
    """The key was lost, and another one of the same name made."""
    with closing(sqlite3.connect(home / "data" / "fieldgate.db")) as con:
        ((old,),) = con.execute("SELECT vkey FROM meta")
    (tmp_path / "other").mkdir()
    assert fieldgate("init", "--name", "key.example", cwd=tmp_path / "other").code == 0
    shutil.copy(tmp_path / "other" / "log.key", home / "log.key")
    assert fieldgate("recover", "--new-epoch", cwd=home).code == 0
    with closing(sqlite3.connect(home / "data" / "fieldgate.db")) as con:
        ((first,),) = con.execute("SELECT data FROM journal ORDER BY row LIMIT 1")
    ((pack, _), *_) = body.read_items(inflate(first))
    told = {record.name.rpartition(":")[2]: record.value for record in senml.resolve(pack).records}
    assert told["log"] == old
    verify_note(parse_note(str(told["checkpoint"])), VerifierKey.parse(old))


def test_a_key_that_is_no_file_is_not_followed(home: Path) -> None:
    path = home / "fieldgate.toml"
    path.write_text(re.sub(r"^key = .*$", 'key = "env:K"', path.read_text(), flags=re.MULTILINE))
    env = {"K": (home / "log.key").read_text().strip()}
    done = fieldgate("key", "rotate", cwd=home, env=env)
    assert (done.code, "Name the file it comes from" in done.err) == (2, True), done


def test_a_sealed_key_is_followed_by_a_sealed_one(home: Path) -> None:
    env = {"W": WORDS}
    assert fieldgate("key", "seal", "--passphrase", "env:W", cwd=home, env=env).code == 0
    path = home / "fieldgate.toml"
    line = f'key = "file:{home}/log.key.sealed"\nkey_passphrase = "env:W"'
    path.write_text(re.sub(r"^key = .*$", line, path.read_text(), flags=re.MULTILINE))
    done = fieldgate("key", "rotate", cwd=home, env=env)
    assert done.code == 0, done
    assert (home / "log-epoch-2.key").read_text().startswith("SEALED-KEY 1 key.example/2+")
    assert fieldgate("key", "test", cwd=home, env=env).code == 0
    assert WORDS not in done.out + done.err


@pytest.mark.nightly
def test_a_gateway_that_runs_is_not_rotated(home: Path) -> None:
    process = subprocess.Popen([*FIELDGATE, "run"], cwd=home, env={"PATH": "/usr/bin:/bin"}, stderr=-3)
    try:
        while fieldgate("status", cwd=home).code:
            assert process.poll() is None
        done = fieldgate("key", "rotate", cwd=home)
        assert (done.code, "another gateway runs" in done.err) == (3, True), done
        assert not (home / "log-epoch-2.key").exists()
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def add(home: Path, after: str, text: str) -> None:
    """More lines in the configuration, behind the one that begins so."""
    path = home / "fieldgate.toml"
    path.write_text(re.sub(rf"^{after}.*$", lambda found: f"{found[0]}\n{text}", path.read_text(), flags=re.MULTILINE))


@pytest.mark.nightly
def test_a_witness_that_cannot_be_asked_is_waited_for(home: Path) -> None:
    path = home / "fieldgate.toml"
    path.write_text(f'{path.read_text()}\n[witness.vet]\nurl = "http://127.0.0.1:1"\nvkey = "{vkey("vet.example")}"\n')
    waits = fieldgate("key", "rotate", cwd=home)
    assert (waits.code, "vet does not have all of it" in waits.out) == (4, True), waits
    assert fieldgate("key", "rotate", "--without-nodes", cwd=home).code == 0


@pytest.mark.nightly
def test_the_closing_checkpoint_bears_the_sm2_signature(home: Path) -> None:
    made = fieldgate("key", "sm2", cwd=home)
    assert made.code == 0, made
    add(home, "key = ", f'sm2_key = "file:{home}/sm2.key"')
    done = fieldgate("key", "rotate", cwd=home)
    assert (done.code, "gets the pin of the new log" in done.out) == (0, True), done
    with sqlite3.connect(home / "data" / "epoch-1" / "fieldgate.db") as con:
        ((note,),) = con.execute("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1").fetchall()
    verify_sm2(parse_note(note), keys.look(f"file:{home}/sm2.key").vkey)
