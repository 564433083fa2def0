"""`fieldgate anchors`: what was put on chains, and how far the newest have come."""

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from gateway import config
from gateway.cli import control
from gateway.cli.common import config_option, find_config, format_time
from gateway.cli.reading import opened
from gateway.cli.shown import Line, Style, Word, columns, cut, echo, folded, line, room
from gateway.cli.status import ask
from gateway.core.anchor import is_stamped
from gateway.core.anchor_row import ANCHORED, CLAIMED, FAILED, AnchorRow
from gateway.core.limits import NUMBER_MAX
from gateway.core.text import plain
from gateway.errors import UnreachableError
from gateway.settings import Settings

_MOST = 10_000
_HEAD = ("SIZE", "BEGUN", "NAME", "CHAIN", "STATE", "BLOCK", "ITS TIME")
_STATE = 4
_LOOKS: dict[str, Style] = {ANCHORED: "good", FAILED: "bad"}


@click.command()
@click.option(
    "--limit", type=click.IntRange(1, _MOST), default=20, show_default=True, metavar="N", help="At most so many."
)
@click.option("--before", type=click.IntRange(0, NUMBER_MAX), metavar="SIZE", help="Below that size only.")
@click.option("--json", "as_json", is_flag=True, help="As JSON (docs/json.md).")
@config_option
def anchors(limit: int, before: int | None, as_json: bool, config_file: Path | None) -> None:
    """List what was put on chains, the newest first, and tell how far each chain is. The gateway may run or not.

    An anchor covers every block below its size. docs/anchors.md explains the states.

    \b
    Examples:
      fieldgate anchors
      fieldgate anchors --before 1000 --limit 50
      fieldgate anchors --json | jq '.anchors[] | select(.state == "failed")'

    Exit 0: told. 3: there is no store.
    """
    path = find_config(config_file)
    settings = config.load(path)
    told = asyncio.run(_told(settings, limit, before))
    chains = _running(path)
    told["running"] = chains is not None
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    width, _ = room()
    echo([cut(one, width) for one in _chains(chains)] + _reasons(chains or {}, width))
    head = [Word(name, "faint") for name in _HEAD]
    rows = [head, *map(_row, told["anchors"])]
    echo(columns(rows, width, right={0}, gives_way=_STATE) if told["anchors"] else [line("nothing was anchored yet")])
    if told["before"] is not None:
        echo([line(Word(f"and older ones: fieldgate anchors --before {told['before']}", "faint"))])


async def _told(settings: Settings, limit: int, before: int | None) -> dict[str, Any]:
    async with opened(settings.gateway.data_dir) as store:
        found = await store.anchors.listed(limit + 1, before)
        older = found[limit - 1].size if len(found) > limit else None
        told = [_listed(one) for one in found[:limit]]
        return {"origin": store.vkey.name, "size": store.blocks.size, "anchors": told, "before": older}


def _running(path: Path) -> dict[str, Any] | None:
    """What the running gateway tells of each chain; None where none runs."""
    try:
        chains: dict[str, Any] = ask(control.socket_at(path))["anchors"]
    except UnreachableError:
        return None
    return chains


def _listed(row: AnchorRow) -> dict[str, Any]:
    return {
        "size": row.size,
        "root": row.root.hex(),
        "name": row.name,
        "kind": row.kind,
        "chain": row.chain,
        "state": row.shown,
        "since_ms": row.since_ms,
        "block": row.number,
        "block_hash": None if row.hash is None else row.hash.hex(),
        "time_s": row.time_s,
        "sent_bytes": len(row.data),
        "evidence_bytes": len(row.evidence or b""),
        "why": row.why,
        "cure": row.cure,
    }


def _chains(chains: dict[str, Any] | None) -> list[Line]:
    if chains is None:
        return [line(Word("the gateway does not run: this is what its store has", "warn"))]
    if not chains:
        return [line(Word("no chain is configured: docs/anchors.md tells how", "warn"))]
    return [_chain(name, told) for name, told in chains.items()]


def _chain(name: str, told: dict[str, Any]) -> Line:
    state = told["state"]
    if state == CLAIMED:
        state += " by the node, and not checked against a pin"
    if told["block"] and not is_stamped(told["kind"], told["chain"]):
        state += f", {told['confirmed']} of {told['confirmations']}"
    begun = f"size {told['size']:,} is {state}" if told["size"] else "nothing is begun yet"
    until = f"; anchored up to block {told['anchored'] - 1:,}" if told["anchored"] else ""
    head = Word(f"{name} ({told['kind']} {told['chain']}): ", "bold")
    return line(head, Word(begun, _LOOKS.get(told["state"], "")), until)


def _reasons(chains: dict[str, Any], width: int) -> list[Line]:
    lines: list[Line] = []
    for name, told in chains.items():
        if told["why"]:
            lines += folded(f"{name}: {told['why']}. {told['cure']}".rstrip(". ") + ".", width, "warn", indent="  ")
    return lines


def _row(told: dict[str, Any]) -> list[Word]:
    state = told["state"] if not told["why"] else f"{told['state']}: {plain(told['why'])}"
    moment = "" if told["time_s"] is None else format_time(told["time_s"] * 1000).replace(".000Z", "Z")
    return [
        Word(f"{told['size']:,}", "bold"),
        Word(format_time(told["since_ms"])[:-5] + "Z"),
        Word(told["name"]),
        Word(f"{told['kind']} {told['chain']}"),
        Word(state, _LOOKS.get(told["state"], "")),
        Word(_block(told)),
        Word(moment),
    ]


def _block(told: dict[str, Any]) -> str:
    """A time stamp stands in none: its time is told beside it."""
    if told["block"] is None:
        return ""
    return "none: a time stamp" if is_stamped(told["kind"], told["chain"]) else f"{told['block']}"
