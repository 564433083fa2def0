"""An anchor: a statement of the log that stands on a chain which others run (docs/format.md, section 12).

A kind of anchor puts the statement's bytes where its chain keeps them for good, and its evidence shows that they stand
there. A verifier trusts neither the gateway nor the chain's server: it has pins, lines of a file that a person wrote
who looked at the chain by another way::

    evm 9090 block 1234567 0x8a1c...      # kind, chain, and what that kind takes for a pin
"""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from gateway.core.limits import PINS, PINS_BYTES
from gateway.core.text import plain
from gateway.errors import FormatError

STAMPED = "rfc3161"
"""The kind that has a time where others have a block."""


def is_stamped(kind: str, chain: str) -> bool:
    """Whether an anchor, or the fleet that it is of (whose `chain` begins with the kind), has a time for its block."""
    return kind == STAMPED or chain.startswith(f"{STAMPED} ")


MAGIC = b"FGA\x01"
STATEMENT_BYTES = len(MAGIC) + 32 + 8 + 32


class Statement(NamedTuple):
    """What is anchored: a log's size and root. `log` is the SHA-256 of its origin."""

    log: bytes
    size: int
    root: bytes

    @classmethod
    def of(cls, origin: str, size: int, root: bytes) -> "Statement":
        """The statement of a checkpoint."""
        return cls(sha256(origin.encode()).digest(), size, root)

    def encode(self) -> bytes:
        """STATEMENT_BYTES: what stands on a chain."""
        return MAGIC + self.log + self.size.to_bytes(8, "big") + self.root


_NUMBER, _HASH = re.compile("[0-9]{1,18}"), re.compile("(?:0x)?[0-9a-fA-F]{64}")


class Anchored(NamedTuple):
    """A statement stands in block `number` of `chain`, which that chain says was made at `time_s` (Unix seconds).

    by: the pin that shows it, in words; "" where no pin speaks of that place, and then it is the evidence's claim.
    bound: the chain bounds that time, or whoever stamps it vouches for it; else who made the transaction says so.
    node, logs: where the statement is one of a fleet's (anchor_fleet.py), who says to have put it there, for how many.
    """

    kind: str
    chain: str
    number: int
    hash: bytes
    time_s: int
    by: str
    bound: bool = True
    node: str = ""
    logs: int = 1


class Pin(NamedTuple):
    """One line of a file of pins: what somebody knows of a chain. What `word` and `values` mean, its kind says."""

    kind: str
    chain: str
    word: str
    values: tuple[str, ...]
    line: int

    def fault(self, what: str) -> FormatError:
        """This line is not what its kind takes for a pin."""
        return FormatError(what, where=f"pins, line {self.line}", cure="docs/anchors.md, Pins, has the lines there are")


def parse_pins(data: bytes) -> tuple[Pin, ...]:
    """The pins in a file of at most PINS_BYTES and PINS lines; a FormatError names the line."""
    if len(data) > PINS_BYTES:
        raise FormatError(f"{len(data)} bytes are more than {PINS_BYTES}", where="pins")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise FormatError("are not UTF-8", where="pins") from None
    pins: list[Pin] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) < 4:
            raise FormatError(
                f"a pin is a kind, a chain, a word and values, not {plain(line[:60])!r}", where=f"pins, line {number}"
            )
        kind, chain, word, *values = words
        pins.append(Pin(kind, chain, word, tuple(values), number))
    if len(pins) > PINS:
        raise FormatError(f"{len(pins)} pins are more than {PINS}", where="pins")
    return tuple(pins)


def block_pin(pin: Pin) -> tuple[int, bytes]:
    """Number and hash of a pin `block NUMBER HASH`, with or without 0x, in digits of either case."""
    if len(pin.values) != 2 or not _NUMBER.fullmatch(pin.values[0]) or not _HASH.fullmatch(pin.values[1]):
        raise pin.fault("a pinned block is its number and its hash, 64 hex digits")
    return int(pin.values[0]), bytes.fromhex(pin.values[1].removeprefix("0x"))


def check_block(pin: Pin, number: int, digest: bytes) -> str:
    """By the pin of a block, in words; "" where it is of another one. FormatError where it has another hash."""
    pinned, wanted = block_pin(pin)
    if pinned != number:
        return ""
    if wanted != digest:
        raise FormatError(f"block {number} has another hash than the pin of line {pin.line}")
    return f"the pinned block {number}"


def of_chain(pins: Sequence[Pin], kind: str, chain: str) -> list[Pin]:
    """The pins that speak of one chain."""
    return [pin for pin in pins if (pin.kind, pin.chain) == (kind, chain)]
