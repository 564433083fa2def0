"""A key in a TPM, on swtpm: it opens there and nowhere else, its counter notices an older sign-state, and nothing that
the TPM refuses ever makes a new key."""

import errno
import json
import re
import shutil
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.command import FIELDGATE, PATIENCE_S, fieldgate, within
from fakes.swtpm import Swtpm, swtpm

from gateway import keys
from gateway.errors import KeyFileError
from gateway.keys import tpm as tpms


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[Swtpm]:
    with swtpm(tmp_path / "tpm") as made:
        yield made


def sealed(home: Path, tpm: Swtpm) -> Path:
    """A gateway whose key is in the TPM; the copy in clear is in the safe place."""
    home.mkdir()
    assert within("init", "--name", "tpm.example", cwd=home).code == 0
    done = fieldgate("key", "seal", "--tpm", cwd=home, env=tpm.env)
    assert done.code == 0, done
    (home / "log.key").rename(home.parent / "safe.key")
    path = home / "fieldgate.toml"
    path.write_text(re.sub(r"^key = .*$", f'key = "tpm:{home}/log.key.tpm"', path.read_text(), flags=re.MULTILINE))
    return home


def life(home: Path, tpm: Swtpm, *, code: int = 0) -> dict[str, Any]:
    """A start and an ordered stop; what status told. code 4: signing is held, 0: a block was sealed at the stop."""
    env = {"PATH": "/usr/bin:/bin", **tpm.env}
    process = subprocess.Popen([*FIELDGATE, "run"], cwd=home, env=env, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_S
        control = home / "data" / "control.sock"
        while not control.exists() or (told := fieldgate("status", "--json", cwd=home)).code != code:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
    state: dict[str, Any] = json.loads(told.out)
    return state


def files(home: Path) -> set[str]:
    return {path.name for path in home.iterdir()} - {"fieldgate.past"}


def test_a_key_opens_in_the_tpm_that_sealed_it_and_nowhere_else(tmp_path: Path, tpm: Swtpm) -> None:
    home = sealed(tmp_path / "gw", tpm)
    shown, tested = (fieldgate("key", word, cwd=home, env=tpm.env) for word in ("show", "test"))
    assert "this machine's TPM" in shown.out
    assert [line.split()[0] for line in tested.out.splitlines()] == ["good"] * 4, tested
    assert str(keys.open_signer(f"file:{tmp_path}/safe.key").vkey) in shown.out
    tpm.stop()
    tpm.start()  # the power was off
    assert life(home, tpm)["chain"]["held"] is None
    before = files(home)
    with swtpm(tmp_path / "another") as other:
        refused = fieldgate("key", "test", cwd=home, env=other.env)
        assert (refused.code, "it was cleared, or it is another one" in refused.out) == (2, True), refused
        held = life(home, other, code=4)["chain"]["held"]
        assert "did not seal this key" in held
        assert "safe place" in held
    assert files(home) == before


@pytest.mark.nightly
def test_an_older_sign_state_is_noticed_and_without_a_counter_it_is_not(tmp_path: Path, tpm: Swtpm) -> None:
    """Store and sign-state are put back together, as an image of the card would: they agree with each other."""
    home = sealed(tmp_path / "gw", tpm)
    life(home, tpm)
    shutil.copytree(home / "data", tmp_path / "image")
    life(home, tpm)
    shutil.rmtree(home / "data")
    shutil.copytree(tmp_path / "image", home / "data")
    held = life(home, tpm, code=4)["chain"]["held"]
    assert "it is an older copy" in held
    assert "fieldgate recover" in held
    told = fieldgate("recover", cwd=home, env=tpm.env)
    assert (told.code, "--new-epoch" in told.out) == (4, True), told
    tested = fieldgate("key", "test", cwd=home, env=tpm.env)
    assert (tested.code, "bad   the counter" in tested.out) == (4, True), tested
    path = home / "fieldgate.toml"
    path.write_text(path.read_text().replace(f"tpm:{home}/log.key.tpm", f"file:{tmp_path}/safe.key"))
    assert life(home, tpm)["chain"]["held"] is None, "the control: nothing else knows"


@pytest.mark.nightly
def test_a_rotation_keeps_the_key_in_the_tpm(tmp_path: Path, tpm: Swtpm) -> None:
    home = sealed(tmp_path / "gw", tpm)
    life(home, tpm)
    done = fieldgate("key", "rotate", cwd=home, env=tpm.env)
    assert done.code == 0, done
    assert f'key = "tpm:{home}/log-epoch-2.key"' in (home / "fieldgate.toml").read_text()
    assert "PRIVATE" not in (home / "log-epoch-2.key").read_text()
    assert life(home, tpm)["chain"]["held"] is None
    shutil.copytree(home / "data", tmp_path / "image")
    life(home, tpm)
    shutil.rmtree(home / "data")
    shutil.copytree(tmp_path / "image", home / "data")
    assert "older copy" in life(home, tpm, code=4)["chain"]["held"]


CLEAR = keys.generate("tpm.example/1")


def test_each_refusal_has_its_words_and_cure(tmp_path: Path, tpm: Swtpm) -> None:
    made = keys.Tpm(tpm.tcti)
    line = made.seal(CLEAR, made.new_counter())
    counter = keys.Counter(made, tpms.parse(line, where="").counter or 0)
    assert made.unseal(line, where="").vkey == keys.parse_key(CLEAR, where="").vkey

    def refused(what: str, cure: str, ask: Any = lambda: made.unseal(line, where="here")) -> None:
        with pytest.raises(KeyFileError, match=what) as caught:
            ask()
        assert cure in caught.value.cure
        assert caught.value.where

    tpm.tool("tpm2_changeauth", "-c", "owner", "a password")
    refused("owner of the TPM has a password", "tpm2_changeauth")
    refused("owner of the TPM has a password", "tpm2_changeauth", counter.read)
    tpm.tool("tpm2_changeauth", "-c", "owner", "-p", "a password")
    assert made.unseal(line, where="")
    tpm.tool("tpm2_clear", "-c", "p")
    refused("it was cleared, or it is another one", "safe place")
    refused("the counter is not in the TPM", "safe place", counter.read)
    refused("the counter is not in the TPM", "safe place", counter.move)
    tpm.stop()
    refused("no TPM that can be reached", "Is it plugged in")
    refused("no TPM that can be reached", "tpm.conf", lambda: keys.Tpm("device:/dev/none").unseal(line, where="here"))


def test_a_locked_out_tpm_opens_a_key_that_is_outside_the_lock(tmp_path: Path, tpm: Swtpm) -> None:
    """One that somebody sealed otherwise is refused in words."""
    made = keys.Tpm(tpm.tcti)
    line = made.seal(CLEAR, None)
    primary = ("-C", "o", "-g", "sha256", "-G", "ecc", "-a", tpms._PRIMARY, "-c", "parent")
    tpm.tool("tpm2_createprimary", "-Q", *primary)
    tpm.tool("tpm2_flushcontext", "-t")
    (tmp_path / "tpm" / "seed").write_bytes(b"s" * 32)
    inside = ("-a", "fixedtpm|fixedparent|userwithauth", "-p", "secret")
    tpm.tool("tpm2_create", "-Q", "-C", "parent", "-i", "seed", "-u", "pub", "-r", "priv", *inside)
    tpm.tool("tpm2_flushcontext", "-t")
    pub, priv = ((tmp_path / "tpm" / name).read_bytes() for name in ("pub", "priv"))
    parts = line.split(" ")
    parts[5:] = [b64encode(pub).decode(), b64encode(priv).decode()]
    other = " ".join(parts)
    tpm.tool("tpm2_dictionarylockout", "-s", "-n", "1", "-t", "600", "-l", "600")
    with pytest.raises(KeyFileError):
        made.unseal(other, where="here")  # a wrong guess: the one that locks
    with pytest.raises(KeyFileError, match="locked out") as caught:
        made.unseal(other, where="here")
    assert "tpm2_dictionarylockout" in caught.value.cure
    assert made.unseal(line, where="").vkey == keys.parse_key(CLEAR, where="").vkey


def test_no_argument_and_no_file_holds_the_seed(tmp_path: Path, tpm: Swtpm, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    run = subprocess.run

    def watched(words: list[str], **more: Any) -> Any:
        done = run(words, **more)
        seen.append(" ".join([*words, *more["env"].values()]).encode())
        seen.extend(path.read_bytes() for path in Path(more["cwd"] or tmp_path / "none").glob("*"))
        return done

    monkeypatch.setattr(tpms.subprocess, "run", watched)
    made = keys.Tpm(tpm.tcti)
    line = made.seal(CLEAR, None)
    assert made.unseal(line, where="").vkey.name == "tpm.example/1"
    seed = keys.signer.seed_of(CLEAR)  # type: ignore[attr-defined]
    assert len(seen) > 8
    for text in (*seen, line.encode()):
        for form in (seed, seed.hex().encode(), b64encode(seed)[:-4]):
            assert form not in text


@pytest.mark.parametrize(
    "text",
    [
        "TPM-KEY",
        "TPM-KEY 1 x ecc-p256 - AA== AA==",
        "TPM-KEY 2 {vkey} ecc-p256 - AA== AA==",
        "TPM-KEY 1 {vkey} rsa - AA== AA==",
        "TPM-KEY 1 {vkey} ecc-p256 01000000 AA== AA==",
        "TPM-KEY 1 {vkey} ecc-p256 -C AA== AA==",
        "TPM-KEY 1 {vkey} ecc-p256 - A AA==",
    ],
)
def test_a_line_that_is_none_asks_no_tpm(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log.key.tpm"
    keys.write_key(path, text.format(vkey=keys.parse_key(CLEAR, where="").vkey) + "\n")
    with pytest.raises(KeyFileError, match=r"not a key sealed to a TPM|is not sealed to a TPM"):
        keys.open_signer(f"tpm:{path}", environment={"TPM2TOOLS_TCTI": "none:"})


@pytest.mark.parametrize("what", ["folder", "tool"])
def test_where_there_is_no_room_for_its_tools_the_key_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = (tpms, "TemporaryDirectory") if what == "folder" else (subprocess, "run")
    monkeypatch.setattr(*target, full)
    line = " ".join(["TPM-KEY 1", str(keys.parse_key(CLEAR, where="").vkey), "ecc-p256 -", "AAAA", "AAAA"])
    keys.write_key(tmp_path / "log.key.tpm", line + "\n")
    with pytest.raises(KeyFileError, match="No space left on device") as caught:
        keys.open_signer(f"tpm:{tmp_path}/log.key.tpm")
    assert "The key itself is not lost" in caught.value.cure


def test_the_name_of_the_place_has_to_fit(tmp_path: Path) -> None:
    keys.write_key(tmp_path / "log.key", CLEAR)
    with pytest.raises(KeyFileError, match="is not sealed to a TPM") as caught:
        keys.open_signer(f"tpm:{tmp_path}/log.key")
    assert f"file:{tmp_path}/log.key" in caught.value.cure
    (tmp_path / "log.key").chmod(0o644)
    with pytest.raises(KeyFileError, match="others can read"):
        keys.open_signer(f"tpm:{tmp_path}/log.key")


@pytest.mark.nightly
def test_a_missing_file_makes_no_other(tmp_path: Path, tpm: Swtpm) -> None:
    home = sealed(tmp_path / "gw", tpm)
    (home / "log.key.tpm").unlink()
    before = files(home)
    assert "No such file" in life(home, tpm, code=4)["chain"]["held"]
    assert files(home) == before


@pytest.mark.nightly
def test_a_counter_is_a_new_one_for_each_log_and_never_goes_back(tpm: Swtpm) -> None:
    made = keys.Tpm(tpm.tcti)
    first, second = made.new_counter(), made.new_counter()
    assert first != second
    counter = keys.Counter(made, first)
    values = [counter.read(), counter.move(), counter.move(), counter.read()]
    assert values == sorted(values)
    assert values[2] == values[0] + 2
    tpm.tool("tpm2_nvundefine", "-C", "o", hex(first))
    again = keys.Counter(made, made.new_counter())
    assert again.index == first
    assert again.read() > values[3], "one that is made anew begins above all that ever was"
