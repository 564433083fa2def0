"""What the nodes have co-signed, and how far each has come."""

from typing import Final, NamedTuple

from gateway.store.database import Database

SCHEMA = """
CREATE TABLE cosignature(        -- lines over the gateway's own checkpoint of that size
    size INTEGER, node TEXT, kind TEXT, line TEXT NOT NULL, PRIMARY KEY(size, node, kind)
) WITHOUT ROWID;
-- a row "NAME KEY" beside the one of NAME: whose word that one keeps; one of nobody: when others were forgotten last
CREATE TABLE progress(node TEXT PRIMARY KEY, seen INTEGER NOT NULL, stored INTEGER NOT NULL) WITHOUT ROWID"""

SCHEMA_2 = """
-- `stored` is the largest stored size ever, `holds` that of the node's last word, of the bodies from `begins` on
-- (NULL: not known)
ALTER TABLE progress ADD COLUMN holds INTEGER NOT NULL DEFAULT 0;
ALTER TABLE progress ADD COLUMN begins INTEGER"""

SEEN, STORED = "seen", "stored"
_KEYS_OF = "node > ? || ' ' AND node < ? || '!'"  # no name has a blank in it, and no character lies between the two
FORGET_HOLDINGS: Final = ("UPDATE progress SET holds=0, begins=NULL", ())
_NOBODY = ""  # the row that says when all of them were forgotten last


def forgotten(signed: int) -> tuple[str, tuple[object, ...]]:
    """Notes that others were forgotten when a sign-state had signed so many blocks (`Cosigned.forgotten_at`)."""
    return "INSERT OR REPLACE INTO progress(node,seen,stored) VALUES (?,?,0)", (_NOBODY, signed)


class NodeProgress(NamedTuple):
    """The largest sizes that a node has signed as seen and as stored."""

    seen: int
    stored: int


class Holding(NamedTuple):
    """The bodies of [begins, holds) are at the node, by its last word; begins None: from where on is not known."""

    begins: int | None
    holds: int


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
        word = "" if kind == SEEN else ", holds=excluded.holds"
        await self._db.transact(
            [
                ("INSERT OR IGNORE INTO checkpoint VALUES (?,?)", (size, note)),
                ("INSERT OR IGNORE INTO cosignature VALUES (?,?,?,?)", (size, node, kind, line)),
                (
                    "INSERT INTO progress(node,seen,stored,holds) VALUES (?,?,?,?) ON CONFLICT(node) DO UPDATE SET "
                    f"seen=max(seen, excluded.seen), stored=max(stored, excluded.stored){word}",
                    (node, seen, stored, stored),
                ),
            ],
            reserve=True,
        )

    async def recognise(self, node: str, key: str) -> None:
        """What is kept of the node from now on is the word of `key`; what another one said to hold is forgotten."""
        if await self._heard(node) == [key]:
            return
        others = f"FROM progress WHERE {_KEYS_OF}"
        await self._db.transact(
            [
                (
                    f"UPDATE progress SET stored=0, holds=0, begins=NULL WHERE node=? AND EXISTS (SELECT 1 {others})",
                    (node, node, node),
                ),
                (f"DELETE {others}", (node, node)),
                ("INSERT INTO progress(node,seen,stored) VALUES (? || ' ' || ?,0,0)", (node, key)),
            ],
            reserve=True,
        )

    async def fell(self, node: str, size: int) -> None:
        """The node's stored size is `size` now; where it was more, only this counts. At 0 it may begin elsewhere."""
        sql = "UPDATE progress SET holds=?, begins=CASE ? WHEN 0 THEN NULL ELSE begins END WHERE node=? AND holds>?"
        if (await self.holding(node)).holds > size:
            await self._db.transact([(sql, (size, size, node, size))], reserve=True)

    async def wanted(self, node: str, height: int) -> None:
        """The node has asked for the body of a block, so what it calls stored begins there or before.

        It wants what it lacks, and never what lies before its start (docs/format.md, section 6).
        """
        sql = (
            "INSERT INTO progress(node,seen,stored,begins) VALUES (?,0,0,?) ON CONFLICT(node) DO UPDATE SET "
            "begins=excluded.begins WHERE begins IS NULL OR begins>excluded.begins"
        )
        known = (await self.holding(node)).begins
        if known is None or known > height:
            await self._db.transact([(sql, (node, height))], reserve=True)

    async def holding(self, node: str, key: str | None = None) -> Holding:
        """What the node holds by its last word, if that was the word of `key`; None: whoever's it was."""
        if key is not None and not await self._by(node, key):
            return Holding(None, 0)
        rows = await self._db.read("SELECT begins,holds FROM progress WHERE node=?", (node,))
        return Holding(*rows[0]) if rows else Holding(None, 0)

    async def forgotten_at(self) -> int | None:
        """How much was signed when others were forgotten last; None: never."""
        rows = await self._db.read("SELECT seen FROM progress WHERE node=?", (_NOBODY,))
        return rows[0][0] if rows else None

    async def _by(self, node: str, key: str) -> bool:
        return await self._heard(node) in ([], [key])

    async def _heard(self, node: str) -> list[str]:
        """The key whose word is kept of the node; none where an older version kept it."""
        rows = await self._db.read(f"SELECT node FROM progress WHERE {_KEYS_OF}", (node, node))
        return [row[0].removeprefix(f"{node} ") for row in rows]

    async def progress(self, node: str, key: str | None = None) -> NodeProgress:
        """How far a node has come; zeroes for one that never answered, and for "stored" by another key than `key`."""
        rows = await self._db.read("SELECT seen,stored FROM progress WHERE node=?", (node,))
        seen, stored = rows[0] if rows else (0, 0)
        return NodeProgress(seen, stored if key is None or await self._by(node, key) else 0)

    async def above(self, height: int, after: int = 0, limit: int = 16) -> list[CosignedSize]:
        """Co-signed sizes above `height` (and above `after`), ascending, at most `limit`."""
        sql = (
            "SELECT size,note FROM checkpoint WHERE size>? "
            "AND EXISTS (SELECT 1 FROM cosignature WHERE cosignature.size=checkpoint.size) ORDER BY size LIMIT ?"
        )
        rows = await self._db.read(sql, (max(height, after), limit))
        return [await self._sized(size, note) for size, note in rows]

    async def _sized(self, size: int, note: str) -> CosignedSize:
        rows = await self._db.read("SELECT node,kind,line FROM cosignature WHERE size=? ORDER BY node,kind", (size,))
        return CosignedSize(size, note, tuple(Line(*row) for row in rows))
