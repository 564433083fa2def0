"""`fieldgate key sm2`: where the key goes, what is told of it, and what is refused."""

import re
from pathlib import Path

import pytest
from fakes.command import within

from gateway import sm2
from gateway.core.anchor import parse_pins
from gateway.core.note import SM2, VerifierKey


@pytest.fixture
def home(tmp_path: Path) -> Path:
    assert within("init", "--name", "key.example", cwd=tmp_path).code == 0
    return tmp_path


def write(home: Path, lines: str, key: str = "") -> None:
    path = home / "fieldgate.toml"
    text = path.read_text().replace("[gateway]\n", f"[gateway]\n{lines}\n", 1)
    path.write_text(re.sub(r"^key = .*$", f'key = "{key}"', text, count=1, flags=re.MULTILINE) if key else text)


def told(out: str) -> dict[str, str]:
    return {line[:9].strip(): line[9:].strip() for line in out.splitlines()}


def test_it_goes_beside_the_logs_key_and_its_pin_is_one(home: Path) -> None:
    made = within("key", "sm2", cwd=home)
    assert made.code == 0, made.err
    file, said = home / "sm2.key", told(made.out)
    assert file.stat().st_mode & 0o777 == 0o600 and said["written"] == str(file)
    vkey = VerifierKey.parse(said["SM2 key"])
    assert (vkey.name, vkey.algorithm) == ("key.example/sm2", SM2)
    (pin,) = parse_pins(said["its pin"].encode())
    assert (pin.kind, pin.chain, pin.word, pin.values) == ("sm2", "key.example/1", "key", (str(vkey),))
    assert f'sm2_key = "file:{file}"' in said["use it"]
    assert file.read_text().strip().split("+", 4)[4] not in made.out + made.err


def test_a_key_is_never_overwritten(home: Path) -> None:
    assert within("key", "sm2", cwd=home).code == 0
    before = (home / "sm2.key").read_bytes()
    again = within("key", "sm2", cwd=home)
    assert again.code == 2 and "there is a file here already" in again.err
    assert (home / "sm2.key").read_bytes() == before


def test_it_goes_where_the_configuration_names_it(home: Path) -> None:
    write(home, f'sm2_key = "file:{home}/elsewhere.key"')
    made = within("key", "sm2", cwd=home)
    assert made.code == 0 and "use it" not in told(made.out)
    assert (home / "elsewhere.key").exists()
    shown = within("key", "show", cwd=home)
    assert told(made.out)["SM2 key"] in shown.out and told(made.out)["its pin"] in shown.out


def test_a_profile_names_it(home: Path) -> None:
    write(home, 'profile = "domestic"')
    made = within("key", "sm2", cwd=home)
    assert made.code == 0 and "use it" not in told(made.out) and (home / "sm2.key").exists()


def test_without_a_file_beside_it_has_to_be_told_where(home: Path) -> None:
    write(home, "", key="env:LOG_KEY")
    refused = within("key", "sm2", cwd=home)
    assert refused.code == 2 and "-o FILE" in refused.err
    assert within("key", "sm2", "-o", home / "here.key", cwd=home).code == 0


def test_without_an_engine_no_key_is_made(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sm2, "engine", lambda: None)
    refused = within("key", "sm2", cwd=home)
    assert refused.code == 1 and "nothing on this machine makes SM2 signatures" in refused.err
    assert not (home / "sm2.key").exists()
