"""What is made anew takes its place whole, or nothing does."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.errors import InUseError, StoreFullError
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


def test_what_was_not_there_when_it_was_decided_is_not_moved_later(tmp_path: Path) -> None:
    """The old sign-state is lost, and the new one must not go its way when a crash makes the renames be gone through
    again."""
    staging, old, state = moves.stage(tmp_path), tmp_path / "old", tmp_path / "sign-state.db"
    (staging / "sign-state.db").write_bytes(b"new")
    (staging / "log.key").write_bytes(b"new key")
    steps = [
        (state, old / "retired"),
        (staging / "sign-state.db", state),
        (staging / "log.key", tmp_path / "etc/log.key"),
    ]
    (tmp_path / "etc").touch()  # nobody may write there
    for _ in range(3):
        with pytest.raises(InUseError, match="cannot be finished"):
            moves.decide(tmp_path, steps) if staging.exists() else moves.finish(tmp_path)
        assert state.read_bytes() == b"new"
    (tmp_path / "etc").unlink()
    moves.finish(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["etc", "sign-state.db"]
