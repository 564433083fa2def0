"""Hashes and proofs out of a stored log (RFC 9162; docs/format.md, section 5). Reads are at most a tile wide."""

from gateway.core import merkle
from gateway.core.merkle import Node
from gateway.errors import NotFoundError
from gateway.node.store import Headers

_TILE_HEIGHT = 8


async def tile(store: Headers, log: str, level: int, start: int, count: int) -> list[bytes]:
    """Hashes `start` to `start + count` of tlog-tiles' level. NotFoundError where the log does not reach so far."""
    if level:
        hashes = await store.hashes(log, level, start, count)
    else:
        hashes = [merkle.leaf_hash(entry) for entry in await store.entries(log, start, count)]
    if len(hashes) != count:
        raise NotFoundError("the log does not reach so far", where=log)
    return hashes


async def node_hash(store: Headers, log: str, node: Node) -> bytes:
    """The hash of a complete subtree."""
    level, rest = divmod(node.level, _TILE_HEIGHT)
    return merkle.root(await tile(store, log, level, node.index << rest, 1 << rest))


async def range_hash(store: Headers, log: str, low: int, high: int) -> bytes:
    """MTH over the entries low <= i < high, a subtree of some tree."""
    return merkle.fold([await node_hash(store, log, node) for node in merkle.range_nodes(low, high)])


async def root(store: Headers, log: str, size: int) -> bytes:
    """The root of the log's first `size` entries."""
    return await range_hash(store, log, 0, size)


async def inclusion(store: Headers, log: str, height: int, size: int) -> list[bytes]:
    """The path from entry `height` to the root of the first `size` entries."""
    ranges = merkle.inclusion_ranges(height, size)
    return [await range_hash(store, log, low, high) for low, high in ranges]
