"""`fieldgate status`: what the running gateway tells of itself, and whether its counts add up."""

import asyncio
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from gateway import config
from gateway.cli import HELD, OK, REFUSED, WORLD, control, say
from gateway.cli.common import config_option, find_config
from gateway.cli.reading import opened
from gateway.cli.screen import screen, stored
from gateway.cli.shown import echo, room
from gateway.core.block import parse_entry
from gateway.errors import FieldgateError, UnreachableError
from gateway.settings import Settings

State = dict[str, Any]


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="The whole state as JSON (docs/json.md).")
@click.option("--watch", "again", is_flag=True, help="Again and again, until Ctrl-C; says so when it is stale.")
def status(config_file: Path | None, as_json: bool, again: bool) -> int:
    """Tell how the gateway is doing on one screen: what needs a person, sources, chain, nodes, the machine.

    For every source, received = stored + duplicate + rejected + dropped is checked. `fieldgate sources` tells more of
    them.

    \b
    Examples:
      fieldgate status
      fieldgate status --watch
      fieldgate status --json | jq .chain

    Exit 0: running. 1: a source's counts do not add up. 3: not running. 4: signing is held.
    """
    if again and (as_json or not sys.stdout.isatty()):
        raise click.UsageError("--watch is for a person at a terminal; programs call status --json again and again")
    path = find_config(config_file)
    socket = control.socket_at(path)
    if again:
        code: int = import_module("gateway.cli.watch").watch(socket)
        return code
    try:
        state = {"running": True, **ask(socket)}
    except UnreachableError as exc:
        _tell_stored(config.load(path), as_json=as_json)
        say(str(exc))
        return WORLD
    if as_json:
        click.echo(json.dumps(state, indent=2))
    else:
        echo(screen(state, *room()))
    for told in unbalanced(state):
        say(told)
    return HELD if state["chain"]["held"] else REFUSED if unbalanced(state) else OK


def ask(path: Path, timeout_s: float = control.TIMEOUT_S) -> State:
    """The state of the gateway behind a control socket. UnreachableError where nothing that is one answers."""
    state = control.call(path, "/status", timeout_s=timeout_s)
    try:
        screen(state, 80, 24)
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


def _tell_stored(settings: Settings, *, as_json: bool) -> None:
    """What the store of a gateway that does not run holds."""
    try:
        held = asyncio.run(_stored(settings))
    except FieldgateError as exc:
        say(str(exc))
        held = {"running": False, "vkey": None, "origin": settings.origin, "chain": None, "nodes": {}, "witnesses": {}}
    if as_json:
        click.echo(json.dumps(held, indent=2))
        return
    echo(stored(held, room()[0]))


async def _stored(settings: Settings) -> State:
    async with opened(settings.gateway.data_dir) as store:
        size = store.blocks.size
        newest = await store.blocks.entries(size - 1, 1) if size else []
        nodes = {name: await store.cosigned.progress(name) for name in settings.node}
        witnesses = {name: await store.cosigned.progress(name) for name in settings.witness}
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
            "witnesses": {name: {"seen": progress.seen} for name, progress in witnesses.items()},
        }
