"""Back to the version before: the files that a newer version has stepped on, as this one knows them.

The store is filled anew with the rows of the newer file. The sign-state is made anew with the newer file's head, never
from a copy: what the newer version has signed is signed. So nothing acknowledged is lost, and no height is signed
twice.
"""

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

from gateway import scrub
from gateway.errors import DamagedError, HeldError, NotFoundError, Refused
from gateway.files import sync_file
from gateway.place import Place
from gateway.recover.rebuild import check_room
from gateway.store import (
    DATABASE,
    SCHEMA,
    SIGN_STATE,
    Store,
    create_database,
    forget_others,
    log_key_of,
    moves,
    signstate,
    snapshot,
    wal,
)
from gateway.store.signstate import Head

_TAILS = ("", "-wal", "-shm")
_NEWER = "Nothing was changed. Install the newer version again, and see what its `fieldgate recover` tells"
_AS_IT_WAS = (
    ". The copy from before the update is in {snapshot}: `fieldgate restore --snapshot --as-it-was` puts it in place; "
    "blocks since then come back from a node, and what was in no block stays in the newer file"
)


@dataclass
class Back:
    """What was done. kept: where the newer files are. blocks, signed: of the store, by the sign-state."""

    kept: Path
    store: bool = False
    state: bool = False
    blocks: int = 0
    signed: int | None = None


async def step_back(data_dir: Path, now_ms: int, *, as_it_was: bool = False) -> Back:
    """Puts files of this version in place of newer ones, all or nothing. The folder is locked by the caller.

    as_it_was: the store is the snapshot, and nothing newer. Raises Refused where nothing is newer, or it cannot be had;
    HeldError where the sign-state cannot be read, or is not of this store.
    """
    back = await asyncio.to_thread(_look, data_dir, now_ms)
    if not back.store and not back.state:
        raise Refused("no newer version has written here: there is nothing to go back from", where=str(data_dir))
    head = await signstate.handed_over(data_dir / SIGN_STATE)
    staging = await asyncio.to_thread(moves.stage, data_dir)
    made: list[moves.Move] = []
    if back.store:
        await _make_store(data_dir, staging / DATABASE, as_it_was=as_it_was)
        made += _moves(data_dir, staging, back.kept, DATABASE, DATABASE)
    if back.state and head is not None:
        vkey, signed, place = head
        counted = await signstate.counted(data_dir / SIGN_STATE)
        await asyncio.to_thread(signstate.create, staging / SIGN_STATE, vkey, place, signed, counted)
        made += _moves(data_dir, staging, back.kept, SIGN_STATE, f"retired-{SIGN_STATE}")
    await _check(staging if back.store else data_dir, head, back, as_it_was=as_it_was)
    if back.store and as_it_was:
        await forget_others(staging)
    await asyncio.to_thread(_put_in_place, data_dir, staging, made)
    return back


def _put_in_place(data_dir: Path, staging: Path, made: list[moves.Move]) -> None:
    for source, _ in made:
        if source.is_relative_to(staging):
            source.chmod(0o600)
            sync_file(source)
    moves.decide(data_dir, made)


def _look(data_dir: Path, now_ms: int) -> Back:
    """What is newer than this version."""
    back = Back(moves.free_name(data_dir, "newer", now_ms), _is_newer(data_dir / DATABASE, len(SCHEMA.steps)))
    back.state = _is_newer(data_dir / SIGN_STATE, len(signstate.SCHEMA.steps))
    return back


def _is_newer(path: Path, known: int) -> bool:
    return path.exists() and snapshot.version_of(path) > known


def _moves(data_dir: Path, staging: Path, kept: Path, name: str, retired: str) -> list[moves.Move]:
    away = [(data_dir / f"{name}{tail}", kept / f"{retired}{tail}") for tail in _TAILS]
    return [*away, (staging / name, data_dir / name)]


async def _make_store(data_dir: Path, target: Path, *, as_it_was: bool) -> None:
    path = data_dir / DATABASE
    kept = await asyncio.to_thread(snapshot.newest, path, len(SCHEMA.steps))
    await asyncio.to_thread(check_room, data_dir)
    if as_it_was:
        if kept is None:
            raise NotFoundError("there is no copy of the store from before the update", where=str(path), cure=_NEWER)
        await asyncio.to_thread(shutil.copyfile, kept, target)
        return
    try:
        if lost := await asyncio.to_thread(wal.damage, path.with_name(f"{DATABASE}-wal")):
            raise DamagedError(lost)
        await asyncio.to_thread(create_database, target, await log_key_of(path))
        await asyncio.to_thread(snapshot.carry, path, target)
    except (Refused, DamagedError) as error:
        cure = _NEWER + (_AS_IT_WAS.format(snapshot=kept) if kept is not None else "")
        raise Refused(f"it cannot be carried over: {error.what}", where=str(path), cure=cure) from error


async def _check(folder: Path, head: tuple[str, Head, Place] | None, back: Back, *, as_it_was: bool) -> None:
    """What was made is a sound store of this log, and goes on where the sign-state is."""
    store = await Store.open(folder, read_only=True)
    try:
        damage = store.blocks.damage.what if store.blocks.damage is not None else await scrub.unsealed(store)
        bad = await scrub.newest(store)
        if damage or bad is not None:
            what = damage or (f"block {bad[0]}: {bad[1]}" if bad else "")
            raise Refused(f"what was made of it is not sound: {what}", where=str(folder), cure=_NEWER)
        back.blocks = store.blocks.size
        if head is None:
            return
        vkey, signed, _ = head
        back.signed = signed.size
        if vkey != str(store.vkey):
            raise HeldError("the sign-state is of another log than the store", where=str(folder), cure=_NEWER)
        differs = signed.size < back.blocks or await store.blocks.lags(signed)
        if differs and not as_it_was:
            what = f"the sign-state has signed {signed.size} blocks, the newer store holds {back.blocks}"
            raise HeldError(what, where=str(folder), cure=_NEWER)
    finally:
        await store.close()
