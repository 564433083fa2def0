"""One statement on a chain for all logs of a node, and what each log is given of it (docs/format.md, section 12.5).

What runs [anchor.NAME] is made beside the node (gateway/fleet.py): to it a Fleet is the subject and the journal.
"""

import asyncio
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.core import cbor, limits
from gateway.core.anchor import Statement
from gateway.core.anchor_fleet import Tree
from gateway.core.anchor_row import ANCHORED, AnchorRow
from gateway.node.store import Fleets, Shown

_LEAF_BYTES = 72


@dataclass(frozen=True, slots=True)
class _Given:
    """What logs are given now."""

    row: AnchorRow
    tree: Tree
    evidence: cbor.Value


class Fleet:
    """One [anchor.NAME] of a node. logs: ids of those that stand in it. now: Unix seconds."""

    def __init__(
        self, name: str, node: str, store: Fleets, logs: Container[str], now: Callable[[], float], look_s: float = 10.0
    ) -> None:
        self._name, self._node, self._store, self._logs, self._now, self._look_s = name, node, store, logs, now, look_s
        self._sizes: tuple[int, Mapping[bytes, int]] = (-1, {})  # of the logs in the statement of a number
        self._given: _Given | None = None

    async def open(self) -> None:
        """Reads what was anchored last; what was given before is given until then."""
        self._given = await self._read()

    async def _read(self) -> _Given | None:
        row = await self.anchored(self._name)
        if row is None or row.evidence is None:
            return None
        leaves = await self._store.leaves(self._name, row.size)
        if not leaves:
            return None
        tree = await asyncio.to_thread(lambda: Tree(_unpacked(leaves)))
        if tree.statement(self._node, row.size).root != row.root:
            return None
        return _Given(row, tree, cbor.decode(row.evidence))

    # -- what a log is given ------------------------------------------------------------------------------------------

    def number(self, log: str) -> int | None:
        """Of the newest statement on the chain that a log stands in; None where there is none."""
        given = self._given
        return None if given is None or given.tree.index(bytes.fromhex(log)) is None else given.row.size

    def part(self, log: str) -> list[cbor.Value] | None:
        """The log's size and root in that statement, and the evidence of an anchor of the kind `fleet`."""
        given = self._given
        index = None if given is None else given.tree.index(bytes.fromhex(log))
        if given is None or index is None:
            return None
        own = given.tree.leaves[index]
        fleet = given.tree.fleet(self._node, given.row.size, index, given.row.kind, given.evidence)
        return [own.size, own.root, list(fleet.encode())]

    # -- the subject --------------------------------------------------------------------------------------------------

    @property
    def origin(self) -> str:
        """What its statements are of (anchor_fleet.statement)."""
        return f"fleet {self._node}"

    @property
    def journal(self) -> "Fleet":
        """Itself."""
        return self

    async def grown(self, newest: AnchorRow | None) -> int:
        """Blocks that the newest statement does not have. A log that is not among them any more counts nothing."""
        found = await self._store.witnessed()
        known = {} if newest is None else await self._sizes_of(newest.size)
        return await asyncio.to_thread(self._added, found, known)

    async def wait_grown(self) -> None:
        """Until there are more blocks than now."""
        found = await self._store.witnessed()
        known = await asyncio.to_thread(lambda: {one.log: one.size for one in found})
        while True:
            await asyncio.sleep(self._look_s)
            if await asyncio.to_thread(self._added, await self._store.witnessed(), known):
                return

    async def take(self) -> tuple[int, bytes]:
        """Number and root of a statement of what was witnessed last of each log; its leaves are durable."""
        found = await self._store.witnessed()
        tree, leaves = await asyncio.to_thread(self._planted, found)
        newest = await self.newest(self._name)
        number = max(int(self._now()), newest.size + 1 if newest else 0)
        await self._store.keep_leaves(self._name, number, leaves)
        return number, tree.statement(self._node, number).root

    def _planted(self, found: Iterable[Shown]) -> tuple[Tree, bytes]:
        """The tree over them, and its leaves as they are kept."""
        tree = Tree(Statement(*one) for one in self._chosen(found))
        return tree, _packed(tree.leaves)

    def _chosen(self, found: Iterable[Shown]) -> Iterator[Shown]:
        """Those that stand in it. Of thousands of logs it takes longer than a turn of the loop may."""
        return (one for one in found if one.log.hex() in self._logs)

    def _added(self, found: Iterable[Shown], known: Mapping[bytes, int]) -> int:
        """Blocks beyond the sizes that are known."""
        return sum(max(one.size - known.get(one.log, 0), 0) for one in self._chosen(found))

    async def _sizes_of(self, number: int) -> Mapping[bytes, int]:
        if self._sizes[0] != number:
            leaves = await self._store.leaves(self._name, number)
            self._sizes = number, await asyncio.to_thread(lambda: {one.log: one.size for one in _unpacked(leaves)})
        return self._sizes[1]

    # -- the journal --------------------------------------------------------------------------------------------------

    async def save(self, row: AnchorRow) -> None:
        """Makes the row durable; what is anchored is handed out from then on, and what was taken back no more."""
        await self._store.keep_anchor(row)
        if row.state == ANCHORED or (self._given is not None and self._given.row.size == row.size):
            await self.open()

    async def current(self, name: str) -> AnchorRow | None:
        """The one that is on its way."""
        return await self._first(name, lambda row: not row.over)

    async def newest(self, name: str) -> AnchorRow | None:
        """The one begun last."""
        return await self._first(name, lambda _: True)

    async def before(self, name: str, size: int) -> AnchorRow | None:
        """The newest below that number for which there was something to send."""
        return await self._first(name, lambda row: row.size < size and bool(row.data))

    async def anchored(self, name: str) -> AnchorRow | None:
        """The newest that is anchored."""
        return await self._first(name, lambda row: row.state == ANCHORED)

    async def _first(self, name: str, fits: Callable[[AnchorRow], bool]) -> AnchorRow | None:
        return next((row for row in await self._store.anchors(name) if fits(row)), None)


class FleetBook:
    """All of a node, as its server and its ledgers see them."""

    def __init__(self, fleets: Sequence[Fleet] = ()) -> None:
        self._fleets = fleets[: limits.RECEIPT_ANCHORS]

    def numbers(self, log: str) -> list[int]:
        """What a log is told in each answer: it asks for its parts when they change."""
        return [number for fleet in self._fleets if (number := fleet.number(log)) is not None]

    def parts(self, log: str) -> bytes | None:
        """A log's parts in CBOR; None where it has none."""
        found = [part for fleet in self._fleets if (part := fleet.part(log)) is not None]
        return cbor.encode(found) if found else None


def _packed(leaves: Sequence[Statement]) -> bytes:
    return b"".join(one.log + one.size.to_bytes(8, "big") + one.root for one in leaves)


def _unpacked(data: bytes) -> Iterator[Statement]:
    for at in range(0, len(data), _LEAF_BYTES):
        log, size, root = data[at : at + 32], data[at + 32 : at + 40], data[at + 40 : at + _LEAF_BYTES]
        yield Statement(log, int.from_bytes(size, "big"), root)
