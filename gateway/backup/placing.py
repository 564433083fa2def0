"""An archive put into an empty data_dir: every block of it verified first, and in place in one stroke."""

import asyncio
from pathlib import Path
from typing import NamedTuple

from gateway import scrub
from gateway import store as stores
from gateway.backup import archive
from gateway.backup.archive import Handed, Manifest
from gateway.core import block
from gateway.errors import FormatError, Refused
from gateway.files import sync_file
from gateway.place import NOWHERE
from gateway.store import DATABASE, SCHEMA, SIGN_STATE, Store, moves, signstate
from gateway.store.signstate import Head


class Placed(NamedTuple):
    """What is in place now."""

    manifest: Manifest
    pruned: int  # blocks whose readings are not in the archive


def check_empty(data_dir: Path) -> None:
    """Refused where there is anything of a log: a write-ahead log alone would be taken for that of the new store."""
    for pattern in (f"{DATABASE}*", f"{SIGN_STATE}*", "epoch-*"):
        for path in sorted(data_dir.glob(pattern)):
            what = "there is a log here already, and nothing is overwritten"
            raise Refused(what, where=str(path), cure="Name a configuration with an empty data_dir")


async def place(path: Path, data_dir: Path, origin: str) -> Placed:
    """Puts the store of an archive, and the head that a move hands over, into the empty folder, which is locked.

    FormatError, Refused: it is not of this log, not whole, or does not verify; nothing is changed then.
    """
    manifest = await asyncio.to_thread(archive.read_manifest, path)
    if manifest.origin != origin:
        what = f"it is of the log {manifest.origin}, the configuration is of {origin}"
        raise Refused(what, where=str(path), cure="Name the configuration that belongs to it: --config")
    if manifest.schema > len(SCHEMA.steps):
        what = f"a newer version made it (schema {manifest.schema}, this one knows {len(SCHEMA.steps)})"
        raise Refused(what, where=str(path), cure="Install that version, or a later one")
    await asyncio.to_thread(check_empty, data_dir)
    staging = await asyncio.to_thread(moves.stage, data_dir)
    await asyncio.to_thread(archive.extract_store, path, staging / DATABASE)
    if manifest.schema < len(SCHEMA.steps):
        await stores.bring_up(staging)
    pruned = await _verified(path, staging, manifest)
    made = [DATABASE]
    if manifest.moved is None:
        await stores.forget_others(staging)
    else:
        await asyncio.to_thread(_make_state, staging / SIGN_STATE, manifest.vkey, manifest.moved)
        made.append(SIGN_STATE)
    await asyncio.to_thread(_put_in_place, data_dir, staging, made)
    return Placed(manifest, pruned)


async def _verified(path: Path, staging: Path, manifest: Manifest) -> int:
    report = scrub.Report()
    store = await Store.open(staging, read_only=True)
    try:
        async for _ in scrub.Walk(store, report).blocks():
            pass
        for what in await store.file_damage():
            report.fault(store.blocks.extent, f"SQLite: {what}")
        root = (await store.blocks.root(store.blocks.size)).hex()
        told = (str(store.vkey), store.vkey.name, store.blocks.size, root)
        last = [block.parse_entry(entry) for entry in await store.blocks.entries(max(store.blocks.size - 1, 0), 1)]
    finally:
        await store.close()
    if report.first is not None:
        height, what = report.first
        raise FormatError(f"it does not verify, first at block {height}: {what}", where=str(path), cure="Take another")
    handed, header = manifest.moved, last[0].header_bytes.hex() if last else None
    differs = handed is not None and (handed.size, handed.header) != (manifest.size, header)
    if differs or told != (manifest.vkey, manifest.origin, manifest.size, manifest.root):
        raise FormatError("the store in it is not what its manifest says", where=str(path), cure="Take another one")
    return report.pruned + report.gone


def _make_state(path: Path, vkey: str, handed: Handed) -> None:
    """It is in no place yet: without `recover.settle`, which asks the nodes, nothing is signed, wherever this is."""
    header = bytes.fromhex(handed.header) if handed.header is not None else None
    signstate.create(path, vkey, NOWHERE, Head(handed.size, header))


def _put_in_place(data_dir: Path, staging: Path, names: list[str]) -> None:
    for name in names:
        (staging / name).chmod(0o600)
        sync_file(staging / name)
    moves.decide(data_dir, [(staging / name, data_dir / name) for name in names])
