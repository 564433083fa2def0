"""A codec over what was recorded: a file for `fieldgate decode`, what was heard for `fieldgate probe`. No I/O.

Streams and polled protocols are fed in chunks, so a long file is never held whole. Messages are taken apart by their
kind (`Kind.messages`), which needs all of them.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from drivers import registry
from drivers.api import STALE
from drivers.codecs.base import Ask, Found, Framed, One, Refused, State
from drivers.codecs.recorded import Published, published
from drivers.codecs.scalars import EveryCell, EveryScalar
from drivers.codecs.values import Codec, Unfit
from drivers.kinds import Kind
from drivers.limits import EXAMPLE_BYTES, LINE_BYTES_MAX, RECORDED_BYTES
from drivers.lines import framer
from drivers.registry import UnknownDriver

Finding = Found | Refused | State | Ask

_OTHER_NAMES = {"mqtt": "json", "serial_line": "line"}
_WITHOUT = frozenset({"replay", "system", "modbus_tcp"})  # no bytes of their own that could be recorded
_NEEDED = {"broker": "recorded", "topic": "recorded", "format": "text"}
_TIMED = re.compile(rb'\s*\{\s*"t_us"\s*:\s*[0-9]+\s*,\s*"hex"\s*:\s*"')


class TooLong(ValueError):
    """A recorded file that would have to be held whole, and is too long for it."""


def names() -> tuple[str, ...]:
    """The codecs, by the names that a command line has for them."""
    return tuple(sorted(_codec_name(name) for name in registry.names() if name not in _WITHOUT))


def kind(name: str) -> Kind:
    """The driver whose codec has this name. UnknownDriver for a name that none has; that one module is imported."""
    for driver in registry.names():
        if name in (driver, _codec_name(driver)) and driver not in _WITHOUT:
            found = registry.kind(driver)
            if found.codec is not None:
                return found
    near = difflib.get_close_matches(name, names(), 1)
    guess = f" Did you mean {near[0]}?" if near else ""
    raise UnknownDriver(f"there is no codec {name!r}. There are: {', '.join(names())}.{guess}")


def _codec_name(driver: str) -> str:
    return _OTHER_NAMES.get(driver, driver.replace("_", "-"))


class Plan(NamedTuple):
    """How recorded bytes are read: the options' whole table, and what makes the codec of the options it becomes."""

    table: dict[str, Any]
    codec: Callable[[Any], Any]


def plan(found: Kind, given: Mapping[str, Any]) -> Plan:
    """The options that were given, with what a recorded file needs no value for.

    Where nobody says which values JSON or lines have, every one of them is taken.
    """
    assert found.codec is not None
    needed = {one.encode_name for one in msgspec.structs.fields(found.options) if one.required}
    table = {**{name: value for name, value in _NEEDED.items() if name in needed}, **found.recorded, **given}
    if "values" in needed and not table.get("values"):
        return _every(found, table, guess="format" not in given)
    return Plan(table, found.codec)


def _every(found: Kind, table: dict[str, Any], *, guess: bool) -> Plan:
    """The same options with values that fit them, for their own checks, and a codec that does not look at those."""
    form = table.get("format", table.get("payload", "json"))
    columns = [name for name in table.get("columns", ()) if isinstance(name, str) and name]
    wanted = {"csv": columns, "regex": _groups(table.get("pattern", ""))}.get(form, [])
    table["values"] = {name: {"type": "text", "optional": True} for name in wanted or ["value"]}
    if form == "csv" and not columns:
        table["columns"] = ["value"]
    if found.shape == "subscribe":
        return Plan(table, lambda options: _Messages(EveryScalar() if options.payload == "json" else EveryCell("text")))

    def codec(options: Any) -> Framed:
        every = EveryCell(
            "" if guess else options.format,
            columns=columns and options.columns,
            separator=options.separator,
            pattern=options.pattern,
            encoding=options.encoding,
            decimal=options.decimal,
        )
        return Framed(framer(options, drop_first=False), One(every), mask_bit7=options.mask_bit7)

    return Plan(table, codec)


class _Messages:
    """The MessageCodec of a Codec."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def take(self, topic: str, payload: bytes, now: float | None, *, retained: bool) -> tuple[Found]:
        records, time, quality = self._codec.read(payload, now)
        return (Found(records, time, quality),)


def _groups(pattern: object) -> list[str]:
    try:
        return list(re.compile(str(pattern)).groupindex)
    except (re.error, RecursionError, OverflowError):
        return []  # the options' own check says what is wrong with it


def decode(found: Kind, codec: Any, chunks: Iterable[bytes], *, topic: str, now: float | None) -> Iterator[Finding]:
    """What the codec finds, in order. topic: of messages that were recorded without one; "": as the kind says.

    now: Unix seconds of receipt; None: unknown. TooLong as it says.
    """
    if hasattr(codec, "feed"):
        yield from _stream(codec, iter(chunks), now)
    else:
        data = _whole(chunks)
        for one in published(data) or (Published(topic, one, False) for one in found.messages(data)):
            yield from message(codec, one.topic or found.topic or "recorded", one.payload, now, retained=one.retained)


def message(codec: Any, topic: str, payload: bytes, now: float | None, *, retained: bool = False) -> list[Finding]:
    """What one message says; a retained one is marked stale, as the driver does."""
    try:
        found: list[Finding] = list(codec.take(topic, payload, now, retained=retained))
    except Unfit as unfit:
        return [Refused(unfit.reason, payload[:EXAMPLE_BYTES], unfit.detail[:200])]
    return [one._replace(quality=one.quality | STALE) if retained and isinstance(one, Found) else one for one in found]


def _whole(chunks: Iterable[bytes]) -> bytes:
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > RECORDED_BYTES:
            raise TooLong(f"more than {RECORDED_BYTES} bytes of messages")
    return bytes(data)


def _stream(codec: Any, chunks: Iterator[bytes], now: float | None) -> Iterator[Finding]:
    first = next(chunks, b"")
    if _TIMED.match(first):
        for frame in _timed(first, chunks):
            yield from codec.feed(frame, now)
            yield from codec.gap(now)
    else:
        yield from codec.feed(first, now)
        for chunk in chunks:
            yield from codec.feed(chunk, now)
    yield from codec.end(now)


def _timed(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The frames of JSON lines {"t_us": when, "hex": bytes}, one that ended in a silence each."""
    rest = first
    while rest:
        *lines, rest = rest.split(b"\n")
        more = next(chunks, b"")
        if not more or len(rest) > LINE_BYTES_MAX:
            lines, rest = [*lines, rest], b""
        yield from (_frame(line) for line in lines if line.strip())
        rest += more


def _frame(line: bytes) -> bytes:
    try:
        return bytes.fromhex(msgspec.json.decode(line)["hex"])
    except (ValueError, KeyError, TypeError):
        return line
