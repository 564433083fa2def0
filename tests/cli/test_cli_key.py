"""`fieldgate key`: shown, tested and sealed, on a terminal and without; nothing secret is ever printed."""

import asyncio
import errno
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from fakes.command import FIELDGATE, PATIENCE_S, fieldgate, within
from fakes.conversation import conversation
from fakes.gateway_store import ORIGIN
from fakes.running_gateway import Home

from gateway import keys
from gateway.store import DATABASE, SIGN_STATE

WORDS = "four words of mine"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A gateway that was made, and has signed nothing."""
    assert within("init", "--name", "key.example", cwd=tmp_path).code == 0
    return tmp_path


def use(home: Path, uri: str, passphrase: str = "") -> None:
    path = home / "fieldgate.toml"
    line = f'key = "{uri}"' + (f'\nkey_passphrase = "{passphrase}"' if passphrase else "")
    path.write_text(re.sub(r"^key = .*$", lambda _: line, path.read_text(), count=1, flags=re.MULTILINE))


def secret_of(home: Path) -> str:
    return (home / "log.key").read_text().strip().split("+", 4)[4]


def test_a_key_in_clear_is_shown_and_tested(home: Path) -> None:
    shown, tested = within("key", "show", cwd=home), within("key", "test", cwd=home)
    vkey = keys.open_signer(f"file:{home}/log.key").vkey
    assert (shown.code, tested.code) == (0, 0), tested
    assert str(vkey) in shown.out
    assert "mode 0600" in shown.out
    assert "Ed25519" in shown.out
    assert [line.split()[0] for line in tested.out.splitlines()] == ["good"] * 3
    assert secret_of(home) not in shown.out + tested.out


@pytest.mark.parametrize(
    ("spoil", "step", "advice", "code"),
    [
        (lambda home: (home / "log.key").unlink(), "opens", "Check the path", 2),
        (lambda home: (home / "log.key").chmod(0o644), "opens", "chmod 600", 2),
        (lambda home: use(home, "credential:log.key"), "opens", "LoadCredential", 2),
        (lambda home: use(home, "env:NOT_SET_AT_ALL"), "opens", "Set it for the service", 2),
        (lambda home: (home / "data" / SIGN_STATE).unlink(), "signs", "fieldgate recover", 4),
        (lambda home: (home / "data" / DATABASE).rename(home / "away"), "the store", "fieldgate init", 4),
    ],
)
def test_each_failure_has_a_line_of_advice(home: Path, spoil: object, step: str, advice: str, code: int) -> None:
    before = set(home.iterdir())
    spoil(home)  # type: ignore[operator]
    tested = within("key", "test", cwd=home)
    assert tested.code == code, tested
    bad = re.search(rf"^bad +{step} .*\n +what to do +(.*)$", tested.out, re.MULTILINE)
    assert bad, tested.out
    assert advice in bad[1]
    assert set(home.iterdir()) - {home / "away"} <= before, "nothing is made"


async def test_the_newest_header_is_signed_again_and_nothing_else(tmp_path: Path) -> None:
    """The sign-state is where it was, and a key that is another under the same name is told."""
    home = await asyncio.to_thread(Home, tmp_path / "gw")
    async with home.running():
        pass
    before = (home.data / SIGN_STATE).read_bytes()
    tested = await asyncio.to_thread(fieldgate, "key", "test", cwd=home.folder)
    assert tested.code == 0, tested
    assert re.search(r"good  signs +block \d+ again, with the same bytes", tested.out)
    assert (home.data / SIGN_STATE).read_bytes() == before
    await asyncio.to_thread((home.folder / "log.key").write_text, keys.generate(ORIGIN))
    other = await asyncio.to_thread(fieldgate, "key", "test", cwd=home.folder)
    assert (other.code, "bad   the store" in other.out) == (4, True), other


def test_a_key_is_sealed_on_a_terminal_and_the_old_file_stays(home: Path) -> None:
    with conversation("key", "seal", cwd=home) as seal:
        seal.answer("A passphrase for the log key", WORDS)
        seal.answer("Repeat for confirmation", WORDS)
        seal.expect("until you delete it")
        assert seal.end() == 0
        assert WORDS not in seal.screen
    assert (home / "log.key.sealed").stat().st_mode & 0o777 == 0o600
    assert (home / "log.key").exists()
    use(home, f"file:{home}/log.key.sealed")
    shown = within("key", "show", cwd=home)
    assert (shown.code, "asked for on a terminal" in shown.out) == (0, True), shown
    with conversation("key", "test", cwd=home) as test:
        test.answer("Passphrase of the log key", "not these words")
        test.expect("does not open this key")
        test.answer("Passphrase of the log key", WORDS)
        test.expect("public and private half belong together")
        assert test.end() == 0
    unasked = fieldgate("key", "test", cwd=home)
    assert (unasked.code, "key_passphrase" in unasked.out) == (2, True), unasked


@pytest.mark.parametrize(
    "place",
    ["credential", pytest.param("file", marks=pytest.mark.nightly), pytest.param("env", marks=pytest.mark.nightly)],
)
def test_a_passphrase_from_its_place(home: Path, place: str) -> None:
    folder = home / "credentials"
    folder.mkdir()
    keys.write_key(folder / "words", WORDS + "\n")
    uri = {"file": f"file:{folder}/words", "credential": "credential:words", "env": "env:WORDS"}[place]
    env = {"CREDENTIALS_DIRECTORY": str(folder), "WORDS": WORDS}
    sealed = fieldgate("key", "seal", "--passphrase", uri, "-o", "safe", cwd=home, env=env)
    assert sealed.code == 0, sealed
    use(home, f"file:{home}/safe", uri)
    tested = fieldgate("key", "test", cwd=home, env=env)
    assert tested.code == 0, tested
    assert WORDS not in sealed.out + sealed.err + tested.out


def test_what_cannot_be_sealed_is_told_and_nothing_is_written(home: Path) -> None:
    before = set(home.iterdir())
    short = fieldgate("key", "seal", "--passphrase", "env:W", cwd=home, env={"W": "short"})
    assert (short.code, "characters at least" in short.err) == (2, True), short
    bare = fieldgate("key", "seal", "--passphrase", "hunter2", cwd=home)
    assert (bare.code, "hunter2" in bare.err) == (2, False), bare
    unasked = fieldgate("key", "seal", cwd=home)
    assert (unasked.code, "no terminal" in unasked.err) == (2, True), unasked
    there = fieldgate("key", "seal", "--passphrase", "env:W", "-o", "log.key", cwd=home, env={"W": WORDS})
    assert (there.code, "already" in there.err) == (2, True), there
    before_it_counts = within("key", "seal", "--tpm", "-o", "log.key", cwd=home)  # and without any TPM
    assert (before_it_counts.code, "already" in before_it_counts.err) == (2, True), before_it_counts
    assert set(home.iterdir()) == before


def test_a_copy_is_sealed_onto_a_stick_that_has_neither_owners_nor_modes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "words").write_text(WORDS)
    (home / "words").chmod(0o600)
    chmod = os.fchmod
    monkeypatch.setattr(os, "fchmod", lambda file, _: chmod(file, 0o755))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", _no_owners)
    sealed = within("key", "seal", "--passphrase", f"file:{home}/words", "-o", "safe", cwd=home)
    assert sealed.code == 0, sealed
    assert keys.unseal((home / "safe").read_text(), WORDS, where="").vkey.name == "key.example/1"


@pytest.mark.may_block
def test_a_new_epoch_after_a_sealed_key_says_that_its_own_lies_in_clear(home: Path) -> None:
    (home / "words").write_text(WORDS)
    (home / "words").chmod(0o600)
    assert within("key", "seal", "--passphrase", f"file:{home}/words", cwd=home).code == 0
    use(home, f"file:{home}/log.key.sealed", f"file:{home}/words")
    epochs = [within("recover", "--new-epoch", cwd=home) for _ in range(2)]
    assert [one.code for one in epochs] == [0, 0], epochs
    assert ["lies there in clear" in one.out for one in epochs] == [True, False], "the second follows one in clear"


def _no_owners(*_: int) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def test_run_asks_on_a_terminal_and_signs(home: Path) -> None:
    env = {"W": WORDS}
    assert fieldgate("key", "seal", "--passphrase", "env:W", cwd=home, env=env).code == 0
    use(home, f"file:{home}/log.key.sealed")
    with conversation("run", cwd=home) as running:
        running.answer("Passphrase of the log key", WORDS)
        running.expect("\n")
        _state(home, 0)
        running.press("\x03")
        assert running.end() == 0
        assert WORDS not in running.screen
    with conversation("recover", cwd=home) as found:
        found.answer("Passphrase of the log key", WORDS)
        found.expect("signed       1")
        assert found.end() == 0


def test_run_without_a_terminal_holds_signing_and_makes_nothing(home: Path) -> None:
    """Readings are journaled all the same, and the cure is told."""
    assert fieldgate("key", "seal", "--passphrase", "env:W", cwd=home, env={"W": WORDS}).code == 0
    use(home, f"file:{home}/log.key.sealed")
    held = held_of(home)
    assert "sealed with a passphrase" in held
    assert "key_passphrase" in held


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("file:{home}/gone.key", "No such file"),
        pytest.param("credential:gone.key", "no credentials folder", marks=pytest.mark.nightly),
        pytest.param("env:GONE", "is not set", marks=pytest.mark.nightly),
        pytest.param("file:{home}/fieldgate.toml", "others can read", marks=pytest.mark.nightly),
    ],
)
def test_a_key_that_is_not_there_never_makes_another(home: Path, uri: str, why: str) -> None:
    before = {path.name for path in home.iterdir()}
    use(home, uri.format(home=home))
    assert why in held_of(home)
    assert {path.name for path in home.iterdir()} - {"fieldgate.past"} == before  # configurations that ran


def held_of(home: Path) -> str:
    """Why a gateway that runs here holds signing; it journals meanwhile, and stops in order."""
    process = subprocess.Popen([*FIELDGATE, "run"], cwd=home, env={"PATH": "/usr/bin:/bin"}, stderr=subprocess.DEVNULL)
    try:
        state = _state(home, 4)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
    assert state["chain"]["size"] == 0
    held: str = state["chain"]["held"]
    return held


def _state(home: Path, code: int) -> dict[str, Any]:
    """What status tells as soon as it ends with this code."""
    deadline = time.monotonic() + PATIENCE_S
    while (told := fieldgate("status", "--json", cwd=home)).code != code:
        assert time.monotonic() < deadline, told
        time.sleep(0.05)
    state: dict[str, Any] = json.loads(told.out)
    return state
