"""`fieldgate doctor`: what is wrong, in plain words, and what to do; and a support archive without secrets."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from gateway.cli import HELD, OK, REFUSED, WORLD, control, say
from gateway.cli.common import CONFIG_PLACES, config_option, find_config, output
from gateway.cli.digests import tell_digests
from gateway.conditions import SEVERITIES, SIGNING_HELD, STORE_DAMAGED, Problem
from gateway.core.text import plain
from gateway.doctor import CHECKS, Case, Checked, Report, bundle, examination, read
from gateway.errors import ConfigError, Fault, FieldgateError, UnreachableError
from gateway.settings import Settings

_STATUS_S = 5.0  # a gateway that runs answers in a fraction of it
_COLOURS = {"ERROR": "red", "WARNING": "yellow"}
_STATES = {"good": "good", "found": "LOOK", "unseen": "not seen"}


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Findings and checks as JSON.")
@click.option("--verbose", "-v", is_flag=True, help="Show the figures of each check.")
@click.option(
    "--bundle",
    "archive",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a support archive (tar.gz) without secrets.",
)
def doctor(config_file: Path | None, as_json: bool, verbose: bool, archive: Path | None) -> int:
    """Find out what is wrong, and say what to do.

    Looks at the configuration, the key, the store, the disk, permissions, the clock, serial ports, names, brokers,
    nodes, power, memory and versions, and asks the running gateway. It changes nothing, and opens no serial port. It
    works with the gateway running or not, and with a faulty configuration; what the user may not see is said.

    \b
    Examples:
      sudo fieldgate doctor
      fieldgate doctor -v
      fieldgate doctor --json | jq '.findings[] | .what'
      sudo fieldgate doctor --bundle support.tar.gz

    Exit 0: nothing, or notes. 1: warnings. 3: an error. 4: signing is held, or the store is damaged.
    """
    case = _case(config_file)
    with _progress() as told:
        report = asyncio.run(examination(case, told))
    shown = [json.dumps(report.json(), indent=2)] if as_json else map(_shown, _lines(report, verbose=verbose))
    for line in shown:
        click.echo(line)
    if archive is not None:
        contents = bundle.members(case, report, _logs(case.path))
        with output(archive, private=True) as file:
            file.write(bundle.pack(contents, int(time.time())))
        say(f"{archive} is written: look through it before you send it")
        if case.settings is not None:
            tell_digests(archive, case.settings.gateway.digests)
    return exit_code(report)


def exit_code(report: Report) -> int:
    """By the worst that was found."""
    found = [problem for problem, _ in report.findings]
    if any(one.condition in (SIGNING_HELD.id, STORE_DAMAGED.id) for one in found):
        return HELD
    severities = {one.severity for one in found}
    return WORLD if "error" in severities else REFUSED if "warning" in severities else OK


def _case(config_file: Path | None) -> Case:
    """What can be had of configuration and gateway, whatever is wrong with them."""
    settings: Settings | None = None
    faults: tuple[Fault, ...]
    try:
        path = find_config(config_file)
        settings, faults = read(path)
    except ConfigError as error:
        path, faults = config_file or CONFIG_PLACES[-1], error.faults
    state, silence = _asked(path)
    return Case(path=path, settings=settings, faults=faults, state=state, silence=silence)


def _asked(path: Path) -> tuple[Mapping[str, Any] | None, FieldgateError | None]:
    try:
        return control.call(control.socket_at(path), "/status", timeout_s=_STATUS_S), None
    except UnreachableError as error:
        return None, error
    except FieldgateError:  # where its data lies is not even known: the configuration's own check says so
        return None, None


def _logs(path: Path | None) -> Any:
    """The newest lines of the running gateway's log; None where there are none to be had."""
    try:
        return control.call(control.socket_at(path), "/logs?after=0", timeout_s=_STATUS_S) if path else None
    except FieldgateError:
        return None


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[Checked], object]]:
    """A bar on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with import_module("gateway.cli.terminal").progress_bar("looking", len(CHECKS)) as bar:
        yield lambda _: bar.advance(1)


def _lines(report: Report, *, verbose: bool) -> Iterator[str]:
    findings = [problem for problem, _ in report.findings]
    yield _headline(findings)
    for problem in findings:
        yield ""
        yield f"{problem.severity.upper():<8} {_sentence(problem)}"
        yield f"  cure   {problem.cure}"
        yield f"  id     {problem.condition} (docs/operations.md, Conditions)"
    yield ""
    for check in report.checks:
        yield f"{_STATES[check.state]:<9}{check.name:<14}{_said(check)}"
        if verbose:
            yield from (f"{'':<23}{name}: {figure}" for name, figure in check.figures.items())


def _sentence(problem: Problem) -> str:
    """Advice on a configuration names its place beside it."""
    named = not problem.subject or problem.subject in problem.what
    return problem.what if named else f"{problem.subject}: {problem.what}"


def _shown(line: str) -> str:
    """Safe to print; in colour, which only a terminal shows."""
    word = line.partition(" ")[0]
    return click.style(plain(line), fg=_COLOURS[word], bold=True) if word in _COLOURS else plain(line)


def _said(check: Checked) -> str:
    if check.state == "found":
        count = len(check.problems)
        return "1 finding" if count == 1 else f"{count} findings"
    return check.said


def _headline(findings: list[Problem]) -> str:
    if not findings:
        return "Nothing is wrong"
    counts = [(severity, sum(1 for one in findings if one.severity == severity)) for severity in SEVERITIES]
    return ", ".join(f"{count} {severity}{'s' if count != 1 else ''}" for severity, count in counts if count)
