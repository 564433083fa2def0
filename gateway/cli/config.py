"""`fieldgate config`: the configurations that ran, the way back to them, and an example that has every field."""

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from gateway import config as configuration
from gateway.cli import OK, control, say
from gateway.cli.common import config_option, find_config, format_time
from gateway.cli.shown import Word, columns, echo, room
from gateway.config import ConfigFile
from gateway.config.past import Past, Snapshot
from gateway.core.text import plain
from gateway.errors import FieldgateError, NotFoundError, UnreachableError
from gateway.settings import Settings

_COLUMNS = ("no", "kept", "what", "files", "sha256", "changes")
_SHOWN = 3  # changes, in a table
_data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the gateway's data is, if the configuration is gone or no longer tells.",
)

Told = dict[str, Any]


@click.group()
def config() -> None:
    """What the configuration was, may be, and the way back."""


@config.command()
@click.option("--node", is_flag=True, help="Of an upstream node's node.toml.")
def example(node: bool) -> None:
    """Print a configuration with every table and field: its meaning, bounds and default.

    \b
    Examples:
      fieldgate config example > all.toml
      fieldgate config example | grep -A 12 modbus_rtu

    Exit 0: printed.
    """
    made = import_module("gateway.config.example")
    click.echo(made.node() if node else made.gateway(), nl=False)


@config.command()
@config_option
@_data_dir_option
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON.")
def history(config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """List the configurations that ran, oldest first, and those that a rollback replaced.

    A running gateway keeps each one that it takes over. The one that the files are now is marked.

    \b
    Examples:
      fieldgate config history
      fieldgate config history --json | jq '.[-1].files'

    Exit 0: listed, be there any or not. 2: the files cannot be read.
    """
    past = _past(find_config(config_file), data_dir)
    told = _told(past)
    if as_json:
        click.echo(json.dumps(told, indent=2))
    elif not told:
        click.echo(
            f"no configuration is kept in {plain(' or '.join(map(str, past.folders)))}: no gateway took one over"
        )
    else:
        _show([_row(one) for one in told])


@config.command()
@config_option
@_data_dir_option
@click.option("--to", "number", type=click.IntRange(1), metavar="NO", help="The one of this number in the history.")
def rollback(config_file: Path | None, data_dir: Path | None, number: int | None) -> int:
    """Go back to the configuration that ran last or, where the files are just that one, to the one before it.

    It is checked first. What it replaces is kept: --to with its number brings it back. A running gateway
    is asked to take it over.

    \b
    Examples:
      fieldgate config rollback
      fieldgate config rollback --to 4

    Exit 0: done. 1: a file is a link. 2: that configuration is not good. 3: there is none, or it cannot be written.
    """
    path = find_config(config_file)
    past = _past(path, data_dir)
    chosen, now = past.choose(number), past.current()
    settings = configuration.settings_of(past.read(chosen))
    kept = past.keep(now, replaced=True) if now else None
    past.restore(chosen)
    click.echo(plain(f"{path}: as it was kept on {format_time(chosen.kept_ms)} (snapshot {chosen.number})"))
    if kept:
        click.echo(f"what was there is kept: fieldgate config rollback --to {kept.number} brings it back")
    return _reload(control.socket_of(settings))


def _past(path: Path, data_dir: Path | None) -> Past:
    return Past(path, data_dir or configuration.data_dir(path))


def _reload(socket: Path) -> int:
    """Has a running gateway take it over; its exit code where it does not."""
    try:
        answer = control.call(socket, "/reload?asked=rollback", "POST")
    except UnreachableError as exc:
        say(f"the gateway has not been asked to take it over: {exc.what}. Where it runs: fieldgate reload")
        return OK
    if "error" in answer:
        error = answer["error"]
        say(f"the running gateway does not take it over: {error['what']}. {error['cure']}")
        return int(error["exit_code"])
    click.echo("the running gateway has taken it over")
    for name in answer.get("restart", ()):
        click.echo(plain(f"{name} waits for a restart: systemctl restart fieldgate"))
    return OK


def _told(past: Past) -> list[Told]:
    """The history as JSON, oldest first; `changes` are those since the last one before it that ran."""
    told: list[Told] = []
    now = past.current()
    before: Settings | None = None
    for snapshot in past.snapshots():
        files = _files(past, snapshot)
        settings = _settings(files)
        changed = configuration.changes(before, settings) if before and settings else []
        told.append(
            {
                "number": snapshot.number,
                "kept_ms": snapshot.kept_ms,
                "replaced": snapshot.replaced,
                "current": past.same(snapshot, now),
                "good": settings is not None,
                "files": [{"file": _name(snapshot, one), "sha256": one.sha256} for one in files],
                "changes": [one._asdict() for one in changed],
            }
        )
        before = before if snapshot.replaced else settings
    return told


def _files(past: Past, snapshot: Snapshot) -> Sequence[ConfigFile]:
    """Those of a snapshot; none where it is not whole, or not for this user."""
    try:
        return past.read(snapshot)
    except NotFoundError:
        return ()


def _settings(files: Sequence[ConfigFile]) -> Settings | None:
    try:
        return configuration.settings_of(files) if files else None
    except FieldgateError:
        return None


def _name(snapshot: Snapshot, file: ConfigFile) -> str:
    return str(file.path.relative_to(snapshot.folder))


def _row(one: Told) -> list[str]:
    what = "replaced by a rollback" if one["replaced"] else "ran"
    marks = ["now"] if one["current"] else []
    marks += [] if one["good"] else ["not good"]
    changes = [f"{change['key']} {change['how']}" for change in one["changes"]]
    more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    return [
        str(one["number"]),
        format_time(one["kept_ms"])[:19] + "Z",
        ", ".join([what, *marks]),
        str(len(one["files"])),
        one["files"][0]["sha256"][:12] if one["files"] else "",
        plain(", ".join(changes[:_SHOWN]) + more),
    ]


def _show(rows: list[list[str]]) -> None:
    table = [[Word(name, "bold") for name in _COLUMNS], *([Word(cell) for cell in row] for row in rows)]
    echo(columns(table, room()[0], right=(), gives_way=len(_COLUMNS) - 1))
