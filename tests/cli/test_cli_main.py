"""Exit codes, one line for an error, no traceback, and what each command imports."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import click
import pytest
from fakes.command import FIELDGATE, fieldgate
from fakes.configs import GATEWAY

import drivers
import gateway
from gateway import cli
from gateway.errors import BugError, ConfigError, Fault, FieldgateError, HeldError, StoreError, UnreachableError


def leaves(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    """The commands that do something, each by the words that call it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from leaves(found, *path, name)
    else:
        yield path


def test_no_command(tmp_path: Path) -> None:
    done = fieldgate(cwd=tmp_path)
    assert done.code == 2
    assert "A first run" in done.out
    assert done.err == ""


def test_version(tmp_path: Path) -> None:
    done = fieldgate("--version", cwd=tmp_path)
    assert (done.code, done.out) == (0, "fieldgate 0.1.0\n")


@pytest.mark.parametrize("words", list(leaves(cli.cli)), ids=" ".join)
def test_help_has_examples_and_exit_codes(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*words, "--help"])
    assert caught.value.code == 0
    told = capsys.readouterr().out
    assert f"  fieldgate {' '.join(words)}" in told.partition("Example")[2]
    assert re.search(r"^  (Exit )?\d+: ", told, re.MULTILINE)


def test_help_lists_every_command_without_importing_one(tmp_path: Path) -> None:
    done = fieldgate("--help", cwd=tmp_path)
    assert [line.split()[0] for line in done.out.partition("Commands:\n")[2].splitlines()] == list(cli.COMMANDS)
    assert imported(tmp_path, "--help") & {"msgspec", "nacl", "aiosqlite"} == set()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["frobnicate"], "there is no command frobnicate"),
        (["recipt"], "did you mean receipt?"),
        (["--frob"], "--frob"),
        (["run", "--frob"], "--frob"),
        (["receipt"], "SOURCE"),
        (["receipt", "climate"], "--at"),
        (["receipt", "climate", "--at", "yesterday"], "2026-11-23T06:30:00Z"),
        (["receipt", "climate", "--at", "2026-11-23T06:30:00"], "which zone"),
        (["receipt", "climate", "--at", "1969-11-23T06:30:00Z"], "before 1970"),
        (["receipt", "Climate", "--at", "now"], "SOURCE"),
        (["export", "a/b"], "SOURCE"),
        (["export", "climate", "--format", "xml"], "xml"),
        (["verify"], "RECEIPT"),
        (["verify", "r", "--store", "d"], "not both"),
        (["verify", "r"], "--policy"),
        (["init"], "--name"),
        (["init", "--name", "a", "--epoch", "0"], "--epoch"),
        (["x\x1b[31m\ny"], "\\x1b"),
    ],
)
def test_usage(tmp_path: Path, args: list[str], told: str) -> None:
    done = fieldgate(*args, cwd=tmp_path)
    assert done.code == 2
    assert done.out == ""
    assert len(done.lines) == 1
    assert done.err.startswith("fieldgate: ")
    assert told in done.err
    assert done.err.rstrip("\n").isprintable()


@pytest.mark.parametrize(
    "args",
    [["check"], ["run"], ["status"], ["receipt", "a", "--at", "now"], ["policy"], ["export", "a"]],
    ids=lambda args: args[0],
)
def test_no_configuration(tmp_path: Path, args: list[str]) -> None:
    done = fieldgate(*args, cwd=tmp_path)
    assert done.code == 2
    assert "fieldgate init" in done.err
    assert fieldgate(*args, "--config", "x.toml", cwd=tmp_path).code == 2


def test_check_tells_every_fault_on_a_line(tmp_path: Path) -> None:
    text = GATEWAY.replace('"mqtt://127.0.0.1:1883"', '"mqtt://bob:hunter2@h"').replace(
        "file:/etc/fieldgate/m", "hunter2"
    )
    (tmp_path / "fieldgate.toml").write_text(text + "[seal]\nmax_cout = 1\nmax_age_s = -1\n")
    done = fieldgate("check", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert [line.split(": ")[0] for line in done.lines[:-1]] == [f"fieldgate.toml:{n}" for n in (7, 9, 23, 24)]
    assert done.lines[-1] == "fieldgate: 4 faults in the configuration: fieldgate.toml"
    assert "hunter2" not in done.err


def test_the_second_place_of_the_configuration(tmp_path: Path) -> None:
    done = fieldgate("check", cwd=tmp_path)
    assert "/etc/fieldgate/fieldgate.toml" in done.err


# What is written about the commands

ROOT = Path(__file__).parents[2]


def test_the_manual_knows_every_command_and_exit_code() -> None:
    manual = (ROOT / "docs" / "operations.md").read_text()
    rows = [line.split("|")[1].strip() for line in manual.splitlines() if line.startswith("|")]
    for name in cli.COMMANDS:
        assert any(row.startswith(f"`{name}") for row in rows), name
    for code in (cli.OK, cli.REFUSED, cli.USAGE, cli.WORLD, cli.HELD, cli.BUG, cli.INTERRUPTED):
        assert str(code) in rows
        assert re.search(rf"^{code}\b", cli.__doc__ or "", re.MULTILINE)


@pytest.mark.parametrize("unit", ["fieldgate.service", "fieldgate-node.service", "fieldgate-verify.service"])
def test_the_units_start_commands_that_exist(unit: str) -> None:
    text = (ROOT / "systemd" / unit).read_text()
    commands = re.findall(r"^Exec(?:Start|Reload)=/usr/bin/fieldgate (.*)$", text, re.MULTILINE)
    assert len(commands) == text.count("\nExecStart=") + text.count("\nExecReload=")
    for command in commands:
        with pytest.raises(SystemExit) as caught:
            cli.main([*command.replace("/fieldgate", "/none").split()])
        assert caught.value.code == 2, "the configuration is missing, and no option is unknown"
        manual = (ROOT / "docs" / "operations.md").read_text()
        assert command.rpartition(" ")[2] in manual


# Errors


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (
            HeldError("the sign-state is missing", where="/x", cure="Begin a new epoch"),
            4,
            "/x: the sign-state is missing.",
        ),
        (StoreError("input/output error"), 4, "input/output error"),
        (UnreachableError("no answer"), 3, "no answer"),
        (FieldgateError("refused\nand more"), 1, "refused\\nand more"),
        (BugError("an invariant"), 70, "an invariant"),
        (ConfigError([Fault("f", 1, "k", "is wrong", "Mend it")]), 2, "1 fault in the configuration: f"),
        (PermissionError(13, "Permission denied", "/data"), 3, "/data: Permission denied"),
        (ZeroDivisionError("division by zero"), 70, "a bug: ZeroDivisionError: division by zero"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (BrokenPipeError(32, "Broken pipe"), 70, "a connection broke"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_error_is_a_line_and_a_code(
    error: BaseException, code: int, told: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _run_with(error, monkeypatch) == code
    err = capfd.readouterr().err
    assert told in err
    assert "Traceback" not in err
    assert all(line.isprintable() for line in err.splitlines())
    if code == 70 and isinstance(error, ZeroDivisionError):
        assert "--debug" in err


@pytest.mark.parametrize("args", [["--debug", "check"], ["check", "--debug"]])
def test_debug_gives_the_traceback(
    args: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _run_with(ZeroDivisionError("x"), monkeypatch, args) == 70
    assert "Traceback (most recent call last)" in capfd.readouterr().err


def _run_with(error: BaseException, monkeypatch: pytest.MonkeyPatch, args: list[str] | None = None) -> Any:
    """The exit code when a command ends with this error."""

    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr("gateway.cli.check.find_config", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main(args or ["check"])
    return caught.value.code


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    (tmp_path / "fieldgate.toml").write_text(GATEWAY)
    with subprocess.Popen(
        [*FIELDGATE, "check"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (3, b"")


def test_output_that_has_no_room(tmp_path: Path) -> None:
    (tmp_path / "fieldgate.toml").write_text(GATEWAY)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*FIELDGATE, "check"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 3
    assert done.stderr == b"fieldgate: No space left on device\n"


def test_an_environment_without_unicode(tmp_path: Path) -> None:
    done = fieldgate("check", "--config", "höhle.toml", cwd=tmp_path, env={"LC_ALL": "C", "PYTHONUTF8": "0"})
    assert done.code == 2
    assert "Traceback" not in done.err


THREAD = """
import sys, threading
from pathlib import Path
from gateway import cli
from gateway.cli import check
from gateway.errors import StoreError
def fail(_):
    threading.Thread(target=threading.Event().wait).start()
    raise StoreError("input/output error")
check.find_config = fail
sys.argv = ["fieldgate", "check"]
cli.main()
"""


def test_a_thread_left_behind_does_not_keep_the_process() -> None:
    """A gateway that lost durability must end, so that it is restarted."""
    done = subprocess.run([sys.executable, "-c", THREAD], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (4, "fieldgate: input/output error\n")


# Imports


def alone(module: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", sorted({module.partition(":")[0] for module, _ in cli.COMMANDS.values()}))
def test_a_command_needs_nothing_that_another_imports(module: str) -> None:
    assert alone(module).stderr == ""


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_no_module_needs_another_to_be_imported_first() -> None:
    """Imports that go round in a circle work from one end only."""
    found = [one.name for part in (drivers, gateway) for one in walk_packages(part.__path__, part.__name__ + ".")]
    modules = [module for module in found if not module.endswith(".__main__")]
    assert {"gateway.recover.rebuild", "drivers.modbus"} <= set(modules)
    assert {module: told for module in modules if (told := alone(module).stderr)} == {}


NOT_IN_VERIFY = {"aiohttp", "msgspec", "rich", "aiosqlite", "sqlite3", "asyncio", "tomlkit", "serial", "paho", "http"}


def imported(cwd: Path, *args: str | Path) -> set[str]:
    """The top-level packages that a command imports, told by the interpreter itself."""
    command = [sys.executable, "-X", "importtime", *FIELDGATE[1:], *map(str, args)]
    told = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False).stderr
    return packages(told)


def packages(told: str) -> set[str]:
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in told.splitlines() if "import time:" in line}


def test_verify_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("c2sp.org/tlog-proof@v1\n")
    (tmp_path / "p").write_text("quorum none\n")
    found = imported(tmp_path, "verify", "r", "--policy", "p")
    assert "nacl" in found, "it ran"
    assert found & NOT_IN_VERIFY == set()


def test_what_run_imports() -> None:
    code = "import sys, gateway.cli.run, gateway.app; print(sorted({n.partition('.')[0] for n in sys.modules}))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'aiohttp'" in told
    for name in ("rich", "tomlkit", "amqtt", "http_message_signatures"):
        assert f"'{name}'" not in told
