"""JSON payloads: values by JSON pointer (RFC 6901) out of strict JSON (RFC 8259, I-JSON's one value a key).

Refused, each by its own reason: what is no JSON (NaN and Infinity among it), invalid UTF-8, a key that stands twice in
one object, more than JSON_DEPTH arrays and objects inside each other. An integer beyond 2^53 - 1 becomes text.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from drivers.api import OUT_OF_RANGE, Record
from drivers.codecs.values import MISSING, Content, Field, TimeMap, Unfit, ValueMap, content, device_time
from drivers.limits import INTEGER_MAX, JSON_DEPTH, PAYLOAD_BYTES

Pointer = tuple[str, ...]

_decode = msgspec.json.Decoder().decode
_ESCAPE = re.compile(r"~(?![01])")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


def parse_pointer(text: str) -> Pointer:
    """The reference tokens of a JSON pointer; ValueError where it is none."""
    if text and not text.startswith("/"):
        raise ValueError(f"{text!r} is no JSON pointer: begin it with /, as in /{text}")
    if _ESCAPE.search(text):
        raise ValueError(f"{text!r} is no JSON pointer: write ~ as ~0")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:])


def resolve(document: Any, pointer: Pointer) -> Any:
    """What the pointer points at, or MISSING."""
    for token in pointer:
        if isinstance(document, dict):
            document = document.get(token, MISSING)
        elif isinstance(document, list) and _INDEX.fullmatch(token) and int(token) < len(document):
            document = document[int(token)]
        else:
            return MISSING
    return document


def parse(payload: bytes, most: int = PAYLOAD_BYTES) -> Any:
    """The value of strict JSON text of at most so many bytes; Unfit with the reason where it is none."""
    if len(payload) > most:
        raise Unfit("too_long", f"{len(payload)} bytes")
    if not payload:
        raise Unfit("empty")
    try:
        document = _decode(payload)
    except UnicodeDecodeError as error:
        raise Unfit("invalid_utf8", str(error)) from None
    except RecursionError:
        raise Unfit("too_deep", f"more than {JSON_DEPTH} levels") from None
    except ValueError as error:
        raise Unfit("invalid_json", str(error)) from None
    # Each member has its colon: where there are as many as keys outermost, none stands twice, nor deeper.
    if type(document) is dict and payload.count(b":") == len(document) and b"[" not in payload:
        return document
    if _members_at_most(payload) != _count_keys(document):
        _refuse_twins(payload)
    return document


def _members_at_most(payload: bytes) -> int:
    """At least the members of all objects in valid JSON: before a member's colon stands a quote, or white space.

    More where strings contain such a pair; never less. So equal to the distinct keys means that no key stands twice.
    """
    members = payload.count(b'":')
    if members != payload.count(b":"):
        members += sum(payload.count(pair) for pair in (b" :", b"\t:", b"\n:", b"\r:"))
    return members


def _count_keys(document: Any) -> int:
    """Distinct keys of all objects; Unfit for more than JSON_DEPTH levels."""
    keys, level = 0, [document]
    for _ in range(JSON_DEPTH):
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                keys += len(item)
                deeper += item.values()
            elif isinstance(item, list):
                deeper += item
        level = deeper
    if any(isinstance(item, dict | list) for item in level):
        raise Unfit("too_deep", f"more than {JSON_DEPTH} levels")
    return keys


def _refuse_twins(payload: bytes) -> None:
    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        document = dict(pairs)
        if len(document) != len(pairs):
            counts = Counter(name for name, _ in pairs)
            raise Unfit("duplicate_key", next(name for name, count in counts.items() if count > 1))
        return document

    try:
        json.loads(payload, object_pairs_hook=distinct)
    except (ValueError, RecursionError) as error:
        raise Unfit("invalid_json", str(error)) from None


class JsonMap:
    """The Codec of JSON payloads."""

    def __init__(self, values: Mapping[str, ValueMap], time: TimeMap | None = None) -> None:
        self._fields = [(Field(name, value), pointer_of(name, value)) for name, value in values.items()]
        self._time = time
        self._time_pointer = parse_pointer(time.pointer) if time else ()
        flat = all(len(pointer) == 1 for _, pointer in self._fields)
        self._members = (
            [(at[0], field.name, field.unit, field.plain, field) for field, at in self._fields] if flat else []
        )

    def read(self, payload: bytes, now: float | None) -> Content:
        """One message."""
        document = parse(payload)
        time = None
        if self._time is not None:
            time = device_time(resolve(document, self._time_pointer), self._time, now)
        if self._members and type(document) is dict:
            return self._read_members(document, time)
        return content(((field, resolve(document, pointer)) for field, pointer in self._fields), time)

    def _read_members(self, document: dict[str, Any], time: float | None) -> Content:
        """The same for members of the outermost object, where most messages have all they say."""
        records: list[Record] = []
        quality = 0
        get = document.get
        for key, name, unit, plain, field in self._members:
            value = get(key, MISSING)
            if plain and (type(value) is float or (type(value) is int and -INTEGER_MAX <= value <= INTEGER_MAX)):
                records.append((name, unit, value))
            elif not field.put(value, records):
                quality = OUT_OF_RANGE
        if not records and not quality:
            return content([])
        return records, time, quality


def pointer_of(name: str, value: ValueMap) -> Pointer:
    """Where the value stands: its pointer, or the member of the outermost object that has its name."""
    return (name,) if value.pointer is None else parse_pointer(value.pointer)
