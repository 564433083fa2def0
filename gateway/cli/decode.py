"""`fieldgate decode`: a codec over a recorded file."""

import json
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any, get_args, get_origin

import click
import msgspec

from drivers import recorded
from drivers.api import OUT_OF_RANGE, REPLAYED, STALE, UNSTABLE
from drivers.codecs.base import Ask, Found, Refused, State
from drivers.codecs.values import AS_TOLD
from drivers.kinds import Kind
from drivers.limits import READ_BYTES
from drivers.mqtt_sources import SubscribedOptions
from drivers.polled_port import PolledPortOptions
from drivers.registry import UnknownDriver
from drivers.streams import StreamOptions
from gateway.cli.common import format_time, moment
from gateway.config import convert, words
from gateway.core.text import plain
from gateway.errors import ConfigError, Fault
from gateway.errors import Refused as RefusedInput

_QUALITIES = {UNSTABLE: "unstable", STALE: "stale", OUT_OF_RANGE: "out of range", REPLAYED: "replayed"}
_WIRES = (StreamOptions, SubscribedOptions, PolledPortOptions)
_TRANSPORT = {one.encode_name for type_ in _WIRES for one in msgspec.structs.fields(type_)}
_EXAMPLE = 60


class _Command(click.Command):
    """Its help ends with the codecs there are; drivers are imported for it only then."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each codec with its options."""
        for name in recorded.names():
            try:
                found = recorded.kind(name)
            except UnknownDriver as exc:  # of a package that is broken, or whose driver has no codec
                formatter.write_text(f"{name}: {exc}")
                continue
            with formatter.section(f"{name}: {found.title}"):
                formatter.write_dl(list(_described(found)) or [("-", "no options")])


@click.command(cls=_Command)
@click.argument("codec")
@click.argument("file")
@click.option("--option", "-o", "given", multiple=True, metavar="NAME=VALUE", help="One of the codec's options.")
@click.option("--topic", default="", metavar="TOPIC", help="On which the messages came, where they do not say it.")
@click.option("--now", "now_ms", callback=moment, metavar="TIME", help="When they came: only times near it count.")
@click.option("--json", "as_json", is_flag=True, help="For programs: a line of JSON a sample, and one with the counts.")
def decode(codec: str, file: str, given: tuple[str, ...], topic: str, now_ms: int | None, *, as_json: bool) -> int:
    """Run CODEC over the recorded FILE (- is stdin) and show what becomes a sample and what is rejected.

    VALUE is TOML, or text: a driver's table in the configuration has the same options, and docs/drivers.md explains
    them. json and line take every value where `values` does not say which. A sample's time is the device's own, and
    with --now only where a gateway would have trusted it then. Messages with their topics: as mosquitto_sub -F %J
    writes them.

    \b
    Examples:
      fieldgate decode nmea0183 gps.log
      fieldgate decode scale scale.log --option variant=st-gs --json
      fieldgate decode json climate.json --option 'values={ temp = { pointer = "/t", unit = "Cel" } }'

    Exit 0: decoded, whatever was rejected. 1: nothing was decoded. 2: an option is wrong. 3: there is no such file.
    """
    try:
        found = recorded.kind(codec)
    except UnknownDriver as exc:
        raise click.UsageError(str(exc)) from None
    made = recorded.plan(found, parse_options(found, given))
    reader = made.codec(check_options(f"decode {codec}", found, made.table))
    now = AS_TOLD if now_ms is None else now_ms / 1000
    show = _Json(codec) if as_json else _Words(codec)
    with _opened(file) as data:
        try:
            for one in recorded.decode(found, reader, iter(lambda: data.read(READ_BYTES), b""), topic=topic, now=now):
                show.finding(one)
        except recorded.TooLong as exc:
            raise RefusedInput(f"{exc} cannot be held at once", where=file, cure="Cut it into several files") from exc
    show.end()
    return 0 if show.samples else 1


def _opened(file: str) -> IO[bytes]:
    return sys.stdin.buffer if file == "-" else Path(file).open("rb")


def parse_options(found: Kind, given: tuple[str, ...]) -> dict[str, Any]:
    """`name=value` each: a TOML value, or the text itself where it is none or the option is a text.

    UsageError where there is no name.
    """
    texts = {one.encode_name for one in msgspec.structs.fields(found.options) if _is_text(one.type)}
    table: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--option {plain(one)}: write it as NAME=VALUE")
        try:
            made = tomllib.loads(f"value = {value}")["value"]
        except (ValueError, RecursionError):
            made = value
        table[name] = value if name in texts and not isinstance(made, str) else made
    return table


def _is_text(wanted: Any) -> bool:
    """Whether nothing but a text can stand there."""
    return wanted is str or (get_origin(wanted) is Annotated and _is_text(get_args(wanted)[0]))


def check_options(where: str, found: Kind, table: dict[str, Any]) -> Any:
    """The driver's own options of this table. ConfigError with all that is wrong with it."""
    converter = convert.Converter()
    draft = converter.table(table, found.options, ())
    if converter.problems:
        raise ConfigError([Fault(where, 0, words.dotted(one.path), one.what, one.cure) for one in converter.problems])
    return draft.made


class _Json:
    """Lines of JSON."""

    def __init__(self, codec: str) -> None:
        self.samples = 0
        self._codec = codec
        self._rejects: Counter[str] = Counter()

    def finding(self, one: recorded.Finding) -> None:
        if isinstance(one, Found):
            self.samples += 1
            print(json.dumps({"source": one.device or self._codec, "time": one.time, "values": values(one)}))
        elif isinstance(one, Refused):
            self._rejects[one.reason] += 1

    def end(self) -> None:
        print(json.dumps({"samples": self.samples, "rejects": dict(sorted(self._rejects.items()))}))


class _Words:
    """A line for each thing that a person wants to see."""

    def __init__(self, codec: str) -> None:
        self.samples = 0
        self._codec = codec
        self._rejects: Counter[str] = Counter()
        self._examples: dict[str, Refused] = {}

    def finding(self, one: recorded.Finding) -> None:
        if isinstance(one, Found):
            self.samples += 1
            print(plain(sample_line(one, one.device or self._codec)))
        elif isinstance(one, Refused):
            self._rejects[one.reason] += 1
            self._examples.setdefault(one.reason, one)
        elif isinstance(one, State):
            state = f"{'up' if one.up else 'down'}{' with its devices' if one.below else ''}"
            print(plain(f"{_EMPTY:<24}  {one.device or self._codec}  is {state}: {one.detail}"))
        elif isinstance(one, Ask):
            print(plain(f"{_EMPTY:<24}  {self._codec}  would ask on {one.topic}: {example(one.payload)}"))

    def end(self) -> None:
        print(f"{self.samples} samples, {self._rejects.total()} rejected")
        for reason, count in self._rejects.most_common():
            first = self._examples[reason]
            detail = f" ({first.detail})" if first.detail else ""
            print(plain(f"  {reason} {count}: {example(first.example)}{detail}"))


_EMPTY = "-"


def sample_line(one: Found, source: str) -> str:
    """Time, source, and each value with its unit."""
    time = format_time(round(one.time * 1000)) if one.time is not None and one.time >= 0 else _EMPTY
    return f"{time:<24}  {source}  {in_words(one)}"


def in_words(one: Found) -> str:
    """Each value with its unit, and what is said of their quality."""
    told = "  ".join(f"{name} {_shown(value['value'])}" + _unit(value["unit"]) for name, value in values(one).items())
    quality = ", ".join(text for bit, text in _QUALITIES.items() if one.quality & bit)
    return told + (f"  ({quality})" if quality else "")


def values(one: Found) -> dict[str, dict[str, Any]]:
    """By name: value and unit, also one that SenML does not have. Bytes as hexadecimal digits."""
    records = {name: (unit, value) for name, unit, value in one.records}
    made = {}
    for name, (unit, value) in records.items():
        if name.endswith(".unit") and name.removesuffix(".unit") in records:
            continue
        foreign = records.get(f"{name}.unit", (None, None))[1]
        made[name] = {"value": value.hex() if isinstance(value, bytes) else value, "unit": unit or foreign}
    return made


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _unit(unit: object) -> str:
    return f" {unit}" if unit else ""


def example(data: bytes) -> str:
    """The beginning of some bytes: as text where it is that, else as hexadecimal digits."""
    head = data[:_EXAMPLE]
    if head.strip(b"\r\n").isascii() and head.decode("latin-1").strip("\r\n").isprintable():
        text = head.decode("ascii").strip("\r\n")
    else:
        text = head.hex(" ")
    return text + (" ..." if len(data) > _EXAMPLE else "")


def _described(found: Kind) -> Iterator[tuple[str, str]]:
    """The options of a codec, without those of how the bytes come."""
    for one in msgspec.structs.fields(found.options):
        if one.encode_name in _TRANSPORT:
            continue
        default = found.recorded.get(one.encode_name, one.default)
        if isinstance(default, bool):
            default = str(default).lower()
        given = f"; else {default}" if default not in (None, "", (), msgspec.NODEFAULT) else ""
        yield f"{one.encode_name}=", plain(f"{words.allowed(one.type)}{given}")
