"""`fieldgate events`: what the gateway told of itself, which is in the chain like every reading."""

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from gateway import config
from gateway.cli.common import config_option, find_config, format_time
from gateway.cli.reading import opened
from gateway.cli.screen import value
from gateway.cli.shown import Line, Word, cut, echo, line, room
from gateway.store import events as stored
from gateway.store.events import Event

_MOST = 10_000


@click.command()
@click.option(
    "--limit", type=click.IntRange(1, _MOST), default=20, show_default=True, metavar="N", help="At most so many."
)
@click.option(
    "--before", type=click.IntRange(0, 2**62), metavar="PLACE", help="Older than that one, as a list ends with it."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON (docs/json.md).")
@config_option
def events(limit: int, before: int | None, as_json: bool, config_file: Path | None) -> None:
    """Show the gateway's own events, the newest first. The gateway may be running or not.

    Starts and stops, sources that came or went, steps of the clock, what was dropped: each is a reading of the source
    `gateway`, signed with all others. docs/operations.md explains them. Of blocks that were pruned they are at nodes.

    \b
    Examples:
      fieldgate events
      fieldgate events --limit 200
      fieldgate events --json | jq '.events[] | select(.event == "source-lost")'

    Exit 0: told. 3: there is no store.
    """
    data_dir = config.load(find_config(config_file)).gateway.data_dir
    found = asyncio.run(_newest(data_dir, limit + 1, before))
    shown, older = found[:limit], len(found) > limit
    if as_json:
        told = {"events": [as_told(one) for one in shown], "before": shown[-1].place if older else None}
        click.echo(json.dumps(told, indent=2))
        return
    width, _ = room()
    echo([cut(_line(one), width) for one in shown] or [line("no event is in this store")])
    if older:
        echo([line(Word(f"and older ones: fieldgate events --before {shown[-1].place}", "faint"))])


async def _newest(data_dir: str, limit: int, before: int | None) -> list[Event]:
    async with opened(data_dir) as store:
        return await stored.newest(store, limit, before)


def as_told(event: Event) -> dict[str, Any]:
    """An event as JSON-able values."""
    details = {name: one.hex() if isinstance(one, bytes) else one for name, one in event.details}
    return {
        "place": event.place,
        "time_ms": event.at_ms,
        "event": event.what,
        "details": details,
        "quality": event.quality,
        "height": event.height,
    }


def _line(event: Event) -> Line:
    details = ", ".join(f"{name} {value(one)}" for name, one in event.details)
    where = "not sealed yet" if event.height is None else f"block {event.height}"
    return line(
        Word(f"{format_time(event.at_ms)}  ", "faint"),
        Word(event.what, "bold"),
        f"  {details}" if details else "",
        Word(f"  ({where})", "faint"),
    )
