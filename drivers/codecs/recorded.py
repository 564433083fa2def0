"""A recorded file of messages, taken apart into the messages as they were written, perhaps with their topics."""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Raw, Struct
from msgspec.json import Decoder

_SPACE = re.compile(r"[ \t\r\n,]*")
_RESULT = re.compile(r'\{[ \t\r\n]*"result"[ \t\r\n]*:[ \t\r\n]*')
_END = re.compile(r"[ \t\r\n]*\}")


def json_messages(data: bytes) -> Iterator[bytes]:
    """JSON texts one behind the other or a line each, the elements of arrays, and what stands in {"result": ...}.

    What is no JSON from somewhere on is the last message, as it is: a codec says what is wrong with it.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        yield data
        return
    decoder, at, depth = json.JSONDecoder(), 0, 0
    while True:
        at = _skip(text, at)
        if at == len(text):
            return
        if text[at] == "[":
            at, depth = at + 1, depth + 1
        elif text[at] == "]" and depth:
            at, depth = at + 1, depth - 1
        else:
            wrapped = _RESULT.match(text, at)
            start = wrapped.end() if wrapped else at
            try:
                at = decoder.raw_decode(text, start)[1]
            except (ValueError, RecursionError):
                yield text[at:].encode()
                return
            yield text[start:at].encode()
            closed = _END.match(text, at) if wrapped else None
            at = closed.end() if closed else at


def json_lines(data: bytes) -> Iterator[bytes]:
    """One JSON text as it is, an array too; else, where the first line is one, a line each; else all of it."""
    lines = [line for line in data.split(b"\n") if line.strip()]
    if len(lines) > 1 and not _is_json(data) and _is_json(lines[0]):
        yield from lines
    else:
        yield data


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


class Published(NamedTuple):
    """A message as it was recorded with its topic."""

    topic: str
    payload: bytes
    retained: bool


class _Line(Struct):
    topic: str
    payload: Raw
    retain: bool | int = False


_line = Decoder(_Line).decode


def published(data: bytes) -> list[Published]:
    """Lines of `mosquitto_sub -F %J`: JSON objects with topic, payload and retain. None where it is something else."""
    found = []
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        try:
            one = _line(line)
            payload = bytes(one.payload)
            found.append(Published(one.topic, _text(payload), bool(one.retain)))
        except (ValueError, RecursionError):
            return []
    return found


def _text(payload: bytes) -> bytes:
    """What is no JSON is recorded as a text."""
    return str(json.loads(payload)).encode() if payload.startswith(b'"') else payload


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
