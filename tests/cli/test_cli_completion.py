"""Words completed in a shell: from the configuration, quickly, and without a word where there is nothing to say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.command import FIELDGATE, fieldgate

from gateway.cli import COMMANDS
from gateway.cli.completion import words

CONFIG = """
[gateway]
name = "henhouse.example"
[source.climate]
driver = "system"
[source.coop]
driver = "system"
[node.coop]
url = "https://n"
[node.vet]
url = "https://v"
"""
HEAVY = {"asyncio", "aiohttp", "msgspec", "rich", "aiosqlite", "sqlite3", "tomlkit", "serial", "paho", "nacl"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fieldgate.toml").write_text(CONFIG)
    return tmp_path


def completed(folder: Path, line: str, shell: str = "bash") -> list[str]:
    """What is offered for the last word of a line."""
    typed = line.split(" ")
    env = {"COMP_WORDS": line, "COMP_CWORD": str(len(typed) - 1), "_FIELDGATE_COMPLETE": f"{shell}_complete"}
    if shell == "fish":
        env["COMP_CWORD"] = typed[-1]
    done = fieldgate(cwd=folder, env=env)
    assert (done.code, done.err) == (0, "")
    return [one.partition(",")[2] if shell == "bash" else one for one in done.out.split()]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("fieldgate re", ["reload", "receipt", "recover", "restore"]),
        ("fieldgate zzz", []),
        ("fieldgate zzz x", []),
        ("fieldgate --deb", ["--debug"]),
        ("fieldgate sources c", ["climate", "coop"]),
        ("fieldgate receipt cl", ["climate"]),
        ("fieldgate receipt --at now cl", ["climate"]),
        ("fieldgate export ", ["climate", "coop"]),
        ("fieldgate recover --from ", ["coop", "vet"]),
        ("fieldgate recover --new-epoch --from v", ["vet"]),
        ("fieldgate decode nmea", ["nmea0183"]),
        ("fieldgate completion ", ["bash", "zsh", "fish"]),
        ("fieldgate events --l", ["--limit"]),
        ("fieldgate --debug sources cl", ["climate"]),
        ("fieldgate sources -c other.toml ", ["other"]),
        ("fieldgate sources --config=other.toml ", ["other"]),
        ("fieldgate receipt --at now --config other.toml ", ["other"]),
        ("fieldgate export --config missing.toml ", []),
        ("fieldgate export --config broken.toml ", []),
        ("fieldgate show ", []),
    ],
)
def test_words(folder: Path, line: str, offered: list[str]) -> None:
    (folder / "other.toml").write_text("[source.other]\n")
    (folder / "broken.toml").write_bytes(b'source = "x"\n\xff[[[')
    assert completed(folder, line) == offered


def test_what_is_dropped_in_beside_the_configuration(folder: Path) -> None:
    (folder / "fieldgate.d").mkdir()
    (folder / "fieldgate.d" / "more.toml").write_text("[source.extra]\n")
    assert completed(folder, "fieldgate sources ") == ["climate", "coop", "extra"]


def test_each_shell(folder: Path) -> None:
    for shell in ("zsh", "fish"):
        assert "climate" in "\n".join(completed(folder, "fieldgate sources cl", shell))
    for shell in ("bash", "zsh", "fish"):
        done = fieldgate("completion", shell, cwd=folder)
        assert (done.code, done.err) == (0, "")
        assert f"_FIELDGATE_COMPLETE={shell}_complete" in done.out
    assert fieldgate("completion", "csh", cwd=folder).code == 2


def test_in_bash_itself(folder: Path) -> None:
    (folder / "fieldgate").write_text(f'#!/bin/sh\nexec {" ".join(FIELDGATE)} "$@"\n')
    (folder / "fieldgate").chmod(0o755)
    (folder / "script").write_text(fieldgate("completion", "bash", cwd=folder).out)
    lines = "source ./script; COMP_WORDS=(fieldgate recover --from ''); COMP_CWORD=3; _fieldgate_completion fieldgate"
    env = {"PATH": f"{folder}:{os.environ['PATH']}"}
    command = ["bash", "--norc", "-c", f"{lines}; echo ${{COMPREPLY[@]}}"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("coop vet\n", "")


@pytest.mark.parametrize(
    "line", ["fieldgate ", "fieldgate sources ", "fieldgate receipt c", "fieldgate recover --from "]
)
def test_little_is_imported(folder: Path, line: str) -> None:
    env = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_FIELDGATE_COMPLETE": "bash_complete"}
    command = [sys.executable, "-X", "importtime", *FIELDGATE[1:]]
    done = subprocess.run(
        command, cwd=folder, env={"PATH": "/usr/bin", **env}, capture_output=True, text=True, check=True
    )
    imported = {one.rpartition("|")[2].strip().partition(".")[0] for one in done.stderr.splitlines()}
    assert done.stdout
    assert "click" in imported
    assert imported & HEAVY == set()


def test_whatever_stands_for_a_command_has_options_of_it(folder: Path) -> None:
    """A name that the command itself does not have would complete what cannot be typed."""
    for name, (place, _) in COMMANDS.items():
        made = words(name, place)
        if made is not None:
            real = set(completed(folder, f"fieldgate {name} --"))
            assert {opt for param in made.params for opt in param.opts if opt.startswith("--")} <= real, name
