"""`fieldgate sources`: what each source sends, how often, and what of it became no reading."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gateway.cli import OK, completion, control
from gateway.cli.common import config_option, find_config
from gateway.cli.screen import State, quality, rate, source_table, value
from gateway.cli.shown import Line, Word, cut, echo, line, more, plural, room
from gateway.cli.status import ask
from gateway.core import senml
from gateway.core.text import age
from gateway.errors import FormatError, NotFoundError

_SHOWN = 200  # sources; beyond it --json
_MINUTES = 60
_BARS, _ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-:=+*#"
_COUNTS = ("received", "stored", "duplicate", "rejected", "dropped", "waiting")


@click.command()
@click.argument("source", required=False, metavar="[SOURCE]", shell_complete=completion.sources)
@click.option("--json", "as_json", is_flag=True, help="As JSON (docs/json.md).")
@config_option
def sources(source: str | None, as_json: bool, config_file: Path | None) -> int:
    """Tell what each source sends: newest values, age, rate, rejects by reason with the last one.

    With SOURCE: all of one source, and the last hour of each of its numbers as a small chart. A gap is a gap: no
    reading came. The gateway has to run: its counts are since its start.

    \b
    Examples:
      fieldgate sources
      fieldgate sources climate
      fieldgate sources --json | jq '.sources | map_values(.rate)'

    Exit 0: told. 3: the gateway does not run, or there is no such source.
    """
    if source is not None:
        _check_source(source)
    path = control.socket_at(find_config(config_file))
    state = ask(path)
    try:
        told = _some(state) if source is None else _one(state, source, path)
        lines = _all(told, room()[0]) if source is None else _lines(told, state["now_ms"], room()[0])
    except (ValueError, LookupError, TypeError, AttributeError):
        raise control.strange(path) from None
    if as_json:
        click.echo(json.dumps(told, indent=2))
    else:
        echo(lines)
    return OK


def _check_source(source: str) -> None:
    try:
        senml.check_source(source)
    except FormatError as exc:
        raise click.UsageError(f"SOURCE: {exc}") from None


def _some(state: State) -> State:
    return {"origin": state["origin"], "now_ms": state["now_ms"], "sources": state["sources"]}


def _all(state: State, width: int) -> list[Line]:
    everything = sorted(state["sources"].items())
    lines = source_table(everything[:_SHOWN], state["now_ms"], width)
    if (left := len(everything) - _SHOWN) > 0:
        lines.append(more(left, "source", "fieldgate sources SOURCE tells of one, --json of all"))
    for name, source in everything[:_SHOWN]:
        lines += [cut(one, width) for one in _trouble(name, source)]
    return lines


def _trouble(name: str, source: State) -> list[Line]:
    """What is the matter with a source; nothing for most of them."""
    lines: list[Line] = []
    if source["up"] is False and source["detail"]:
        lines.append(line(Word(f"{name} is away: {source['detail']}", "bad")))
    if bits := quality(source["quality"]):
        lines.append(line(Word(f"{name}: its newest reading is marked: {bits}", "warn")))
    if source["dropped"]:
        lines.append(line(Word(f"{name}: {source['dropped']:,} messages dropped for want of room", "warn")))
    return lines + _rejects(name, source)


def _rejects(name: str, source: State) -> list[Line]:
    lines: list[Line] = []
    if source["rejects"]:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in source["rejects"].items())
        lines.append(line(Word(f"{name}: rejected: {reasons}", "warn")))
    if (example := source["example"]) is not None:
        lines.append(line(f"  the last, {example['reason']}: {example['detail'] or 'no more is known'}"))
        lines.append(line(f"  {example['payload']}"))
    return lines


def _one(state: State, name: str, path: Path) -> State:
    source = state["sources"].get(name)
    if source is None:
        raise NotFoundError(f"no source {name} has been configured or heard", cure="`fieldgate sources` lists them")
    minutes = control.call(path, f"/minutes/{name}")
    return {"source": name, **source, "begin": minutes["begin"], "end": minutes["end"], "values": minutes["values"]}


def _lines(source: State, now_ms: int, width: int) -> list[Line]:
    state = {True: Word("up", "good"), False: Word("AWAY", "bad")}.get(source["up"], Word("-"))
    newest = "never" if source["last_ms"] is None else f"{age((now_ms - source['last_ms']) / 1000)} ago"
    counts = ", ".join(f"{name} {source[name]:,}" for name in _COUNTS)
    lines = [
        line(Word(source["source"], "bold"), f", {source['driver']}: ", state, f" {source['detail']}"),
        line(f"newest reading {newest}, {rate(source['rate'])}; {counts}"),
        *_trouble(source["source"], source),
    ]
    return [cut(one, width) for one in [*lines, *_values(source, min(width, 100))]]


def _values(source: State, width: int) -> list[Line]:
    """Each value, and of numbers the last hour."""
    charted = {one["name"]: one for one in source["values"]}
    newest = {name: (unit, one) for name, unit, one in source["last"]}
    lines: list[Line] = []
    for name in [*newest, *(name for name in charted if name not in newest)]:
        unit, now = newest.get(name, (charted.get(name, {}).get("unit"), None))
        shown = "-" if now is None else f"{value(now)}{f' {unit}' if unit else ''}"
        lines += [line(""), line(Word(name, "bold"), f"  {shown}")]
        if name in charted:
            lines += _chart(charted[name]["minutes"], source["begin"], width)
    return lines


def _chart(minutes: Sequence[Sequence[Any]], begin: int, width: int) -> list[Line]:
    """An hour as a row of bars, one or more minutes each; a blank where no reading came."""
    if not minutes:
        return [line(Word("no reading in the last hour", "faint"))]
    low, high = min(one[1] for one in minutes), max(one[2] for one in minutes)
    count = sum(one[4] for one in minutes)
    step = 1 if width >= _MINUTES else 2
    bars = [" "] * (_MINUTES // step)
    for at, _, _, last, _ in minutes:
        bars[(at - begin) // step] = _bar(last, low, high)
    said = f"last hour: {value(low)} to {value(high)}, {plural(count, 'reading')}"
    return [line("".join(bars)), line(Word(said, "faint"))]


def _bar(one: float, low: float, high: float) -> str:
    bars = _BARS if _can_print(_BARS) else _ASCII_BARS
    return bars[0 if high == low else round((one - low) / (high - low) * (len(bars) - 1))]


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
