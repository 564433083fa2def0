"""`fieldgate logs`: the newest records of the running gateway's log."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from gateway.cli import OK, WORLD, control, say
from gateway.cli.common import config_option, find_config, format_time, moment
from gateway.core.text import plain
from gateway.errors import UnreachableError

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_POLL_S = 0.5
_WITH_JOURNAL = "What was logged before is in the system's journal: journalctl -x -u fieldgate"

Record = dict[str, Any]


@click.command()
@config_option
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C or the gateway's end.")
@click.option("--since", callback=moment, metavar="TIME", help="Nothing before it.")
@click.option(
    "--level",
    type=click.Choice([level.lower() for level in _LEVELS]),
    default="debug",
    help="Nothing below it.",
)
@click.option("--json", "as_json", is_flag=True, help="Each record as JSON, a line each.")
def logs(config_file: Path | None, follow: bool, since: int | None, level: str, as_json: bool) -> int:
    """Show the newest records of the running gateway's log: the last 1,000, kept in its memory.

    Each condition (docs/operations.md) is there when it begins and when it is over, with its id.

    \b
    Examples:
      fieldgate logs --level warning
      fieldgate logs --since 2026-11-23T06:30:00Z
      fieldgate logs --follow --json | jq .condition

    Exit 0: shown. 3: the gateway is not running; older records are in the system's journal.
    """
    path = control.socket_at(find_config(config_file))
    wanted = _LEVELS[_LEVELS.index(level.upper()) :]
    try:
        for record in _records(path, follow=follow):
            if record["level"] in wanted and (since is None or record["at_ms"] >= since):
                click.echo(json.dumps(record) if as_json else _line(record))
                sys.stdout.flush()
    except UnreachableError as exc:
        say(str(exc))
        say(_WITH_JOURNAL)
        return WORLD
    return OK


def _records(path: Path, *, follow: bool) -> Iterator[Record]:
    """The records that the gateway keeps, then, if that is wanted, those that come. Tells of those that went by."""
    after = 0
    while True:
        told = _ask(path, after)
        if after and told["last"] < after:  # it was started anew, and counts from 1
            after = 0
            continue
        if after and told["lost"]:
            say(f"{told['lost']} records came too fast to be shown")
        yield from told["records"]
        if not follow:
            return
        after = told["last"]
        time.sleep(_POLL_S)


def _ask(path: Path, after: int) -> Record:
    told = control.call(path, f"/logs?after={after}")
    try:
        for record in told["records"]:
            _line(record)
        int(told["last"]), int(told["lost"])
    except (ValueError, LookupError, TypeError, AttributeError):
        raise control.strange(path) from None
    return told


def _line(record: Record) -> str:
    name = {True: f" [{record['condition']}]", False: f" [{record['condition']} over]"}.get(record["holds"], "")
    return plain(f"{format_time(record['at_ms'])} {record['level']:<7} {record['logger']}:{name} {record['text']}")
