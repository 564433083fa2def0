"""`fieldgate status`: what the running gateway tells of itself, and whether its counts add up."""

import asyncio
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import click

from gateway import config
from gateway.cli import HELD, OK, REFUSED, WORLD, control, say
from gateway.cli.common import config_option, find_config, format_time
from gateway.cli.reading import opened
from gateway.core.block import parse_entry
from gateway.core.text import plain
from gateway.errors import FieldgateError, UnreachableError
from gateway.settings import Settings

_COLUMNS = ("source", "state", "received", "stored", "duplicate", "rejected", "dropped", "waiting", "newest reading")
_LINK = {True: "up", False: "AWAY", None: "-"}

State = dict[str, Any]


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="The whole state as JSON.")
def status(config_file: Path | None, as_json: bool) -> int:
    """Tell how the gateway is doing: what needs a person, its sources, its chain, its nodes.

    For every source, received = stored + duplicate + rejected + dropped is checked.

    \b
    Examples:
      fieldgate status
      fieldgate status --json | jq .chain

    Exit 0: running. 1: a source's counts do not add up. 3: not running. 4: signing is held.
    """
    path = find_config(config_file)
    socket = control.socket_at(path)
    try:
        state = ask(socket)
    except UnreachableError as exc:
        _tell_stored(config.load(path), as_json=as_json)
        say(str(exc))
        return WORLD
    state = {"running": True, "vkey": asyncio.run(_vkey(socket.parent)), **state}
    if as_json:
        click.echo(json.dumps(state, indent=2))
    else:
        _tell(state)
    for line in unbalanced(state):
        say(line)
    return HELD if state["chain"]["held"] else REFUSED if unbalanced(state) else OK


def ask(path: Path) -> State:
    """The state of the gateway behind a control socket. UnreachableError where nothing that is one answers."""
    state = control.call(path, "/status")
    try:
        _view(state)
        unbalanced(state)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise control.strange(path) from None
    return state


def unbalanced(state: State) -> list[str]:
    """A line for each source whose counts do not add up (DESIGN.md, invariant 5)."""
    lines = []
    for name, source in state["sources"].items():
        parts = [source[key] for key in ("stored", "duplicate", "rejected", "dropped")]
        if source["received"] != sum(parts):
            words = " + ".join(map(str, parts))
            lines.append(
                f"source {name}: received {source['received']} is not stored + duplicate + rejected + dropped "
                f"({words} = {sum(parts)}). This is a bug: report it with fieldgate status --json"
            )
    return lines


class View(NamedTuple):
    """What a person is told: lines, a table's rows, and lines behind it. All of it is safe to print."""

    lines: list[str]
    rows: list[list[str]]
    notes: list[str]


def _view(state: State) -> View:
    rows = [[plain(cell) for cell in _row(name, source)] for name, source in state["sources"].items()]
    return View([plain(line) for line in _lines(state)], rows, [plain(line) for line in _rejects(state)])


def _tell(state: State) -> None:
    """The state for a person; the table in colour on a terminal."""
    view = _view(state)
    click.echo("\n".join([*view.lines, ""]))
    if sys.stdout.isatty():
        import_module("gateway.cli.terminal").table(_COLUMNS, view.rows)
    else:
        click.echo("\n".join(_aligned([list(_COLUMNS), *view.rows])))
    for line in view.notes:
        click.echo(line)


def _lines(state: State) -> list[str]:
    clock, chain = state["clock"], state["chain"]
    error = "" if clock["error_ms"] is None else f", off by at most {clock['error_ms']} ms"
    lines = [f"{state['origin']}: {state['headline']}"]
    if state.get("vkey"):
        lines.append(f"log key         {state['vkey']}")
    lines += [
        f"running         {state['version']}, since {format_time(state['since_ms'])}",
        f"clock           {'synchronised' if clock['synchronised'] else 'NOT synchronised'}{error}",
        f"chain           {chain['size']} blocks with {chain['readings']} readings, {chain['open']} in the open block",
    ]
    if chain["last_sealed_ms"] is not None:
        lines.append(f"last sealed     {format_time(chain['last_sealed_ms'])}")
    if state["disk"]:
        lines.append(f"disk            {_disk(state['disk'])}")
    if chain["held"]:
        lines.append(f"SIGNING IS HELD {chain['held']}")
    for name, node in state["nodes"].items():
        mark = "" if node["ok"] else "AWAY: "
        sizes = f"entries {node['entries']}, seen {node['seen']}, stored {node['stored']}"
        lines.append(f"node {name:<10} {sizes}; {mark}{node['detail']}")
    for problem in state["problems"]:
        lines += [f"problem         {problem['what']}", f"  cure          {problem['cure']}"]
    return lines


def _row(name: str, source: State) -> list[str]:
    counts = [str(source[key]) for key in _COLUMNS[2:8]]
    newest = "" if source["last_ms"] is None else format_time(source["last_ms"]) + " " + _values(source["last"])
    return [name, _LINK.get(source["up"], "-"), *counts, newest]


def _values(records: list[Any]) -> str:
    return ", ".join(f"{name} {value}{f' {unit}' if unit else ''}" for name, unit, value in records)


def _rejects(state: State) -> list[str]:
    lines = []
    for name, source in state["sources"].items():
        if source["rejects"]:
            reasons = ", ".join(f"{reason} {count}" for reason, count in source["rejects"].items())
            lines.append(f"rejected of {name}: {reasons}")
        if source["example"]:
            example = source["example"]
            lines.append(f"  the last: {example['reason']}: {example['detail']}: {example['payload']}")
        if source["up"] is False and source["detail"]:
            lines.append(f"{name} is away: {source['detail']}")
    return lines


def _disk(disk: State) -> str:
    used = f"{_mib(disk['used'])} of {_mib(disk['quota'])} used, {_mib(disk['free'])} free on the disk"
    return f"{used}, {disk['prunable']} readings can be pruned" + ("; HELD: " + disk["held"] if disk["held"] else "")


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def _aligned(rows: list[list[str]]) -> list[str]:
    """Columns of equal width, two blanks apart; counts to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    numbers = range(2, len(_COLUMNS) - 1)
    return [
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _tell_stored(settings: Settings, *, as_json: bool) -> None:
    """What the store of a gateway that does not run holds."""
    try:
        held = asyncio.run(_stored(settings))
    except FieldgateError as exc:
        say(str(exc))
        held = {"running": False, "vkey": None, "origin": settings.origin, "chain": None, "nodes": {}}
    if as_json:
        click.echo(json.dumps(held, indent=2))
        return
    chain = held["chain"]
    if chain is None:
        return
    click.echo(f"{held['origin']}: not running")
    click.echo(f"log key         {held['vkey']}")
    click.echo(f"chain           {chain['size']} blocks with {chain['readings']} readings")
    if chain["last_sealed_ms"] is not None:
        click.echo(f"last sealed     {format_time(chain['last_sealed_ms'])}")
    for name, node in held["nodes"].items():
        click.echo(f"node {name:<10} seen {node['seen']}, stored {node['stored']}")


async def _vkey(data_dir: Path) -> str | None:
    """The log's key, for whoever enrols it; None where this user may not read the store."""
    try:
        async with opened(data_dir) as store:
            return str(store.vkey)
    except (FieldgateError, OSError):
        return None


async def _stored(settings: Settings) -> State:
    async with opened(settings.gateway.data_dir) as store:
        size = store.blocks.size
        newest = await store.blocks.entries(size - 1, 1) if size else []
        nodes = {name: await store.cosigned.progress(name) for name in settings.node}
        return {
            "running": False,
            "vkey": str(store.vkey),
            "origin": store.vkey.name,
            "chain": {
                "size": size,
                "readings": store.blocks.readings,
                "last_sealed_ms": parse_entry(newest[0]).header.sealed if newest else None,
            },
            "nodes": {name: {"seen": progress.seen, "stored": progress.stored} for name, progress in nodes.items()},
        }
