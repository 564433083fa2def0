"""`fieldgate blocks` and `fieldgate show`: the chain, block by block, and what is in one."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

from gateway import config
from gateway.cli.common import CLOCKS, config_option, find_config, format_time
from gateway.cli.reading import opened
from gateway.cli.screen import quality, value
from gateway.cli.shown import Line, Word, columns, cut, echo, line, more, plural, room, size
from gateway.core import block as cose
from gateway.core import note, senml
from gateway.core.anchor import is_stamped
from gateway.core.anchor_row import FROM_NODE, AnchorRow
from gateway.core.limits import NUMBER_MAX
from gateway.core.text import plain
from gateway.settings import NodeLink, Settings
from gateway.store import Store
from gateway.store.cosigned import CosignedSize
from gateway.store.lists import Listed, newest_blocks, readings

_MOST = 10_000
_HEAD = ("HEIGHT", "SEALED", "READINGS", "BYTES", "WHY", "STATE")
_STATE = 5
_LABEL = 12
_REASONS = {
    cose.REASON_COUNT: ("full", "being full"),
    cose.REASON_AGE: ("age", "its age"),
    cose.REASON_STOP: ("stop", "a stop of the gateway"),
    cose.REASON_HEARTBEAT: ("heartbeat", "nothing: it is empty, and says that the gateway lives"),
    cose.REASON_ASKED: ("asked", "somebody who asked for it"),
    cose.REASON_CLOSED: ("closed", "the end of this log"),
    None: ("unknown", "a reason that it does not tell"),
}
_WHY = dict(_REASONS.values())


class Nodes(NamedTuple):
    """How far the configured nodes have come: [from, to) of the blocks that each has seen, and stored."""

    seen: Mapping[str, range]
    stored: Mapping[str, range]

    def told(self, height: int) -> dict[str, list[str]]:
        """The nodes that signed a block as seen, and as stored, by name."""
        return {
            "seen": [name for name, heights in self.seen.items() if height in heights],
            "stored": [name for name, heights in self.stored.items() if height in heights],
        }


@click.command()
@click.option(
    "--limit", type=click.IntRange(1, _MOST), default=20, show_default=True, metavar="N", help="At most so many."
)
@click.option("--before", type=click.IntRange(0, NUMBER_MAX), metavar="HEIGHT", help="Below that height only.")
@click.option("--json", "as_json", is_flag=True, help="As JSON (docs/json.md).")
@config_option
def blocks(limit: int, before: int | None, as_json: bool, config_file: Path | None) -> None:
    """List the sealed blocks, the newest first, each with where its readings are. The gateway may be running or not.

    \b
    Examples:
      fieldgate blocks
      fieldgate blocks --before 1000 --limit 50
      fieldgate blocks --json | jq '.blocks[] | select(.stored == [])'

    Exit 0: told. 3: there is no store.
    """
    settings = config.load(find_config(config_file))
    told = asyncio.run(_blocks(settings, limit, before))
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    width, _ = room()
    head = [Word(name, "faint") for name in _HEAD]
    rows = [head, *(_row(one, len(settings.node)) for one in told["blocks"])]
    echo(
        columns(rows, width, right={0, 2, 3}, gives_way=_STATE) if told["blocks"] else [line("no block is sealed yet")]
    )
    if left := (told["blocks"][-1]["height"] if told["blocks"] else 0):
        echo([more(left, "block", f"fieldgate blocks --before {left}")])


async def _blocks(settings: Settings, limit: int, before: int | None) -> dict[str, Any]:
    async with opened(settings.gateway.data_dir) as store:
        nodes = await nodes_of(store, settings.node)
        found = await newest_blocks(store, limit, before)
        reach = await store.anchors.reach()
        listed = [{**_listed(one), **nodes.told(one.height), **_anchored(reach, one.height)} for one in found]
        return {"origin": store.vkey.name, "size": store.blocks.size, "nodes": list(settings.node), "blocks": listed}


async def nodes_of(store: Store, links: Mapping[str, NodeLink]) -> Nodes:
    """What the configured nodes have signed, by their last word."""
    seen: dict[str, range] = {}
    stored: dict[str, range] = {}
    for name, link in links.items():
        holding, progress = await store.cosigned.holding(name, link.stored_key), await store.cosigned.progress(name)
        begins = link.stored_from if link.stored_from is not None else holding.begins
        seen[name], stored[name] = range(progress.seen), range(begins or 0, holding.holds)
    return Nodes(seen, stored)


def _anchored(reach: Mapping[str, int], height: int) -> dict[str, list[str]]:
    """The anchors that cover a block, by name: the gateway's own, and those that nodes claim."""
    covering = [name for name, size in reach.items() if size > height]
    claimed = [name for name in covering if name.startswith(FROM_NODE)]
    return {"anchored": [name for name in covering if name not in claimed], "claimed": claimed}


def _listed(one: Listed) -> dict[str, Any]:
    header = one.header
    return {
        "height": one.height,
        "count": header.count if header else None,
        "sealed_ms": header.sealed if header else None,
        "reason": _REASONS[header.reason][0] if header else None,
        "place": one.place,
        "bytes": one.size,
    }


def _row(told: Mapping[str, Any], nodes: int) -> list[Word]:
    if told["place"] == "damaged":
        return [Word(str(told["height"])), *[Word("-")] * 4, Word("DAMAGED: fieldgate recover", "bad")]
    return [
        Word(str(told["height"]), "bold"),
        Word(format_time(told["sealed_ms"])[:-5] + "Z"),
        Word(f"{told['count']:,}"),
        Word(size(told["bytes"])),
        Word(told["reason"]),
        _state(told, nodes),
    ]


def _state(told: Mapping[str, Any], nodes: int) -> Word:
    """Where a block is, and who has signed it."""
    where = {"here": "here", "pruned": "pruned here", "gone": "GONE"}[told["place"]]
    if not nodes:
        return Word(f"{where}, no node is configured", "warn")
    signed = f"seen by {len(told['seen'])}, stored by {len(told['stored'])} of {plural(nodes, 'node')}"
    if told["anchored"]:
        signed += f", anchored on {plural(len(told['anchored']), 'chain')}"
    return Word(f"{where}, {signed}", "bad" if told["place"] == "gone" else "" if told["stored"] else "warn")


# -- one of them ------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("height", type=click.IntRange(0, NUMBER_MAX))
@click.option(
    "--limit", type=click.IntRange(0, 65_536), default=20, show_default=True, metavar="N", help="So many readings."
)
@click.option("--start", type=click.IntRange(0, 65_536), default=0, metavar="N", help="From that reading on.")
@click.option("--json", "as_json", is_flag=True, help="As JSON (docs/json.md).")
@config_option
def show(height: int, limit: int, start: int, as_json: bool, config_file: Path | None) -> None:
    """Show a sealed block: what its header says, checkpoint and co-signatures, and its readings.

    \b
    Examples:
      fieldgate show 240
      fieldgate show 240 --start 20
      fieldgate show 240 --limit 5000 --json | jq '.readings[].values'

    Exit 0: shown. 1: its entry is damaged. 3: there is no such block. 4: its readings are damaged.
    """
    settings = config.load(find_config(config_file))
    told = asyncio.run(_block(settings, height, limit, start))
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    width, _ = room()
    echo([cut(one, width) for one in [*_header(told), *_signed(told), *_readings(told)]])


async def _block(settings: Settings, height: int, limit: int, start: int) -> dict[str, Any]:
    async with opened(settings.gateway.data_dir) as store:
        header = await store.blocks.header(height)
        (listed,) = await newest_blocks(store, 1, height + 1)
        nodes = await nodes_of(store, settings.node)
        page = await readings(store, height, limit, start) if listed.place == "here" else []
        found = [_reading(index, pack, payload) for index, (pack, payload) in enumerate(page, start)]
        lost = await store.blocks.gone(height)
        return {
            **_listed(listed),
            **nodes.told(height),
            **_anchored(await store.anchors.reach(), height),
            "nodes": list(settings.node),
            "origin": header.origin,
            "first_ms": header.first,
            "last_ms": header.last,
            "clock": CLOCKS[header.clock],
            "clock_error_ms": header.error,
            "prev": header.prev.hex(),
            "root": header.root.hex(),
            "gone": None if lost is None else {"reason": lost.reason, "told_in": lost.loss},
            "checkpoint": await _checkpoint(store, height),
            "cosignatures": await _cosignatures(store, height),
            "anchors": [_anchor(row) for row in await store.anchors.covering(height)],
            "start": start,
            "readings": found,
        }


async def _checkpoint(store: Store, height: int) -> dict[str, Any] | None:
    """The gateway's own over the log up to this block, where it is kept, or the first one that is co-signed."""
    kept = await store.blocks.note(height + 1)
    if kept is None:
        above = await store.cosigned.above(height, limit=1)
        kept = (above[0].size, above[0].note) if above else await store.blocks.note()
    if kept is None:
        return None
    checkpoint = note.parse_checkpoint(note.parse_note(kept[1]).text)
    return {"size": checkpoint.size, "root": checkpoint.root.hex()}


async def _cosignatures(store: Store, height: int) -> list[dict[str, Any]]:
    """Over the smallest co-signed size that has the block: the earliest attested time is the one worth having."""
    found: list[dict[str, Any]] = []
    for cosigned in await store.cosigned.above(height, limit=1):
        found += [_cosignature(cosigned, kept.node, kept.kind, kept.line) for kept in cosigned.lines]
    return found


def _cosignature(cosigned: CosignedSize, node: str, kind: str, text: str) -> dict[str, Any]:
    signed = note.parse_line(text)
    return {
        "node": node,
        "kind": kind,
        "size": cosigned.size,
        "key": signed.name,
        "time_s": note.cosignature_time(signed),
    }


def _anchor(row: AnchorRow) -> dict[str, Any]:
    """The earliest of a chain that covers a block."""
    told = {"name": row.name, "kind": row.kind, "chain": row.chain, "size": row.size}
    return {**told, "block": row.number, "time_s": row.time_s}


def _reading(index: int, pack: bytes, payload: bytes | None) -> dict[str, Any]:
    """One reading as JSON-able values; the payload as text that is safe to print, where it is kept."""
    one = senml.resolve(pack)
    raw = one.raw if payload is None else payload
    return {
        "index": index,
        "source": one.source,
        "time_ms": one.time_ms,
        "received_ms": one.received_ms,
        "quality": one.quality,
        "values": [[kept.name, kept.unit, _json(kept.value)] for kept in one.records],
        "payload": None if raw is None else plain(raw.decode("utf-8", "backslashreplace")),
    }


def _json(one: senml.Scalar) -> float | str:
    return one.hex() if isinstance(one, bytes) else one


def _header(told: Mapping[str, Any]) -> list[Line]:
    error = "" if told["clock_error_ms"] is None else f", off by at most {told['clock_error_ms']} ms"
    return [
        line(Word(f"block {told['height']}", "bold"), f" of {told['origin']}"),
        _fact("readings", f"{told['count']:,}, {size(told['bytes'])} here"),
        _fact("received", f"{format_time(told['first_ms'])} to {format_time(told['last_ms'])}"),
        _fact("sealed", f"{format_time(told['sealed_ms'])}, for {_WHY[told['reason']]}"),
        _fact("clock", f"{told['clock']}{error}"),
        _fact("root", told["root"]),
        _fact("follows", told["prev"]),
    ]


def _signed(told: Mapping[str, Any]) -> list[Line]:
    lines = []
    if (checkpoint := told["checkpoint"]) is not None:
        lines.append(_fact("checkpoint", f"{plural(checkpoint['size'], 'block')}, root {checkpoint['root']}"))
    for one in told["cosignatures"]:
        at = format_time(one["time_s"] * 1000).replace(".000Z", "Z")
        lines.append(_fact("co-signed", f"{one['kind']} by {one['node']} ({one['key']}) at {at}, size {one['size']}"))
    if not told["cosignatures"]:
        lines.append(_fact("co-signed", "by nobody yet"))
    for one in told["anchors"]:
        at = format_time((one["time_s"] or 0) * 1000).replace(".000Z", "Z")
        by = "by a time stamp" if is_stamped(one["kind"], one["chain"]) else f"in block {one['block']}"
        where = f"{by} of {one['kind']} {one['chain']} at {at}, size {one['size']}"
        claimed = one["name"].startswith(FROM_NODE)
        lines.append(_fact("claimed", f"{one['name']}: {where}") if claimed else _fact("anchored", where))
    return [*lines, line(Word("state".ljust(_LABEL), "faint"), _state(told, len(told["nodes"])))]


def _readings(told: Mapping[str, Any]) -> list[Line]:
    if told["place"] == "gone":
        gone = told["gone"]
        return [
            line(""),
            line(Word(f"the readings are gone: {gone['reason']} (told in block {gone['told_in']})", "bad")),
        ]
    if told["place"] == "pruned":
        holders = ", ".join(told["stored"]) or "a node that stores them"
        return [line(""), line(f"the readings are not here any more: ask {holders}")]
    lines = [line("")]
    for one in told["readings"]:
        marked = f"  ({quality(one['quality'])})" if one["quality"] else ""
        found = ", ".join(f"{name} {value(kept)}{f' {unit}' if unit else ''}" for name, unit, kept in one["values"])
        head = Word(f"{one['index']:>5}  {format_time(one['time_ms'])}  ", "faint")
        lines.append(line(head, Word(one["source"], "bold"), f"  {found}", Word(marked, "warn")))
    end = told["start"] + len(told["readings"])
    if (left := told["count"] - end) > 0:
        lines.append(more(left, "reading", f"fieldgate show {told['height']} --start {end}"))
    return lines


def _fact(label: str, text: str) -> Line:
    return line(Word(label.ljust(_LABEL), "faint"), text)
