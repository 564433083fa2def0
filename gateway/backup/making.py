"""An archive made: beside a gateway that runs, or, for a move, of one that is stopped and never runs here again."""

import asyncio
import fcntl
import os
import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from gateway import __version__, files
from gateway.backup import archive
from gateway.backup.archive import CONFIG, Handed, Manifest, Member
from gateway.config import ConfigFile
from gateway.errors import HeldError, InUseError, NoRoomError, StoreError
from gateway.store import DATABASE, MOVED, SCHEMA, SIGN_STATE, Store, signstate, wal
from gateway.store.copying import copy

_UNFINISHED = "Start the gateway once, stop it, and try again. If that does not help, ask `fieldgate recover`"


async def make(
    data_dir: Path, config: Sequence[ConfigFile], file: Path, now_ms: int, *, move: bool = False
) -> Manifest:
    """Writes the archive of a gateway to `file`, which appears whole or not at all, flushed and with mode 0600.

    Until then all is in a folder beside it, which the next one to this file clears where this one was killed.
    move: nobody writes to data_dir; the head of its sign-state goes into the archive, and the folder is marked before
    the archive has its name. NoRoomError, DamagedError, HeldError where the log does not stand still; InUseError where
    another backup to this file is on its way; StoreError where its folder cannot be written to.
    """
    beside = file.with_name(f".{file.name}.making")
    held = await asyncio.to_thread(_take, beside)
    try:
        await asyncio.to_thread(_check_room, data_dir, beside)
        archived = beside / "archive"
        manifest = await _make(data_dir, config, archived, beside / DATABASE, now_ms, move=move)
        if move:
            await asyncio.to_thread(_close_here, data_dir)
        await asyncio.to_thread(archived.replace, file)
    finally:
        await asyncio.to_thread(shutil.rmtree, beside, ignore_errors=True)
        os.close(held)
    await asyncio.to_thread(files.sync_folder, file.parent)
    return manifest


async def _make(
    data_dir: Path, config: Sequence[ConfigFile], archived: Path, copied: Path, now_ms: int, *, move: bool
) -> Manifest:
    store = await Store.open(data_dir, read_only=True)
    try:
        handed = await _handed(data_dir, store) if move else None
        done = await copy(store, copied)
        await _check(copied.parent)
        members = [Member(_name(config[0].path, one.path), one.data) for one in config]
        sums = {one.name: sha256(one.data).hexdigest() for one in members}
        manifest = Manifest(
            version=__version__,
            made_ms=now_ms,
            vkey=str(store.vkey),
            origin=store.vkey.name,
            schema=len(SCHEMA.steps),
            size=done.size,
            root=done.root.hex(),
            unsealed=done.unsealed,
            files={**sums, DATABASE: await asyncio.to_thread(archive.sum_of, copied)},
            moved=handed,
        )
        await asyncio.to_thread(_write, archived, manifest, members, copied)
        return manifest
    finally:
        await store.close()


def _write(archived: Path, manifest: Manifest, members: list[Member], copied: Path) -> None:
    with files.new_file(archived, 0o600) as file:
        archive.write(file, manifest, members, copied)


def _name(main: Path, path: Path) -> str:
    return f"{CONFIG}{path.name}" if path.parent == main.parent else f"{CONFIG}{path.parent.name}/{path.name}"


def _take(folder: Path) -> int:
    """The folder, empty, and this backup's alone until the descriptor is closed. What an interrupted one left goes."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        what = f"no backup can be written to this folder: {error.strerror}"
        raise StoreError(what, where=str(folder.parent), cure="Name one that is there and may be written to") from error
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in folder.iterdir():
            left.unlink()
    except OSError as error:
        os.close(descriptor)
        if not isinstance(error, BlockingIOError):
            raise
        what = "another backup is being written to this file"
        raise InUseError(what, where=str(folder), cure="Wait until it is done, or name another file") from None
    return descriptor


def _check_room(data_dir: Path, beside: Path) -> None:
    need = 2 * (data_dir / DATABASE).stat().st_size
    free = shutil.disk_usage(beside).free
    if free < need:
        what = f"{need >> 20} MiB are needed for a copy of the store and the backup, {free >> 20} MiB are free"
        raise NoRoomError(what, where=str(beside), cure="Write it to another disk")


async def _check(folder: Path) -> None:
    """The copy is a store of its own."""
    store = await Store.open(folder, read_only=True)
    try:
        if store.blocks.damage is not None:
            raise store.blocks.damage
        if await asyncio.to_thread(wal.holds_commits, folder / f"{DATABASE}-wal"):
            raise StoreError("part of the copy stays in its write-ahead log", where=str(folder), cure="Check the disk")
    finally:
        await store.close()


async def _handed(data_dir: Path, store: Store) -> Handed:
    if lost := await asyncio.to_thread(wal.damage, data_dir / f"{DATABASE}-wal"):
        raise HeldError(f"{lost}: the log is not handed over", where=str(data_dir), cure=_UNFINISHED)
    found = await signstate.handed_over(data_dir / SIGN_STATE)
    if found is None or found[0] != str(store.vkey) or found[1].size != store.blocks.size:
        what = "the sign-state and the store are not at the same block, so the log cannot be handed over"
        raise HeldError(what, where=str(data_dir), cure=_UNFINISHED)
    _, head, place = found
    return Handed(head.size, head.header.hex() if head.header is not None else None, *place)


def _close_here(data_dir: Path) -> None:
    """The archive is on the device before the log is closed here, and gets its name afterwards."""
    marked = data_dir / MOVED
    part = data_dir / f".{MOVED}.part"
    part.unlink(missing_ok=True)
    files.write_new(part, "This log goes on elsewhere: docs/operations.md, New hardware\n", 0o600)
    part.replace(marked)
    files.sync_folder(data_dir)
