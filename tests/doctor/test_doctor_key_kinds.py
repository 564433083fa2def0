"""doctor's look at keys that are sealed: with a passphrase, and to a TPM."""

import asyncio
import re
from pathlib import Path

import pytest
from fakes.command import fieldgate, within
from fakes.swtpm import swtpm

from gateway import doctor
from gateway.doctor import Case, Outcome, key
from gateway.store import DATABASE

WORDS = "four words of mine"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "gw"
    folder.mkdir()
    assert within("init", "--name", "hen.example", cwd=folder).code == 0
    return folder


def look(home: Path) -> Outcome:
    settings, faults = doctor.read(home / "fieldgate.toml")
    assert not faults
    return asyncio.run(key.look(Case(path=home / "fieldgate.toml", settings=settings, faults=faults)))


def use(home: Path, line: str) -> None:
    path = home / "fieldgate.toml"
    path.write_text(re.sub(r"^key = .*$", line, path.read_text(), flags=re.MULTILINE))


def ids(outcome: Outcome) -> list[str]:
    return [one.condition for one in outcome.problems]


def test_a_sealed_key_is_told_by_its_public_half(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("W", WORDS)
    assert fieldgate("key", "seal", "--passphrase", "env:W", cwd=home, env={"W": WORDS}).code == 0
    path = home / "log.key.sealed"
    use(home, f'key = "file:{path}"')
    found = look(home)
    assert (ids(found), found.said) == ([], "the key is sealed, and is this store's")
    use(home, f'key = "file:{path}"\nkey_passphrase = "env:W"')
    found = look(home)
    assert (ids(found), found.said) == ([], "the key can be used, and is this store's")
    monkeypatch.setenv("W", "other words than those")
    assert ids(look(home)) == ["key-unusable"]
    path.chmod(0o644)
    assert ids(look(home)) == ["key-mode"]
    path.unlink()
    assert ids(look(home)) == ["key-missing"]


def test_a_key_in_a_tpm_that_opens_and_one_that_does_not(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with swtpm(tmp_path / "tpm") as tpm:
        monkeypatch.setenv("TPM2TOOLS_TCTI", tpm.tcti)
        done = fieldgate("key", "seal", "--tpm", cwd=home, env=tpm.env)
        assert done.code == 0, done
        use(home, f'key = "tpm:{home}/log.key.tpm"')
        found = look(home)
        assert (ids(found), found.said) == ([], "the key can be used, and is this store's")
    found = look(home)  # it is unplugged
    assert ids(found) == ["key-unusable"]
    assert "no TPM" in found.problems[0].what
    assert "tpm.conf" in found.problems[0].cure
    assert (home / "data" / DATABASE).exists()
