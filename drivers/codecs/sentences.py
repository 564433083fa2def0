"""Sentences of NMEA 0183 (IEC 61162-1) in lines: the start, the checksum, the tag block before it (NMEA 0183 4.10)."""

import re
from collections.abc import Iterator
from functools import reduce
from operator import xor
from typing import NamedTuple

from drivers.codecs.base import Refused
from drivers.codecs.values import TimeMap, device_time
from drivers.limits import EXAMPLE_BYTES


class Sentence(NamedTuple):
    """`body` stands between the start (`$` or `!`) and the checksum's `*`. `raw`: as it came, with its tag block."""

    body: bytes
    raw: bytes
    source_time: str = ""  # of the tag block, parameter c: Unix seconds or milliseconds


_START = re.compile(rb"[$!]")
_SENTENCE = re.compile(rb"[$!]([^*]*)\*([0-9A-Fa-f]{2})")
_NEXT = re.compile(rb"[ \t]*(?:\\[^\\]*\\)?[$!]")
_TAG_BLOCK = re.compile(rb"\\([^\\]*)\*([0-9A-Fa-f]{2})\\\Z")
_TIME = re.compile(rb"(?:\A|,)c:([0-9]{1,16})(?:,|\Z)")


def sentences(line: bytes, *, checksum: bool = True) -> Iterator[Sentence | Refused]:
    """The sentences of a line. The first begins at its first `$` or `!`; another may follow right behind a checksum.

    What else stands before and behind them is nothing, and so is a line that begins with `#` and has no sentence.
    checksum False: a sentence that has none ends with the line. One that has another than its own is always refused.
    """
    comment, at = line.lstrip().startswith(b"#"), 0
    while True:
        start = _START.search(line, at)
        match = _SENTENCE.match(line, start.start()) if start else None
        if match and _fits(match[1], match[2]):
            yield from _found(line[at : match.end()], match.start() - at, match[1])
        elif start and not match and not checksum and b"*" not in line[start.end() :]:
            yield from _found(line[at:], start.start() - at, line[start.end() :].rstrip())
        elif not comment:
            yield Refused("checksum" if start else "noise", line[at : at + EXAMPLE_BYTES])
        if not match or not _NEXT.match(line, match.end()):
            return
        at = match.end()


def _found(text: bytes, start: int, body: bytes) -> Iterator[Sentence | Refused]:
    """The sentence; its tag block is read where its own checksum fits, and refused by itself where not."""
    tags = _TAG_BLOCK.search(text[:start])
    if tags is None:
        yield Sentence(body, text[start:])
        return
    if not _fits(tags[1], tags[2]):
        yield Refused("checksum", tags[0][:EXAMPLE_BYTES], "of the tag block")
        yield Sentence(body, text[start:])
        return
    time = _TIME.search(tags[1])
    yield Sentence(body, text[tags.start() :], time[1].decode("ascii") if time else "")


def _fits(data: bytes, digits: bytes) -> bool:
    return reduce(xor, data, 0) == int(digits, 16)


def tag_time(sentence: Sentence, window: TimeMap, now: float | None) -> float | None:
    """The source's time in the sentence's tag block (c:), seconds or milliseconds, where it is trusted."""
    if not sentence.source_time:
        return None
    value = int(sentence.source_time)
    return device_time(value / 1000 if value >= 100_000_000_000 else value, window, now)
