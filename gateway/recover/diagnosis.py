"""What is wrong with a store, its sign-state and its place. Everything is looked at, and nothing changed."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from gateway import place, scrub
from gateway.core import block as cose
from gateway.core.note import VerifierKey
from gateway.errors import DamagedError, FieldgateError, HeldError, KeyFileError, NotFoundError
from gateway.recover.cures import DROP, FROM_NODE, NEW_EPOCH, ROTATE
from gateway.store import CURE_MOVED_AWAY, DATABASE, MOVED, MOVED_AWAY, SIGN_STATE, Store, wal
from gateway.store.signstate import Counter, Head, SignState


@dataclass
class Diagnosis:
    """What is wrong, in plain words; each with what to do. `sound`: nothing is."""

    findings: list[tuple[str, str]] = field(default_factory=list)
    size: int = 0  # blocks in the store
    signed: int | None = None  # blocks that the sign-state knows of

    @property
    def sound(self) -> bool:
        """Nothing stands against signing, and everything in the store verifies."""
        return not self.findings

    def add(self, what: str, cure: str) -> None:
        """One more thing."""
        self.findings.append((what, cure))


async def diagnose(data_dir: Path, vkey: VerifierKey, here: place.Place, counter: Counter | None = None) -> Diagnosis:
    """Looks at everything. The folder is locked by the caller, and nothing is changed.

    counter: what the sign-state is guarded by.
    """
    found = Diagnosis()
    head = await _diagnose_state(data_dir, vkey, here, counter, found)
    if (data_dir / MOVED).exists():
        found.add(MOVED_AWAY, CURE_MOVED_AWAY)
    unread = wal.damage(data_dir / f"{DATABASE}-wal")
    if unread:
        found.add(unread, FROM_NODE + " what was sealed; the rest is lost")
    try:
        store = await Store.open(data_dir, read_only=True)
    except FieldgateError as error:
        cure = FROM_NODE if isinstance(error, DamagedError | NotFoundError) else error.cure
        found.add(f"the store cannot be opened: {error.what}", cure)
        return found
    try:
        await _diagnose_store(store, vkey, head, found)
    finally:
        await store.close()
    return found


async def _diagnose_state(
    data_dir: Path, vkey: VerifierKey, here: place.Place, counter: Counter | None, found: Diagnosis
) -> Head | None:
    try:
        state = await SignState.inspect(data_dir / SIGN_STATE, str(vkey))
    except HeldError as error:
        cure = "If the newest sign-state.db is at hand, put it back. It is never taken from a copy: else "
        found.add(error.what, cure + NEW_EPOCH)
        return None
    try:
        if moved := state.place.changed(here):
            found.add(
                moved, "If no other copy of this log is in use, `fieldgate recover --only-copy`; else " + NEW_EPOCH
            )
        if counter is not None:
            await _diagnose_counter(state, counter, found)
        found.signed = state.head.size
        return state.head
    finally:
        await state.close()


async def _diagnose_counter(state: SignState, counter: Counter, found: Diagnosis) -> None:
    try:
        state.compare(await asyncio.to_thread(counter.read))
    except KeyFileError as error:
        found.add(error.what, error.cure)
    except HeldError as error:
        found.add(error.what, "If the newest sign-state.db is at hand, put it back; else " + NEW_EPOCH)


async def _diagnose_store(store: Store, vkey: VerifierKey, head: Head | None, found: Diagnosis) -> None:
    if store.vkey != vkey:
        found.add(
            f"the store is of the log {store.vkey}, the key is {vkey}", "Restore the configuration of this folder"
        )
        return
    found.size = store.blocks.extent
    report = scrub.Report()
    async for _ in scrub.Walk(store, report).blocks():
        pass
    for what in await store.file_damage():
        report.fault(store.blocks.extent, f"SQLite: {what}")
    if report.first is not None:
        height, what = report.first
        place_of = f"first at block {height}" if height < found.size else "behind its blocks"
        found.add(f"the store is damaged, {place_of}: {what}", FROM_NODE if height < found.size else DROP)
    if head is not None and not report.faulty:
        await _compare(store, head, found)


async def _compare(store: Store, head: Head, found: Diagnosis) -> None:
    size = store.blocks.size
    if await store.blocks.lags(head):
        found.add(
            f"the sign-state has signed {head.size} blocks, the store holds {size}: it is an older copy", FROM_NODE
        )
    elif head.size > size:
        pass  # a crash between two steps: the next start finishes it
    elif head.size < size:
        found.add(
            f"the sign-state has signed {head.size} blocks, the store holds {size}: the sign-state is an older copy",
            "Put the newest sign-state.db back if it is at hand; else " + NEW_EPOCH,
        )
    elif size and cose.parse_entry((await store.blocks.entries(size - 1, 1))[0]).header_bytes != head.header:
        found.add(
            f"the sign-state and the store disagree about block {size - 1}: one is a copy of another life", NEW_EPOCH
        )
    elif await store.blocks.closed():
        found.add("the log is closed, and the next one has not taken its place yet", ROTATE)
