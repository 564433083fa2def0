"""A profile sets defaults, and `check` tells which; what is written stays."""

import hashlib
import json
from pathlib import Path

import pytest
from fakes.command import fieldgate, within
from fakes.configs import GATEWAY, write

from gateway import config
from gateway.cli.digests import digests_of
from gateway.core.sm3 import in_python, sm3
from gateway.settings import GatewaySettings

DOMESTIC = 'profile = "domestic"\n'


def loaded(folder: Path, more: str, text: str = GATEWAY) -> GatewaySettings:
    return config.load(write(folder, text.replace("[gateway]\n", f"[gateway]\n{more}", 1))).gateway


def test_without_one_nothing_is_set(tmp_path: Path):
    bare, named = loaded(tmp_path, ""), loaded(tmp_path, 'profile = "international"\n')
    assert bare == named and (bare.profile, bare.sm2_key, bare.digests) == ("international", None, None)


def test_domestic_sets_key_and_digests(tmp_path: Path):
    made = loaded(tmp_path, DOMESTIC)
    log_key = Path(made.key.removeprefix("file:"))
    assert made.sm2_key == f"file:{log_key.parent}/sm2.key"
    assert made.digests == ("sha-256", "sm3")


def test_what_is_written_stays(tmp_path: Path):
    made = loaded(tmp_path, DOMESTIC + 'sm2_key = "env:SM2"\ndigests = []\n')
    assert (made.sm2_key, made.digests) == ("env:SM2", ())


@pytest.mark.parametrize(
    ("key", "beside"),
    [
        ("credential:log.key", "credential:sm2.key"),
        ("env:LOG_KEY", None),
        ("file:/k", "file:/sm2.key"),
        ("file:/.", "file:/sm2.key"),  # no file, which whoever opens it is told
    ],
)
def test_the_key_goes_where_the_logs_is(tmp_path: Path, key: str, beside: str | None):
    text = "".join(
        f'key = "{key}"\n' if line.startswith("key = ") else line for line in GATEWAY.splitlines(keepends=True)
    )
    assert loaded(tmp_path, DOMESTIC, text).sm2_key == beside


def test_it_is_the_same_as_its_values_written_out(tmp_path: Path):
    by_profile = loaded(tmp_path, DOMESTIC)
    out = f'{DOMESTIC}sm2_key = "{by_profile.sm2_key}"\ndigests = ["sha-256", "sm3"]\n'
    assert loaded(tmp_path, out) == by_profile


def test_check_tells_what_is_set(tmp_path: Path):
    write(tmp_path, GATEWAY.replace("[gateway]\n", f"[gateway]\n{DOMESTIC}digests = []\n", 1))
    told = within("check", "fieldgate.toml", cwd=tmp_path)
    (line,) = [line for line in told.out.splitlines() if line.startswith("Profile")]
    assert "sm2_key = " in line and "digests" not in line and "what is written stays" in line
    as_json = json.loads(within("check", "fieldgate.toml", "--json", cwd=tmp_path).out)
    assert as_json["profile"]["name"] == "domestic" and list(as_json["profile"]["sets"]) == ["gateway.sm2_key"]
    write(tmp_path, GATEWAY)
    assert "Profile" not in within("check", "fieldgate.toml", cwd=tmp_path).out


STAMPS = """
[anchor.tsa]
kind = "rfc3161"
url = "https://tsa.example"
roots_file = "/etc/fieldgate/tsa.pem"
"""


def test_time_stamps_are_over_sm3_unless_it_is_written(tmp_path: Path):
    def digest(profile: str, more: str = "") -> str | None:
        text = GATEWAY.replace("[gateway]\n", f"[gateway]\n{profile}", 1) + STAMPS + more
        return config.load(write(tmp_path, text)).anchor["tsa"].options.digest

    assert (digest(""), digest(DOMESTIC), digest(DOMESTIC, 'digest = "sha-512"\n')) == (None, "sm3", "sha-512")


def test_digests_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "evidence"
    path.write_bytes(b"abc" * 100_000)
    right = {"SHA-256": hashlib.sha256(path.read_bytes()).hexdigest(), "SM3": sm3(path.read_bytes()).hex()}
    assert digests_of(path) == right
    path.write_bytes(b"abc")

    def none(*_: object) -> None:
        raise ValueError("unsupported hash type")

    monkeypatch.setattr(hashlib, "new", none)
    assert digests_of(path, ("sm3",)) == {"SM3": in_python(b"abc").hex()}


def test_what_is_exported_is_told_with_its_digests(tmp_path: Path):
    assert within("init", "--name", "digest.example", cwd=tmp_path).code == 0
    path = tmp_path / "fieldgate.toml"
    path.write_text(path.read_text().replace("[gateway]\n", f"[gateway]\n{DOMESTIC}", 1))
    told = fieldgate("export", "climate", "-o", "out.json", cwd=tmp_path)
    assert told.code == 0, told
    for label, text in digests_of(tmp_path / "out.json").items():
        assert f"out.json: {label} {text}" in told.err
    path.write_text(path.read_text().replace(DOMESTIC, ""))
    assert "SM3" not in fieldgate("export", "climate", "-o", "out.json", cwd=tmp_path).err
