"""The Merkle-Patricia trie of Ethereum (yellow paper, appendix D), as blocks have it over transactions and receipts.

Keys are the RLP of a number from 0 on, values are bytes. `prove` gives the nodes from the root to a value's leaf.
"""

from collections.abc import Mapping, Sequence

from gateway.core import rlp
from gateway.core.keccak import keccak256
from gateway.core.rlp import Item
from gateway.errors import FormatError

EMPTY_ROOT = keccak256(rlp.encode(b""))

_Pairs = list[tuple[bytes, bytes]]  # (nibbles, value), in the order of the nibbles


def key(index: int) -> bytes:
    """The key of the transaction or receipt `index` of a block."""
    return rlp.encode(rlp.uint(index))


def root(values: Sequence[bytes]) -> bytes:
    """The root over a block's transactions or receipts."""
    return _hashed(_Trie(values).root)


def prove(values: Sequence[bytes], index: int) -> list[bytes]:
    """The nodes from the root to the value `index`."""
    return _Trie(values).path(_nibbles(key(index)))


def verify(root: bytes, index: int, proof: Sequence[bytes]) -> bytes:
    """The value `index` under that root. FormatError where the nodes do not lead to one, or are more than that."""
    wanted, nodes = _nibbles(key(index)), list(proof)
    node = _fetch(root, nodes)
    while True:
        if len(node) == 17:
            if not wanted:
                return _value(node[16], nodes)
            child, wanted = node[wanted[0]], wanted[1:]
        elif len(node) == 2:
            path, is_leaf = _path(node[0])
            if not wanted.startswith(path) or (is_leaf and wanted != path):
                raise FormatError("the trie's proof leads to another place")
            if is_leaf:
                return _value(node[1], nodes)
            child, wanted = node[1], wanted[len(path) :]
        else:
            raise FormatError("a node of the trie has neither 2 nor 17 items")
        node = child if isinstance(child, list) else _fetch(child, nodes)


def _fetch(digest: bytes, nodes: list[bytes]) -> list[Item]:
    """The next node of the proof, which must have that hash."""
    if not nodes:
        raise FormatError("the trie's proof ends before its leaf")
    data = nodes.pop(0)
    if keccak256(data) != digest:
        raise FormatError("a node of the trie's proof has another hash")
    node = rlp.decode(data)
    if not isinstance(node, list):
        raise FormatError("a node of the trie is no list")
    return node


def _value(value: Item, rest: list[bytes]) -> bytes:
    if not isinstance(value, bytes) or not value:
        raise FormatError("there is nothing at that place of the trie")
    if rest:
        raise FormatError("the trie's proof has nodes behind its leaf")
    return value


def _path(data: Item) -> tuple[bytes, bool]:
    """The nibbles of a leaf or an extension, and whether it is a leaf (hex-prefix encoding)."""
    if not isinstance(data, bytes) or not data or data[0] >> 4 > 3 or (not data[0] & 0x10 and data[0] & 0x0F):
        raise FormatError("a path in the trie is malformed")
    nibbles = _nibbles(data)
    return nibbles[1 if data[0] & 0x10 else 2 :], bool(data[0] & 0x20)


def _nibbles(data: bytes) -> bytes:
    return bytes(half for byte in data for half in (byte >> 4, byte & 15))


def _prefixed(nibbles: bytes, *, leaf: bool) -> bytes:
    flags = bytes([2 * leaf + len(nibbles) % 2]) + (b"" if len(nibbles) % 2 else b"\0")
    whole = flags + nibbles
    return bytes(high << 4 | low for high, low in zip(whole[::2], whole[1::2], strict=True))


class _Trie:
    """All nodes by their nibbles from the root. What is shorter than a hash stands within its parent."""

    def __init__(self, values: Sequence[bytes]) -> None:
        pairs = sorted((_nibbles(key(index)), value) for index, value in enumerate(values))
        self._nodes: dict[bytes, bytes] = {}  # RLP, by the nibbles that lead there
        self.root = self._node(pairs, b"") if pairs else rlp.encode(b"")

    def _node(self, pairs: _Pairs, at: bytes) -> bytes:
        """The RLP of the node under which these pairs are; their keys begin with `at`."""
        depth = len(at)
        if len(pairs) == 1:
            rest, value = pairs[0][0][depth:], pairs[0][1]
            return self._kept(at, [_prefixed(rest, leaf=True), value])
        first, last = pairs[0][0], pairs[-1][0]
        shared = next(
            (n for n in range(depth, len(first)) if first[n] != last[n]), len(first)
        )  # no key is the beginning of another
        if shared > depth:
            child = self._node(pairs, first[:shared])
            return self._kept(at, [_prefixed(first[depth:shared], leaf=False), _reference(child)])
        groups: Mapping[int, _Pairs] = {n: [pair for pair in pairs if pair[0][depth] == n] for n in range(16)}
        children = [_reference(self._node(own, at + bytes([n]))) if own else b"" for n, own in groups.items()]
        return self._kept(at, [*children, b""])

    def _kept(self, at: bytes, node: Sequence[Item]) -> bytes:
        self._nodes[at] = data = rlp.encode(node)
        return data

    def path(self, wanted: bytes) -> list[bytes]:
        """The nodes on the way that stand by their hash, the root first."""
        on_way = (self._nodes[wanted[:n]] for n in range(len(wanted) + 1) if wanted[:n] in self._nodes)
        return [node for number, node in enumerate(on_way) if number == 0 or len(node) >= 32]


def _reference(node: bytes) -> Item:
    return rlp.decode(node) if len(node) < 32 else keccak256(node)


def _hashed(node: bytes) -> bytes:
    return keccak256(node)
