"""Renames that take effect together, whatever interrupts them: how a store that was made anew takes its place.

Everything is made in `.recover.tmp`, with a list of renames. Renaming that folder to `.recover` decides; from there
each rename is made once, in order, and whoever opens the store next makes those that are left.
"""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from gateway.errors import InUseError, StoreFullError
from gateway.files import sync_folder
from gateway.store import wal

STAGING, DECIDED = ".recover.tmp", ".recover"
_LIST = "moves.json"

Move = tuple[Path, Path]
"""From and to. A `to` that is there already stays, unless `from` is one of those that replace."""


def stage(data_dir: Path) -> Path:
    """An empty folder to make things in. What an interrupted attempt left there was never in use."""
    staging = data_dir / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700)
    return staging


def free_name(data_dir: Path, stem: str, now_ms: int) -> Path:
    """Where what is replaced is kept: `stem-SECOND`, and never a folder that is there, whatever the clock says."""
    second = now_ms // 1000
    while (data_dir / f"{stem}-{second}").exists():
        second += 1
    return data_dir / f"{stem}-{second}"


def decide(data_dir: Path, moves: Sequence[Move], replacing: Sequence[Move] = ()) -> None:
    """Makes the renames come true, then those of `replacing`, each within one file system. What is not there now is not
    moved later either: it would be what another of the renames has put there.

    A path in the staging folder is given as it stands there. All of it has been flushed to the device by the caller.
    StoreFullError where a database there is not all in its file: its last checkpoint found no room, and says nothing.
    """
    staging, decided = data_dir / STAGING, data_dir / DECIDED
    moves = [move for move in moves if os.path.lexists(move[0])]
    for source, _ in moves:
        if source.is_relative_to(staging) and wal.holds_commits(source.with_name(f"{source.name}-wal")):
            what = "there was no room for all of the new file"
            raise StoreFullError(what, where=str(data_dir), cure="Nothing was changed. Free some space, and try again")
    steps = [[_decided(source, staging, decided), str(target), False] for source, target in moves]
    steps += [[_decided(source, staging, decided), str(target), True] for source, target in replacing]
    with (staging / _LIST).open("w", encoding="utf-8") as file:
        json.dump(steps, file)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(staging)
    staging.rename(decided)
    sync_folder(data_dir)
    finish(data_dir)


def _decided(path: Path, staging: Path, decided: Path) -> str:
    return str(decided / path.relative_to(staging)) if path.is_relative_to(staging) else str(path)


def finish(data_dir: Path) -> None:
    """Makes what is left of renames that were decided. Every step may have been taken already.

    What was made and not decided is removed: it holds as much room as a store.
    """
    shutil.rmtree(data_dir / STAGING, ignore_errors=True)
    decided = data_dir / DECIDED
    if not (decided / _LIST).exists():
        shutil.rmtree(decided, ignore_errors=True)
        return
    touched: set[Path] = set()
    try:
        for source, target, replace in json.loads((decided / _LIST).read_text("utf-8")):
            if os.path.lexists(source) and (replace or not os.path.lexists(target)):
                Path(target).parent.mkdir(mode=0o700, exist_ok=True)
                Path(source).rename(target)
            touched |= {Path(source).parent, Path(target).parent}
    except OSError as error:
        what = f"a recover was interrupted and cannot be finished: {error.strerror}"
        cure = "Run `fieldgate recover` as a user who may write there"
        raise InUseError(what, where=str(error.filename2 or error.filename), cure=cure) from error
    sync_folder(*(folder for folder in touched if folder.is_dir()))
    (decided / _LIST).unlink()  # from here on there is nothing left to do
    shutil.rmtree(decided, ignore_errors=True)
    sync_folder(data_dir)
