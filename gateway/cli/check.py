"""`fieldgate check`: everything that is wrong in a configuration, what is unwise, and what a change of it needs."""

import json
from collections.abc import Sequence, Sized
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from gateway import config
from gateway.cli import OK, USAGE, control
from gateway.cli.common import config_option, find_config
from gateway.config import Change, ConfigFile
from gateway.core.text import plain
from gateway.errors import ConfigError, FieldgateError, UnreachableError
from gateway.settings import NodeSettings, Settings

_STATUS_S = 5.0

Told = dict[str, Any]


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@config_option
@click.option("--node", is_flag=True, help="The file is an upstream node's node.toml.")
@click.option("--json", "as_json", is_flag=True, help="Faults, advice and changes as JSON.")
@click.option("--schema", is_flag=True, help="Print a JSON Schema for editors, and check nothing.")
def check(file: Path | None, config_file: Path | None, node: bool, as_json: bool, schema: bool) -> int:
    """Check a configuration, FILE.toml and FILE.d/*.toml, and nothing else: no broker, device, key or node is touched.

    Everything that is wrong is told at once, each with its line and its cure. What is legal and unwise
    is told behind it, and where a gateway runs, which changes it can take over.

    \b
    Examples:
      fieldgate check
      fieldgate check /etc/fieldgate/fieldgate.toml
      fieldgate check --json | jq '.advice[].what'
      fieldgate check --node node.toml
      fieldgate check --schema > fieldgate.schema.json

    Exit 0: good, perhaps with advice. 2: not.
    """
    if schema:
        click.echo(
            json.dumps(getattr(import_module("gateway.config.schema"), "node" if node else "gateway")(), indent=2)
        )
        return OK
    if file and config_file:
        raise click.UsageError("name the file once: as FILE, or with --config")
    path = file or find_config(config_file)
    return _tell_json(path, node=node) if as_json else _tell(path, node=node)


def _tell(path: Path, *, node: bool) -> int:
    read = config.files(path)
    name = plain(" and ".join([str(path), *([f"{len(read) - 1} of {path.stem}.d"] if len(read) > 1 else [])]))
    if node:
        node_settings = config.node_settings_of(read)
        found = node_advice(node_settings, read)
        _tell_advice(found)
        click.echo(f"{name}: good: a node with {_count(node_settings.gateway, 'gateway')}{_counted(found)}")
        return OK
    settings = config.settings_of(read)
    found = advice(settings, read)
    _tell_advice(found)
    click.echo(f"{name}: good: {_summary(settings, found)}")
    by_profile = config.set_by_profile(read)
    if settings.gateway.profile != "international":
        said = ", ".join(f"{key} = {json.dumps(value)}" for key, value in by_profile.items()) or "nothing"
        click.echo(plain(f"Profile {settings.gateway.profile} sets {said}; what is written stays"))
    for line in _changed(running_changes(path, settings)):
        click.echo(plain(line))
    return OK


def _tell_advice(found: Sequence[Told]) -> None:
    for one in found:
        place = f"{one['file']}:{one['line']}" if one["line"] else one["file"]
        key = f"{one['key']}: " if one["key"] else ""
        click.echo(plain(f"{place}: {one['severity']}: {key}{one['what']}. {one['cure']}"))


def _tell_json(path: Path, *, node: bool) -> int:
    told: Told = {"file": str(path), "good": True, "faults": [], "advice": [], "files": [], "changes": None}
    told["profile"] = None
    try:
        read = config.files(path)
        told["files"] = [{"file": str(one.path), "sha256": one.sha256} for one in read]
        if node:
            told["advice"] = node_advice(config.node_settings_of(read), read)
        else:
            settings = config.settings_of(read)
            told["advice"] = advice(settings, read)
            told["profile"] = {"name": settings.gateway.profile, "sets": config.set_by_profile(read)}
            changes = running_changes(path, settings)
            told["changes"] = None if changes is None else [one._asdict() for one in changes]
    except ConfigError as exc:
        told |= {"good": False, "faults": [asdict(fault) for fault in exc.faults]}
    click.echo(json.dumps(told, indent=2))
    return OK if told["good"] else USAGE


def advice(settings: Settings, read: Sequence[ConfigFile]) -> list[Told]:
    """What is unwise, as JSON: condition, severity, file, line, key, what, cure, values; in the order of the lines."""
    found = [
        *import_module("gateway.config.advice").advice(settings),
        *import_module("gateway.config.machine").look(settings, read),
    ]
    return _placed(found, read)


def node_advice(settings: NodeSettings, read: Sequence[ConfigFile]) -> list[Told]:
    """The same of a node's configuration."""
    return _placed(import_module("gateway.config.advice").node_advice(settings), read)


def _placed(found: Sequence[Any], read: Sequence[ConfigFile]) -> list[Told]:
    if not found:
        return []
    places = import_module("gateway.config.report").Places.of(read)
    told = []
    for one in found:
        problem = one.problem.json()
        file, line = places.find(one.place) if one.place else (problem["subject"], 0)
        key = problem.pop("subject") if one.place else ""
        told.append({"file": file, "line": line, "key": key, **problem})
    return sorted(told, key=lambda one: (one["file"] != places.first, one["file"], one["line"], one["key"]))


def running_changes(path: Path, settings: Settings) -> list[Change] | None:
    """What is another than in the configuration that the running gateway took over last, and what of that one still
    waits for a restart; None where none runs.
    """
    past = import_module("gateway.config.past").Past(path, Path(settings.gateway.data_dir))
    try:
        ran = [one for one in past.snapshots() if not one.replaced]
        if not ran:
            return None
        before = config.settings_of(past.read(ran[-1]))
        told = control.call(control.socket_of(before), "/status", timeout_s=_STATUS_S).get("configuration")
    except (UnreachableError, FieldgateError):
        return None
    found = config.changes(before, settings)
    waiting = told.get("restart") if isinstance(told, dict) else None
    known = {one.key for one in found}
    keys = waiting if isinstance(waiting, list) else []
    return found + [Change(key, "changed", restart=True) for key in keys if isinstance(key, str) and key not in known]


def _changed(changes: Sequence[Change] | None) -> list[str]:
    if not changes:
        return []
    lines = ["Since the running gateway took it over:"]
    for one in changes:
        needs = "needs a restart: systemctl restart fieldgate" if one.restart else "taken over by: fieldgate reload"
        lines.append(f"  {one.key} {one.how}: {needs}")
    return lines


def _summary(settings: Settings, found: Sequence[Told]) -> str:
    parts = [
        _count(settings.source, "source"),
        _count(settings.broker, "broker"),
        _count(settings.node, "node"),
        *([_number(len(settings.witness), "witness")] if settings.witness else []),
        f"log {settings.origin}",
    ]
    return ", ".join(parts) + _counted(found)


def _counted(found: Sequence[Told]) -> str:
    counts = {name: sum(one["severity"] == name for one in found) for name in ("warning", "note")}
    told = [_number(count, name) for name, count in counts.items() if count]
    return f"; {' and '.join(told)} above" if told else ""


def _count(things: Sized, noun: str) -> str:
    return _number(len(things), noun)


def _number(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('s') else 's'}"
