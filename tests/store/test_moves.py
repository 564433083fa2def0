"""What is made anew takes its place whole, or nothing does."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.errors import StoreFullError
from gateway.store import moves


def test_a_database_whose_last_checkpoint_found_no_room_does_not_take_its_place(tmp_path: Path) -> None:
    staging = moves.stage(tmp_path)
    made = [(staging / "a.db", tmp_path / "a.db")]
    with closing(sqlite3.connect(staging / "a.db", isolation_level=None)) as con:
        con.execute("PRAGMA journal_mode=wal")
        con.execute("CREATE TABLE t(a)")
        shutil.copytree(staging, tmp_path / "as it was left")
    shutil.rmtree(staging)
    (tmp_path / "as it was left").rename(staging)
    with pytest.raises(StoreFullError) as caught:
        moves.decide(tmp_path, made)
    assert "Nothing was changed" in caught.value.cure
    assert [path.name for path in tmp_path.iterdir()] == [moves.STAGING]
    with closing(sqlite3.connect(staging / "a.db")) as con:  # its closing makes the checkpoint
        assert con.execute("SELECT name FROM sqlite_master").fetchall() == [("t",)]
    moves.decide(tmp_path, made)
    with closing(sqlite3.connect(tmp_path / "a.db")) as con:
        assert con.execute("SELECT name FROM sqlite_master").fetchall() == [("t",)]


def test_what_was_made_and_not_decided_gives_its_room_back(tmp_path: Path) -> None:
    (moves.stage(tmp_path) / "fieldgate.db").write_bytes(bytes(4096))
    moves.finish(tmp_path)
    assert list(tmp_path.iterdir()) == []
