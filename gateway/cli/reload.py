"""`fieldgate reload` and `fieldgate sync`: what the running gateway is told to do at once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from gateway.cli import OK, control
from gateway.cli.common import config_option, find_config
from gateway.core.text import plain
from gateway.errors import from_json

_TURNS = ("started", "stopped", "changed")
_KINDS = (("sources", "source"), ("nodes", "node"), ("tables", "table"))


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="What was done as JSON.")
def reload(config_file: Path | None, as_json: bool) -> int:
    """Have the running gateway take over its configuration as it is now.

    It is checked first. Where anything is wrong, nothing is changed and everything that is wrong is told. What has not
    changed is not touched: its connections stay. Secrets are read again.

    \b
    Examples:
      fieldgate reload
      fieldgate reload --json | jq .restart

    Exit 0: taken over. 2: the configuration or a secret is wrong. 3: not running, or stopping.
    """
    socket = control.socket_at(find_config(config_file))
    answer = control.call(socket, "/reload", "POST")
    try:
        refused = from_json(answer["error"]) if "error" in answer else None
        told = [plain(line) for line in _lines(answer)] if refused is None else []
    except (LookupError, TypeError, AttributeError):
        raise control.strange(socket) from None
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return OK if refused is None else refused.exit_code
    if refused is not None:
        raise refused
    for line in told:
        click.echo(line)
    return OK


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    """What a reload has done, for a person."""
    done = [f"{kind:<7} {name:<32} {turn}" for field, kind in _KINDS for turn in _TURNS for name in answer[field][turn]]
    yield from done or ["nothing has changed"]
    for name in answer["late"]:
        yield f"waits   {name:<32} does not end: what comes in its place begins then"
    for name in answer["restart"]:
        yield f"restart {name:<32} waits for: systemctl restart fieldgate"


@click.group()
def sync() -> None:
    """Nodes and witnesses, and what they lack."""


@sync.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="The names as JSON.")
def now(config_file: Path | None, as_json: bool) -> int:
    """Ask every node and witness at once, also one that did not answer and is left alone for a while.

    `fieldgate status` tells what they answer.

    \b
    Examples:
      fieldgate sync now
      fieldgate sync now && sleep 2 && fieldgate status

    Exit 0: they are asked. 3: not running.
    """
    socket = control.socket_at(find_config(config_file))
    answer = control.call(socket, "/sync", "POST")
    names = answer.get("nodes")
    if not isinstance(names, list):
        raise control.strange(socket)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    elif names:
        click.echo(f"asked: {plain(', '.join(map(str, names)))}. fieldgate status tells what they answer")
    else:
        click.echo("no [node.NAME] and no [witness.NAME] is configured: there is nobody to ask")
    return OK
