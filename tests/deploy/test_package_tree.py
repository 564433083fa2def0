"""What is installed, without the wheels: units, scripts, man pages, completions, licences."""

import gzip
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from deb import archive, manual, package
from deb.archive import Entry, Tree
from gateway.cli import COMMANDS

EPOCH = 1_700_000_000
UNITS = "usr/lib/systemd/system/"
SCRIPTS = ("postinst", "prerm", "postrm")


@pytest.fixture(scope="module")
def tree() -> Tree:
    return package.tree({"gateway/__init__.py": Entry(b"")}, "copyright\n", "{}\n", EPOCH)


@pytest.fixture(scope="module")
def scripts(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The maintainer's scripts and the others, as they are installed."""
    folder = tmp_path_factory.mktemp("scripts")
    made = {**package.control_files("arm64", tree), "rtupdate": tree["usr/share/python3/runtime.d/fieldgate.rtupdate"]}
    for name, entry in made.items():
        (folder / name).write_bytes(entry.data)
    return [folder / name for name in (*SCRIPTS, "rtupdate")]


def test_what_units_start_is_there(tree: Tree) -> None:
    named = [
        found
        for path, entry in tree.items()
        if path.startswith(UNITS)
        for found in re.findall(r"^Exec(?:Start|Stop|Reload)\w*=[-+!@:]*/(\S+)", entry.data.decode(), re.MULTILINE)
    ]
    assert named and set(named) <= set(tree), named
    assert {f"{UNITS}fieldgate.service", f"{UNITS}fieldgate-node.service", "usr/lib/sysusers.d/fieldgate.conf"} <= set(
        tree
    )


def test_everything_that_lies_in_systemd_is_installed(tree: Tree) -> None:
    installed = {entry.data for entry in tree.values()}
    for folder in ("systemd", "deploy/udev", "deploy/systemd"):
        for path in (package.ROOT / folder).glob("*"):
            assert path.is_dir() or path.read_bytes() in installed, path


def test_nothing_goes_into_the_systems_python_or_etc(tree: Tree) -> None:
    for path in archive.whole(tree):
        assert not re.search(r"(dist|site)-packages|^etc|^usr/local|^var|^opt", path), path


def test_files_have_the_modes_of_debian(tree: Tree) -> None:
    for path, entry in tree.items():
        runs = path.startswith("usr/bin/") or path.endswith((".rtupdate", "/upgrade.py"))
        assert entry.mode == (0o755 if runs else 0o644), path
        assert not entry.mode & (stat.S_ISUID | stat.S_ISGID), path


def test_scripts_are_whole_and_posix(scripts: list[Path]) -> None:
    for path in scripts:
        text = path.read_text()
        assert text.startswith("#!/bin/sh\n") and "set -e\n" in text and "@" not in text, path
        assert subprocess.run(["sh", "-n", path], check=False).returncode == 0, path


def test_scripts_satisfy_shellcheck(scripts: list[Path]) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", "--norc", "-s", "dash", *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_only_the_gateways_units_start_with_the_machine(tree: Tree, scripts: list[Path]) -> None:
    enabled = re.findall(r"^for unit in (.*); do$", scripts[0].read_text(), re.MULTILINE)[0].split()
    assert "fieldgate.service" in enabled and not [one for one in enabled if one.startswith("fieldgate-node")]
    assert {f"{UNITS}{one}" for one in enabled} <= set(tree)


def test_what_refuses_to_be_stopped_is_not_stopped(tree: Tree, scripts: list[Path]) -> None:
    """systemctl would say so at each update."""
    refusing = {path.removeprefix(UNITS) for path, one in tree.items() if b"\nRefuseManualStop=yes" in one.data}
    loop = re.compile(r"for unit in (.*); do\n((?s:.*?))\n *done")
    loops = [found for path in scripts for found in loop.findall(path.read_text())]
    stopping = [set(units.split()) for units, does in loops if re.search("deb-systemd-invoke (stop|restart)", does)]
    assert len(stopping) == 3
    assert refusing and all(refusing.isdisjoint(units) for units in stopping)
    assert any("fieldgate.service" in units for units in stopping)


def test_each_command_has_its_page(tree: Tree) -> None:
    for name in ("fieldgate", *(f"fieldgate-{command}" for command in COMMANDS)):
        page = gzip.decompress(tree[f"usr/share/man/man1/{name}.1.gz"].data).decode()
        assert page.startswith(f'.TH "{name.upper()}" 1 "2023-11-14"'), name


def test_pages_are_good_roff(tmp_path: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    for name, text in manual.pages("2026-11-23").items():
        (tmp_path / name).write_text(text)
    pages = sorted(tmp_path.iterdir())
    lint = subprocess.run(["mandoc", "-Tlint", "-Wwarning", *pages], capture_output=True, text=True, check=False)
    assert lint.returncode == 0, lint.stdout
    shown = subprocess.run(
        ["mandoc", "-Tutf8", "-Owidth=200", tmp_path / "fieldgate-export.1"], capture_output=True, text=True, check=True
    )
    flat = re.sub(r".\x08", "", shown.stdout)
    for word in ("fieldgate export", "--from", "--format", "Exit 0", "fieldgate(1)"):
        assert word in flat, flat


def test_a_line_of_help_is_never_a_macro() -> None:
    assert manual._text(".so /etc/passwd").startswith("\\&.")
    assert manual._text("'tis").startswith("\\(aq")
    assert manual._text("a\\n") == "a\\en"


def test_shells_find_their_completion(tree: Tree) -> None:
    for place in (
        "usr/share/bash-completion/completions/fieldgate",
        "usr/share/zsh/vendor-completions/_fieldgate",
        "usr/share/fish/vendor_completions.d/fieldgate.fish",
    ):
        assert b"_FIELDGATE_COMPLETE" in tree[place].data, place
