"""A store made anew, block by block, out of what is sound here and at a node."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.core import anchor_fleet, anchor_kinds, cbor, limits, note, senml
from gateway.core import block as cose
from gateway.core.anchor import Statement
from gateway.core.anchor_row import AnchorRow
from gateway.core.body import Item
from gateway.core.chain import BlockCheck, Chain
from gateway.core.note import Checkpoint, Note, VerifierKey
from gateway.errors import FormatError, HeldError, Refused
from gateway.files import sync_file
from gateway.keys import Signer, sign_checkpoint, sign_entry
from gateway.recover.cures import FROM_NODE, NEW_EPOCH
from gateway.recover.node_reader import NodeReader
from gateway.settings import NodeLink, WitnessLink
from gateway.store import DATABASE, moves
from gateway.store.blocks import BlockRow
from gateway.store.rebuild import Kept, Lost, Rebuilt, Salvage
from gateway.store.redeliveries import Redeliveries
from gateway.store.signstate import Head

_LOOK_AHEAD = 64  # blocks looked at for where a damaged one ends
OWN = "gateway"


@dataclass
class Outcome:
    """What a rebuild did."""

    size: int = 0
    entries: int = 0  # taken from the node
    bodies: int = 0
    missing: list[int] = field(default_factory=list)  # blocks whose readings nobody here or there has whole
    carried: int = 0  # readings that are in no block yet
    lost: Lost = field(default_factory=Lost)


@dataclass(frozen=True)
class Job:
    """What a rebuild is given. signer: only where the sign-state is this log's, which makes its signatures repeats."""

    data_dir: Path
    vkey: VerifierKey
    node: NodeReader | None
    head: Head | None
    signer: Signer | None
    cosigners: Mapping[str, NodeLink | WitnessLink]
    brokers: Sequence[str]
    max_count: int
    now_ms: int


async def rebuild(job: Job) -> Outcome:
    """Makes the store anew out of what is sound here and, where one is given, at the node; puts it into place.

    Raises HeldError where the log cannot be made whole up to its end, and changes nothing then.
    """
    staging = await asyncio.to_thread(moves.stage, job.data_dir)
    await asyncio.to_thread(check_room, job.data_dir)
    old = await Salvage.open(job.data_dir / DATABASE)
    new = None
    try:
        if job.node is not None:
            await job.node.look()
        new = await Rebuilt.create(staging / DATABASE, job.vkey)
        outcome = await _Filling(job, old, new).run()
    finally:
        await old.close()
        if new is not None:
            await new.close()
    await asyncio.to_thread(_swap, job.data_dir, staging, job.now_ms)
    return outcome


def check_room(data_dir: Path) -> None:
    """Refused where there is no room for a second copy of the store."""
    path = data_dir / DATABASE
    need = path.stat().st_size if path.exists() else 0
    free = shutil.disk_usage(data_dir).free
    if free < need + need // 4:
        what = f"{need * 5 // 4 >> 20} MiB are needed for a second copy of the store, {free >> 20} MiB are free"
        raise Refused(what, where=str(data_dir), cure="Free some space, or move data_dir to a larger disk")


def _swap(data_dir: Path, staging: Path, now_ms: int) -> None:
    sync_file(staging / DATABASE)
    kept = moves.free_name(data_dir, "damaged", now_ms)
    away = [(data_dir / f"{DATABASE}{tail}", kept / f"{DATABASE}{tail}") for tail in ("", "-wal", "-shm")]
    moves.decide(data_dir, [*away, (staging / DATABASE, data_dir / DATABASE)])


class _Filling:
    """One rebuild under way."""

    def __init__(self, job: Job, old: Salvage, new: Rebuilt) -> None:
        self._job, self._old, self._new = job, old, new
        self._chain = Chain(job.vkey)
        self._outcome = Outcome()
        self._sealed_row = 0  # of the old file: the last row that is in a block

    async def run(self) -> Outcome:
        job, node = self._job, self._job.node
        extent = await self._old.extent()
        goal = max(extent, job.head.size if job.head else 0, node.size if node else 0)
        for height in range(goal):
            if not await self._entry(height):
                break
        self._check_end(extent)
        self._outcome.size = self._chain.size
        for name in job.cosigners:  # a signature tells what a node held once; its next word, what it holds
            await self._new.cosigned.fell(name, 0)
        await self._new.tell_gone(await self._old.gone())
        older = job.head is not None and await self._old.lags(job.head)  # it knows what was delivered long ago
        keys = Redeliveries() if older else await self._old.keys(job.brokers)
        self._outcome.carried = await self._new.carry(self._unsealed(), keys, self._chain.size, job.max_count)
        return self._outcome

    async def _entry(self, height: int) -> bool:
        """The block of that height, from the old file or the node; False where nobody has its entry."""
        row = await self._old.block(height)
        entry = self._follows(row.entry) if row is not None else None
        if entry is None and self._job.node is not None:
            entry = self._follows(await self._job.node.entry(height))
            self._outcome.entries += entry is not None
        if entry is None:
            entry = self._repeat(height)
        if entry is None:
            return False
        self._chain, (parsed,) = self._chain.extend([entry])
        self._check_history(parsed)
        kept = await self._note(height + 1)
        await self._body(parsed.header, entry, row, kept)
        if kept is not None:
            await self._cosign(height + 1, kept)
        await self._anchors(height + 1)
        return True

    def _check_history(self, newest: cose.Entry) -> None:
        """Neither sign-state nor node knows of another history: nothing is signed for a tree that one denies."""
        head, node, size = self._job.head, self._job.node, self._chain.size
        if head is not None and head.size == size and head.header != newest.header_bytes:
            what = f"the sign-state has signed another block {size - 1}: there are two histories"
            raise HeldError(what, cure=NEW_EPOCH)
        if node is not None and node.size == size and node.root != self._chain.root():
            what = f"node {node.name} shows another tree of {size} blocks: there are two histories"
            raise HeldError(what, cure="Find who else signs with this key. " + NEW_EPOCH)

    def _follows(self, entry: bytes | None) -> bytes | None:
        if entry is None:
            return None
        try:
            self._chain.extend([entry])
        except FormatError:
            return None
        return entry

    def _repeat(self, height: int) -> bytes | None:
        """The last entry of all, made again of the header bytes that the sign-state keeps: the same bytes."""
        head, signer = self._job.head, self._job.signer
        if head is None or head.header is None or signer is None or head.size != height + 1:
            return None
        return self._follows(sign_entry(signer, head.header))

    async def _note(self, size: int) -> str | None:
        """The checkpoint of that size, where one is kept or has to be."""
        kept = await self._old.note(size)
        if kept is not None:
            try:
                self._chain.check_note(note.parse_note(kept))
                return kept
            except FormatError:
                pass
        job = self._job
        if job.node is not None and job.node.note is not None and job.node.size == size:
            own = [line for line in job.node.note.lines if line.is_by(job.vkey)]
            return Note(job.node.note.text, tuple(own)).encode()
        wanted = job.head is not None and (size == job.head.size or size % limits.SYNC_ENTRIES == 0)
        if not wanted or job.signer is None or job.head is None or size > job.head.size:
            return None
        return sign_checkpoint(job.signer, Checkpoint(job.vkey.name, size, self._chain.root())).encode()

    async def _body(self, header: cose.Header, raw: bytes, found: BlockRow | None, kept_note: str | None) -> None:
        rows = await self._rows(header.height, found)
        secret = found.secret if found is not None else None
        if found is not None:
            self._sealed_row = max(self._sealed_row, found.last_row)
            if found.secret is None and found.count and not rows:  # pruned, not lost
                await self._new.add(raw, None, None, kept_note)
                return
        secret = secret or next((one.secret for one in rows if one.secret), None)
        items = [item for one in rows for item in one.items or ()]
        if all(one.items is not None for one in rows) and _fits(header, secret, items):
            await self._new.add(raw, secret, items, kept_note)
            return
        pulled = await self._job.node.body(header) if self._job.node is not None else None
        if pulled is not None:
            self._outcome.bodies += 1
            await self._new.add(raw, pulled.secret, pulled.items, kept_note)
            return
        unsealed = await self._last_rows(header, secret)
        if unsealed is not None:
            await self._new.add(raw, *unsealed, kept_note)
            return
        self._outcome.missing.append(header.height)
        await self._new.add_damaged(raw, secret, rows, kept_note)

    async def _rows(self, height: int, found: BlockRow | None) -> list[Kept]:
        """The old file's rows of a sealed block; where its own row cannot be read, those up to the next."""
        if found is not None:
            return await self._old.rows(found.first_row, min(found.last_row, found.first_row + limits.BLOCK_LEAVES))
        for ahead in range(height + 1, height + _LOOK_AHEAD):
            following = await self._old.block(ahead)
            if following is not None:
                rows = await self._old.rows(self._sealed_row + 1, following.first_row - 1)
                return [row for row in rows if row.height == height]
        return []

    async def _last_rows(self, header: cose.Header, secret: bytes | None) -> tuple[bytes, list[Item]] | None:
        """The readings of a block that was signed, or was about to be, but stands in the journal alone."""
        items: list[Item] = []
        async for row in self._old.rows_after(self._sealed_row):
            if row.height == header.height and row.items is not None:
                secret = row.secret or secret
                items += row.items
        return (secret, items) if secret is not None and _fits(header, secret, items) else None

    def _check_end(self, extent: int) -> None:
        """The log reaches as far as it ever did, as far as anybody here knows."""
        size, head, node = self._chain.size, self._job.head, self._job.node
        if size < extent:
            what = f"entry {size} is damaged, and " + (
                "the node does not have it" if node else "only a node can give it back"
            )
            raise HeldError(
                what, cure="Try another node; else " + NEW_EPOCH if node else FROM_NODE + "; else " + NEW_EPOCH
            )
        if head is not None and size < head.size:
            what = f"the sign-state has signed {head.size} blocks; here and at the node there are {size}"
            raise HeldError(what, cure="Try another node; else " + NEW_EPOCH)

    async def _cosign(self, size: int, kept: str) -> None:
        """Co-signatures over the checkpoint of that size: of the old file, where they verify, and those of the node."""
        for line in await self._old.lines(size):
            link = self._job.cosigners.get(line.node)
            if link is not None and _verifies(kept, line.line, link):
                await self._new.cosigned.save(line.node, line.kind, size, kept, line.line)
        node = self._job.node
        if node is not None and node.size == size:
            for kind, text in node.lines():
                await self._new.cosigned.save(node.name, kind, size, kept, text)

    async def _anchors(self, size: int) -> None:
        """What was put on chains at that size, where it is of this log; proofs where they still hold."""
        for row in await self._old.anchors(size):
            if row.root == self._chain.root() and (row.evidence is None or self._proves(row, row.evidence)):
                await self._new.anchors.save(row)

    def _proves(self, row: AnchorRow, evidence: bytes) -> bool:
        check = anchor_kinds.check_fleet if row.kind == anchor_fleet.KIND else anchor_kinds.KINDS.get(row.kind)
        try:
            statement = Statement.of(self._job.vkey.name, row.size, row.root)
            return check is not None and check(statement, cbor.decode(evidence), ()) is not None
        except FormatError:
            return False

    async def _unsealed(self) -> AsyncIterator[Item]:
        """Readings of the old journal that are in no block, in order. Those of a block that was pulled are left out."""
        height, sealed = -1, list[Item]()  # of the block that the rows were meant for: what is behind the last row
        async for row in self._old.rows_after(self._sealed_row):
            if row.items is None:
                self._outcome.lost.add(row)
                continue
            if row.height != height:
                height, sealed = row.height, await self._sealed(row.height)
            at = _place(row.items, sealed)
            if at is None:
                for item in row.items:
                    yield item
            else:
                sealed = sealed[at + len(row.items) :]
        if self._outcome.lost.rows:
            yield lost_reading(self._outcome.lost, self._job.now_ms), None

    async def _sealed(self, height: int) -> list[Item]:
        """The readings of the rebuilt block of that height; none where there is no such block, or only its header."""
        row = await self._new.blocks.block(height)
        if row is None or row.secret is None:
            return []
        return [item async for item in self._new.blocks.items(height)]


def _place(part: list[Item], whole: list[Item]) -> int | None:
    """Where the part stands in the whole, in one piece; None: it does not."""
    ends = len(whole) - len(part)
    return next((at for at in range(ends + 1) if whole[at : at + len(part)] == part), None) if part else 0


def _fits(header: cose.Header, secret: bytes | None, items: list[Item]) -> bool:
    """Whether these are the readings of the block."""
    check = BlockCheck(header, secret or bytes(cose.SECRET_BYTES))
    try:
        for pack, payload in items:
            check.take(pack, payload)
        check.finish()
    except FormatError:
        return False
    return secret is not None or not items


def _verifies(kept: str, text: str, link: NodeLink | WitnessLink) -> bool:
    """Whether the line is by one of its keys, over this checkpoint."""
    try:
        line = note.parse_line(text)
        for key in map(VerifierKey.parse, link.keys):
            if line.is_by(key):
                note.verify_cosignature(note.parse_note(kept).text, line, key)
                return True
    except FormatError:
        pass
    return False


def lost_reading(lost: Lost, now_ms: int) -> bytes:
    """The reading that says what was lost, `count` readings at least (docs/format.md, section 2)."""
    records: list[senml.Record] = [("event", None, "lost"), ("count", None, lost.readings)]
    if lost.first_ms:
        records += [("from", None, lost.first_ms / 1000), ("to", None, lost.last_ms / 1000)]
    return senml.build(OWN, [*records, ("reason", None, "damaged on disk before they were signed")], bt_ms=now_ms)
