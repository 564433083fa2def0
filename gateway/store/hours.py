"""The file of the rollup: a blob for each value and hour, and which rows of the journal they were made from.

All of it is derived, so nobody waits for its flushes, and what is wrong with it is mended by throwing it away. It is
opened anew for each use, in a thread. A write is one transaction: hours and the rows behind them go together, so each
reading counts once, whenever the process is killed.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from gateway.core import limits
from gateway.errors import DamagedError, StoreError, StoreFullError
from gateway.store.minutes import MINUTES, Hour, Minute, listed
from gateway.store.series import Name, Taken
from gateway.store.space import free_bytes

_APPLICATION, _VERSION = 0x46475255, 1  # FGRU
_PAGE_BYTES: Final = 4096
_SUM_BYTES: Final = 4
_SERIES_BITS: Final = 24  # of a place
_SCHEMA = """
BEGIN;
CREATE TABLE series(id INTEGER PRIMARY KEY, source TEXT NOT NULL, name TEXT NOT NULL, unit TEXT, UNIQUE(source, name));
CREATE TABLE hour(               -- its place is the Unix hour, then the series; minutes.py has the bytes
    place INTEGER PRIMARY KEY, data BLOB NOT NULL
);
CREATE TABLE covered(low INTEGER PRIMARY KEY, high INTEGER NOT NULL);   -- rows [low, high] of the journal are in
CREATE TABLE stands_on(          -- the journal's newest of them, and a sum over all but the hours
    row INTEGER, height INTEGER, bytes INTEGER, last_ms INTEGER, sum INTEGER
);
COMMIT;
"""
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, 0}
_CURE = "It is made anew by itself"

Range = tuple[int, int]
"""Rows [low, high] of the journal."""
Row = tuple[int, ...]


class Known(NamedTuple):
    """What a file holds: (source, name, unit) in the order first seen, rows that are in, the newest of them."""

    series: list[tuple[str, str, str | None]]
    covered: list[Range]
    stands_on: Row | None


class Write(NamedTuple):
    """What is to go into the file. keep: the hours that may stay, oldest and newest; None: any."""

    taken: Mapping[Name, Taken]
    covered: list[Range]
    stands_on: Row | None
    keep: Range | None


class HoursFile:
    """Errors are DamagedError (throw it away), StoreFullError, or StoreError where it cannot be used."""

    def __init__(self, path: Path, min_free: int) -> None:
        self.path = path
        self.min_free = min_free
        self._covered: list[Range] = []  # what it had when it was last looked at

    def load(self) -> Known:
        """Everything but the hours, after a look at all of it; nothing where there is no file."""
        if not self.path.exists():
            return Known([], [], None)
        with self._opened() as con:
            _check(con)
            row = con.execute("SELECT row,height,bytes,last_ms FROM stands_on").fetchone()
            series = con.execute("SELECT source,name,unit FROM series ORDER BY id").fetchall()
            self._covered = con.execute("SELECT low,high FROM covered ORDER BY low").fetchall()
        return Known(series, self._covered, row)

    def minutes(self, series: Name, also: dict[int, Hour], begin: int, end: int) -> list[Minute]:
        """Those of one value with begin <= at < end, ascending. also: hours of it that are newer than what is here."""
        there = self.path.exists() or self._covered
        hours = self._hours(series, begin // MINUTES, -(-end // MINUTES)) if there else {}
        for number, hour in also.items():
            if number in hours:
                hours[number].merge(hour)
            else:
                hours[number] = hour
        return list(listed(hours, begin, end))

    def _hours(self, series: Name, first: int, end: int) -> dict[int, Hour]:
        """Hours of one value, first <= hour < end."""
        following = "SELECT place FROM hour WHERE place>=? AND place<? ORDER BY place LIMIT 1"
        found: dict[int, Hour] = {}
        with self._opened() as con:
            known = con.execute("SELECT id FROM series WHERE source=? AND name=?", series).fetchone()
            while known and (row := con.execute(following, (_place(first), _place(end))).fetchone()):
                hour = row[0] >> _SERIES_BITS
                if (made := _get(con, _place(hour, *known))) is not None:
                    found[hour] = made
                first = hour + 1
        return found

    def write(self, given: Write) -> None:
        """All of it, or nothing."""
        if free_bytes(self.path.parent) < self.min_free // 4 * 5:
            raise StoreFullError("no room for charts", where=str(self.path), cure="Free some space")
        with self._opened() as con:
            con.execute("BEGIN IMMEDIATE")
            if con.execute("SELECT low,high FROM covered ORDER BY low").fetchall() != self._covered:
                raise ValueError("another file is in its place")
            _make_room(con, given.keep)
            hours = {
                _place(hour, number): made
                for series, (unit, hours) in given.taken.items()
                for number in (_id(con, series, unit),)
                for hour, made in hours.items()
            }
            for place in sorted(hours):  # in the order of their pages
                _put(con, place, hours[place])
            con.execute("DELETE FROM covered")
            con.executemany("INSERT INTO covered VALUES (?,?)", given.covered)
            if given.stands_on is not None:
                con.execute("DELETE FROM stands_on")
                con.execute("INSERT INTO stands_on VALUES (?,?,?,?,0)", given.stands_on)
            con.execute("UPDATE stands_on SET sum=?", (_sum(con),))
            con.execute("COMMIT")
        self._covered = given.covered

    def throw_away(self) -> None:
        """There is no file afterwards, if that can be brought about at all."""
        self._covered = []
        for name in ("-wal", "-shm", ""):  # a log without its file would be taken for the next one's
            with contextlib.suppress(OSError):
                self.path.with_name(self.path.name + name).unlink()

    def give_way(self) -> bool:
        """Throws it away where the disk has less room than others are left: readings come first. True where it did."""
        if not self.path.exists() or free_bytes(self.path.parent) >= self.min_free:
            return False
        self.throw_away()
        return True

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The file, made where there is none. Damage of a blob shows itself as ValueError, of the rest in many ways."""
        try:
            new = not self.path.exists()
            if new:
                if self._covered:
                    raise ValueError("the file is gone")
                self.throw_away()
                os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as con:
                _prepare(con, new=new)
                yield con
        except sqlite3.Error as error:
            raise _translated(error, self.path) from error
        except (ValueError, TypeError, OverflowError) as error:
            raise DamagedError(f"charts: {error}", where=str(self.path), cure=_CURE) from error
        except OSError as error:
            raise StoreError(str(error.strerror), where=str(self.path), cure="Check the disk") from error


def _prepare(con: sqlite3.Connection, *, new: bool) -> None:
    con.execute(f"PRAGMA page_size={_PAGE_BYTES}")
    con.execute("PRAGMA journal_mode=WAL").fetchone()
    con.execute("PRAGMA synchronous=NORMAL")  # a power cut takes the newest hours, never the file
    con.execute("PRAGMA cache_size=-512")
    con.execute("PRAGMA trusted_schema=OFF")
    con.execute("PRAGMA cell_size_check=ON")
    if new:
        con.execute(f"PRAGMA application_id={_APPLICATION}")
        con.executescript(f"{_SCHEMA} PRAGMA user_version={_VERSION};")
    found = [con.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    if found != [_APPLICATION, _VERSION]:
        raise ValueError("of another version, or no file of charts")
    con.execute(f"PRAGMA max_page_count={_pages()}").fetchone()


def _pages() -> int:
    return limits.ROLLUP_BYTES // _PAGE_BYTES


def _used(con: sqlite3.Connection) -> int:
    sql = "SELECT page_count-freelist_count FROM pragma_page_count, pragma_freelist_count"
    return int(con.execute(sql).fetchone()[0])


def _translated(error: sqlite3.Error, path: Path) -> StoreError | StoreFullError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFullError("no room for charts", where=str(path), cure="Free some space")
    kind = DamagedError if code in _DAMAGED else StoreError
    return kind(f"charts: {error}", where=str(path), cure=_CURE)


def _check(con: sqlite3.Connection) -> None:
    """SQLite notices pages that do not fit each other, the sums a changed byte."""
    sound = con.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)
    told = con.execute("SELECT sum FROM stands_on").fetchone()
    if not sound or (told is not None and told[0] != _sum(con)):
        raise ValueError("it is not what was written")
    for place, data in con.execute("SELECT place,data FROM hour"):
        if _sealed(data[_SUM_BYTES:], place) != data:
            raise ValueError("an hour is not what was written")


def _sum(con: sqlite3.Connection) -> int:
    tables = (
        "id,source,name,unit FROM series",
        "low,high FROM covered",
        "row,height,bytes,last_ms FROM stands_on",
        "count(*) FROM hour",
    )
    return crc32(repr([con.execute(f"SELECT {table} ORDER BY 1").fetchall() for table in tables]).encode())


def _id(con: sqlite3.Connection, series: Name, unit: str | None) -> int:
    sql = (
        "INSERT INTO series(source,name,unit) VALUES (?,?,?) "
        "ON CONFLICT(source,name) DO UPDATE SET unit=excluded.unit RETURNING id"
    )
    ((number,),) = con.execute(sql, (*series, unit)).fetchall()
    return int(number)


def _place(hour: int, series: int = 0) -> int:
    return hour << _SERIES_BITS | series


def _get(con: sqlite3.Connection, place: int) -> Hour | None:
    row = con.execute("SELECT data FROM hour WHERE place=?", (place,)).fetchone()
    if row is not None and _sealed(row[0][_SUM_BYTES:], place) != row[0]:
        raise ValueError("an hour is not what was written")
    return Hour.unpack(row[0][_SUM_BYTES:]) if row is not None else None


def _put(con: sqlite3.Connection, place: int, made: Hour) -> None:
    """Joined with what the file has of that hour."""
    was = _get(con, place)
    if was is not None:
        was.merge(made)
        made = was
    con.execute("INSERT OR REPLACE INTO hour VALUES (?,?)", (place, _sealed(made.pack(), place)))


def _sealed(data: bytes, place: int) -> bytes:
    """With a sum over it and its place: SQLite does not notice a changed byte."""
    return crc32(data, place & 0xFFFFFFFF).to_bytes(_SUM_BYTES, "big") + data


def _make_room(con: sqlite3.Connection, keep: Range | None) -> None:
    """What is too old goes, and what a wrong clock put far into the future; then the oldest, until there is room."""
    if keep is not None:
        con.execute("DELETE FROM hour WHERE place<?", (_place(keep[0]),))
        con.execute("DELETE FROM hour WHERE place>=?", (_place(keep[1] + 1),))
    while _used(con) > _pages() // 8 * 7 and (first := con.execute("SELECT min(place) FROM hour").fetchone()[0]):
        con.execute("DELETE FROM hour WHERE place<?", (_place((first >> _SERIES_BITS) + 1),))
    if con.execute("SELECT count(*) FROM series").fetchone()[0] > 2 * limits.ROLLUP_SERIES:
        con.execute("DELETE FROM series WHERE id NOT IN (SELECT place & ? FROM hour)", (_place(1) - 1,))


def joined(ranges: Iterable[Range]) -> list[Range]:
    """The same rows in ranges that do not touch, ascending."""
    found: list[Range] = []
    for low, high in sorted(one for one in ranges if one[0] <= one[1]):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return found


def gaps(ranges: Iterable[Range], low: int, high: int) -> list[Range]:
    """The rows of [low, high] that are in none of the ranges, ascending."""
    found: list[Range] = []
    for begin, end in joined(ranges):
        if low < begin and low <= high:
            found.append((low, min(begin - 1, high)))
        low = max(low, end + 1)
    if low <= high:
        found.append((low, high))
    return found
