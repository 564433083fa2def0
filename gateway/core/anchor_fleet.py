"""Anchors of the kind `fleet`: one statement on a chain for many logs (docs/format.md, section 12.5).

A node makes an RFC 9162 tree whose leaves are the statements of single logs, sorted by their ids. What stands on a
chain is a statement, too, and so each kind carries it unchanged. A log is given its leaf's way to it::

    evidence = [ node, number, index, count, [ hash, ... ], kind, evidence of that kind ]
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from gateway.core import cbor, merkle
from gateway.core.anchor import Statement
from gateway.core.limits import FLEET_LOGS, NUMBER_MAX
from gateway.core.note import is_key_name
from gateway.core.text import plain
from gateway.errors import FormatError

KIND = "fleet"
MAGIC = b"FGF\x01"


def leaf(statement: Statement) -> bytes:
    """The leaf hash of a log's statement."""
    return merkle.leaf_hash(statement.encode())


def statement(node: str, number: int, count: int, root: bytes) -> Statement:
    """What stands on a chain for `count` logs: no log can have its id, since a log's name has no space.

    number: rises with each tree of the node. root: the tree's, which is bound to its count.
    """
    return Statement.of(f"fleet {node}", number, sha256(MAGIC + count.to_bytes(8, "big") + root).digest())


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a fleet's evidence leads to: the statement on the chain, that chain's kind and evidence."""

    node: str
    number: int
    index: int
    count: int
    path: tuple[bytes, ...]
    kind: str
    evidence: cbor.Value

    @classmethod
    def read(cls, evidence: cbor.Value) -> "Fleet":
        """The parts. FormatError for what is none, and for a fleet within a fleet."""
        match evidence:
            case [str(node), int(number), int(index), int(count), list(path), str(kind), inner]:
                pass
            case _:
                raise FormatError("the evidence of a fleet is a node, three numbers, a path, a kind and its evidence")
        if not is_key_name(node):
            raise FormatError(f"{plain(node[:60])!r} is no node's name")
        if any(isinstance(one, bool) for one in (number, index, count)) or not 0 <= number <= NUMBER_MAX:
            raise FormatError("the number of a fleet is none")
        if not 0 <= index < count <= FLEET_LOGS:
            raise FormatError(f"log {index} is not one of {count}, which are at most {FLEET_LOGS}")
        hashes = tuple(one for one in path if isinstance(one, bytes))
        if len(hashes) != len(path):
            raise FormatError("a hash of a fleet's path is no byte string")
        if kind == KIND:
            raise FormatError("a fleet does not stand in a fleet")
        return cls(node, number, index, count, hashes, kind, inner)

    def encode(self) -> list[cbor.Value]:
        """The evidence of an anchor."""
        return [self.node, self.number, self.index, self.count, list(self.path), self.kind, self.evidence]

    def statement(self, of: Statement) -> Statement:
        """What stands on the chain, if a log's statement is the leaf. FormatError where the path is none of its."""
        root = merkle.root_from_inclusion(leaf(of), self.index, self.count, self.path)
        return statement(self.node, self.number, self.count, root)


class Tree:
    """The tree over the statements of 1 to FLEET_LOGS logs: 65 bytes of hashes and some 200 of leaves for each."""

    def __init__(self, statements: Iterable[Statement]) -> None:
        """In any order. FormatError for none, too many, or two of one log."""
        self.leaves = tuple(sorted(statements))
        self._logs = [one.log for one in self.leaves]
        if not 0 < len(self.leaves) <= FLEET_LOGS:
            raise FormatError(f"a fleet has 1 to {FLEET_LOGS} logs, not {len(self.leaves)}")
        if len(set(self._logs)) != len(self._logs):
            raise FormatError("a log stands in a fleet once")
        self._levels = [[leaf(one) for one in self.leaves]]
        while len(self._levels[-1]) > 1:
            self._levels.append(_above(self._levels[-1]))

    @property
    def root(self) -> bytes:
        """Of the tree."""
        return self._levels[-1][0]

    def index(self, log: bytes) -> int | None:
        """Where a log stands among the leaves; None where it does not."""
        at = bisect_left(self._logs, log)
        return at if at < len(self._logs) and self._logs[at] == log else None

    def path(self, index: int) -> tuple[bytes, ...]:
        """From a leaf to the root."""
        found: list[bytes] = []
        for level in self._levels[:-1]:
            if (index ^ 1) < len(level):  # otherwise it rises unchanged
                found.append(level[index ^ 1])
            index >>= 1
        return tuple(found)

    def statement(self, node: str, number: int) -> Statement:
        """What is put on a chain for all of them."""
        return statement(node, number, len(self.leaves), self.root)

    def fleet(self, node: str, number: int, index: int, kind: str, evidence: cbor.Value) -> Fleet:
        """What the log at an index is given, once the statement is anchored."""
        return Fleet(node, number, index, len(self.leaves), self.path(index), kind, evidence)


def _above(level: Sequence[bytes]) -> list[bytes]:
    """The level above: an odd hash at its end rises unchanged (RFC 9162 section 2.1.1, from below)."""
    made = [merkle.node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
    return made + list(level[len(made) * 2 :])
