"""What the nodes have co-signed, and how far each has come."""

from typing import NamedTuple

from gateway.store.database import Database

SCHEMA = """
CREATE TABLE cosignature(        -- lines over the gateway's own checkpoint of that size
    size INTEGER, node TEXT, kind TEXT, line TEXT NOT NULL, PRIMARY KEY(size, node, kind)
) WITHOUT ROWID;
CREATE TABLE progress(node TEXT PRIMARY KEY, seen INTEGER NOT NULL, stored INTEGER NOT NULL) WITHOUT ROWID"""

SEEN, STORED = "seen", "stored"


class NodeProgress(NamedTuple):
    """The largest size that a node has signed as seen, and the size that it last signed as stored."""

    seen: int
    stored: int


class Line(NamedTuple):
    """One co-signature line of one node."""

    node: str
    kind: str
    line: str


class CosignedSize(NamedTuple):
    """A size of the log with the gateway's own note and every line over it."""

    size: int
    note: str
    lines: tuple[Line, ...]


class Cosigned:
    """Co-signatures that were verified before they came here."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def save(self, node: str, kind: str, size: int, note: str, line: str) -> None:
        """Keeps a verified line over the gateway's checkpoint `note` of `size`, and the node's progress.

        The newest line replaces an older one of the same node over the same size only where none was kept: the
        earliest attested time is the one worth having.
        """
        seen, stored = (size, 0) if kind == SEEN else (0, size)
        await self._db.transact(
            [
                ("INSERT OR IGNORE INTO checkpoint VALUES (?,?)", (size, note)),
                ("INSERT OR IGNORE INTO cosignature VALUES (?,?,?,?)", (size, node, kind, line)),
                (
                    "INSERT INTO progress VALUES (?,?,?) ON CONFLICT(node) DO UPDATE SET "
                    "seen=max(seen, excluded.seen), stored=max(stored, excluded.stored)",
                    (node, seen, stored),
                ),
            ]
        )

    async def progress(self, node: str) -> NodeProgress:
        """How far a node has come; zeroes for one that never answered."""
        rows = await self._db.read("SELECT seen,stored FROM progress WHERE node=?", (node,))
        return NodeProgress(*rows[0]) if rows else NodeProgress(0, 0)

    async def above(self, height: int, after: int = 0, limit: int = 16) -> list[CosignedSize]:
        """Co-signed sizes above `height` (and above `after`), ascending, at most `limit`."""
        sql = (
            "SELECT size,note FROM checkpoint WHERE size>? AND size IN (SELECT size FROM cosignature WHERE size>?) "
            "ORDER BY size LIMIT ?"
        )
        floor = max(height, after)
        return [await self._sized(size, note) for size, note in await self._db.read(sql, (floor, floor, limit))]

    async def _sized(self, size: int, note: str) -> CosignedSize:
        rows = await self._db.read("SELECT node,kind,line FROM cosignature WHERE size=? ORDER BY node,kind", (size,))
        return CosignedSize(size, note, tuple(Line(*row) for row in rows))
