"""What is put on chains: one row for each statement and table of the configuration, and how far it has come."""

from dataclasses import astuple, fields
from typing import NamedTuple

from gateway.core import limits
from gateway.core.anchor_row import AnchorRow
from gateway.store.database import Database, Row

SCHEMA_4 = """
CREATE TABLE anchor(
    name TEXT NOT NULL,                        -- [anchor.NAME]
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    kind TEXT NOT NULL,
    chain TEXT NOT NULL,
    since_ms INTEGER NOT NULL,                 -- when it was begun
    state TEXT NOT NULL,
    over INTEGER NOT NULL,                     -- 1: nothing more is done for it
    data BLOB NOT NULL,                        -- what is sent; empty: not made yet
    ticket BLOB NOT NULL,                      -- what the chain answered; empty: not sent yet
    number INTEGER, hash BLOB, time_s INTEGER, -- the block in which it stands
    evidence BLOB,
    why TEXT NOT NULL,
    cure TEXT NOT NULL,
    PRIMARY KEY(name, size)
);
CREATE INDEX anchor_anchored ON anchor(size) WHERE state='anchored'"""


class Counts(NamedTuple):
    """Rows of one name: those anchored, and those that failed for good."""

    anchored: int
    failed: int


_NAMES = [one.name for one in fields(AnchorRow)]
_COLUMNS = ",".join(_NAMES)
_MARKS = ",".join("?" * len(_NAMES))
_SETS = ",".join(f"{name}=excluded.{name}" for name in _NAMES if name not in ("name", "size"))


class Anchors:
    """The journal of anchors. A row is durable when `save` returns."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def save(self, row: AnchorRow) -> None:
        """Writes the row, which replaces the one of its name and size."""
        put = f"INSERT INTO anchor({_COLUMNS}) VALUES ({_MARKS}) ON CONFLICT(name,size) DO UPDATE SET {_SETS}"
        await self._db.transact([(put, astuple(row)), *self._thinned(row.name)])

    @staticmethod
    def _thinned(name: str) -> list[tuple[str, tuple[object, ...]]]:
        """Every second one of the older half, where there are more than ANCHORS_KEPT: later ones cover what they did.

        What failed for good goes first.
        """
        most = limits.ANCHORS_KEPT
        old = "SELECT size,row_number() OVER (ORDER BY size) AS at FROM anchor WHERE name=? AND state='anchored'"
        too_many = "(SELECT count(*) FROM anchor WHERE name=? AND state='anchored') > ?"
        failed = "SELECT size FROM anchor WHERE name=? AND over AND state='failed' ORDER BY size DESC LIMIT -1 OFFSET ?"
        return [
            (
                f"DELETE FROM anchor WHERE name=? AND {too_many} AND size IN "
                f"(SELECT size FROM ({old}) WHERE at % 2 = 0 AND at <= ?)",
                (name, name, most, name, most // 2),
            ),
            (f"DELETE FROM anchor WHERE name=? AND size IN ({failed})", (name, name, limits.ANCHORS_FAILED_KEPT)),
        ]

    async def current(self, name: str) -> AnchorRow | None:
        """The one that is on its way."""
        return await self._one("name=? AND NOT over ORDER BY size DESC LIMIT 1", name)

    async def newest(self, name: str) -> AnchorRow | None:
        """The one begun last, whatever became of it."""
        return await self._one("name=? ORDER BY size DESC LIMIT 1", name)

    async def before(self, name: str, size: int) -> AnchorRow | None:
        """The newest below that size for which there was something to send."""
        return await self._one("name=? AND size<? AND length(data)>0 ORDER BY size DESC LIMIT 1", name, size)

    async def anchored(self, name: str) -> AnchorRow | None:
        """The newest that is anchored."""
        return await self._one("name=? AND state='anchored' ORDER BY size DESC LIMIT 1", name)

    async def newest_of(self, prefix: str) -> list[AnchorRow]:
        """Of each name that begins so the newest that is anchored."""
        newest = "SELECT name,max(size) FROM anchor WHERE state='anchored' AND substr(name,1,?)=? GROUP BY name"
        return await self._rows(f"(name,size) IN ({newest}) ORDER BY name", len(prefix), prefix)

    async def counts(self, name: str) -> Counts:
        """How many there are."""
        columns = "coalesce(sum(state='anchored'),0), coalesce(sum(over AND state='failed'),0)"
        ((anchored, failed),) = await self._db.read(f"SELECT {columns} FROM anchor WHERE name=?", (name,))
        return Counts(anchored, failed)

    async def reach(self) -> dict[str, int]:
        """By name the largest size that is anchored."""
        sql = "SELECT name,max(size) FROM anchor WHERE state='anchored' GROUP BY name ORDER BY name"
        return {str(row[0]): row[1] for row in await self._db.read(sql)}

    async def covering(self, height: int) -> list[AnchorRow]:
        """Of each name and chain the first anchored row that covers the entry of a height, in the order of their times.

        Those that a node handed over come last: it cannot displace what this gateway has anchored itself.
        """
        first = "SELECT name,min(size) FROM anchor WHERE state='anchored' AND size>? GROUP BY name,kind,chain"
        return await self._rows(
            f"(name,size) IN ({first}) ORDER BY kind='fleet',time_s,name LIMIT ?", height, limits.RECEIPT_ANCHORS
        )

    async def listed(self, most: int, before: int | None = None) -> list[AnchorRow]:
        """The newest, below a size where one is given."""
        where = "size<coalesce(?,9223372036854775807) ORDER BY size DESC,name LIMIT ?"
        return await self._rows(where, before, most)

    async def _one(self, where: str, *params: object) -> AnchorRow | None:
        rows = await self._rows(where, *params)
        return rows[0] if rows else None

    async def _rows(self, where: str, *params: object) -> list[AnchorRow]:
        rows = await self._db.read(f"SELECT {_COLUMNS} FROM anchor WHERE {where}", params)
        return [_row(values) for values in rows]


async def salvaged(db: Database, size: int) -> list[AnchorRow]:
    """Those of a size in a file that may be damaged: rows of another form are left out. StoreError as of any read."""
    rows = await db.read(f"SELECT {_COLUMNS} FROM anchor WHERE size=?", (size,))
    return [_row(values) for values in rows if all(map(_is_sound, values, _FORMS))]


def _is_sound(value: object, form: str) -> bool:
    kinds = {"s": str, "i": int, "b": bytes}
    return isinstance(value, kinds[form.lower()]) or (value is None and form.isupper())


_FORMS = "sibssisibbIBIBss"  # of the columns: text, number, bytes; capital: or NULL


def _row(values: Row) -> AnchorRow:
    named = dict(zip(_NAMES, values, strict=True))
    return AnchorRow(**{**named, "over": bool(named["over"])})
