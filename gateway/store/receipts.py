"""Makes a receipt out of the store: one reading with everything that proves it (docs/format.md, section 10)."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

from gateway.core import block, body, cbor, limits, merkle, note
from gateway.core.policy import Policy
from gateway.core.receipt import Anchor, Receipt
from gateway.errors import FormatError, NotFoundError, StoreError
from gateway.store import Store
from gateway.store.blocks import BlockRow, Found
from gateway.store.cosigned import CosignedSize


async def build_receipt(store: Store, source: str, at_ms: int, policy: Policy | None = None) -> str:
    """The receipt of the source's last sealed reading observed at or before `at_ms` (Unix ms), as a tlog-proof file.

    It has the smallest co-signed size that meets the policy (without one: any co-signature), so the earliest attested
    time, and of each chain the earliest anchor. A payload apart that would make it larger than receipts may be is left
    out, then anchors. Raises NotFoundError where there is no such reading, or nobody has co-signed it yet.
    """
    found = await store.blocks.find(source, at_ms)
    if found is None:
        what = f"no sealed reading of {source} at or before that time"
        raise NotFoundError(what, cure="Ask for a later time, or wait until the open block is sealed")
    return await _receipt_of(store, found, policy)


async def first_receipt(store: Store, policy: Policy | None = None) -> str:
    """The same of the log's very first reading, which tells whether it goes on for another. NotFoundError as above."""
    if not store.blocks.size:
        raise NotFoundError("no block is sealed yet", cure="Ask again when the first one is")
    async for pack, payload in store.blocks.items(0):
        return await _receipt_of(store, Found(0, 0, pack, payload), policy)
    raise NotFoundError("the first block is empty")


async def _receipt_of(store: Store, found: Found, policy: Policy | None) -> str:
    row = await store.blocks.block(found.height)
    if row is None or row.secret is None:
        raise NotFoundError(f"the readings of block {found.height} are not here any more", cure="Ask a node for them")
    cosigned, chosen = await _cosigned(store, found.height, policy)
    made = Receipt(
        entry=row.entry,
        leaf=block.leaf(row.secret, found.index, found.pack),
        index=found.index,
        path=tuple(await _block_path(store, row, row.secret, found.index)),
        log_index=found.height,
        log_path=tuple(await store.blocks.path(merkle.inclusion_ranges(found.height, cosigned.size))),
        note=chosen,
        anchors=tuple(await _anchors(store, found.height, merkle.leaf_hash(row.entry))),
    )
    return _fitting(made, found, row.secret)


async def _anchors(store: Store, height: int, entry_hash: bytes) -> list[Anchor]:
    """Of each chain the earliest anchor that covers the entry; what the stored tree does not lead to is left out."""
    found: list[Anchor] = []
    for row in await store.anchors.covering(height):
        path = tuple(await store.blocks.path(merkle.inclusion_ranges(height, row.size)))
        with contextlib.suppress(FormatError):
            merkle.verify_inclusion(entry_hash, height, row.size, path, row.root)
            found.append(Anchor(row.kind, row.size, row.root, path, cbor.decode(row.evidence or b"")))
    return found


def _fitting(made: Receipt, found: Found, secret: bytes) -> str:
    """The file, with as much as RECEIPT_BYTES allow: the payload is left out first, then anchors, the last first."""
    if found.payload is not None:
        with contextlib.suppress(FormatError):
            return replace(made, payload=found.payload, raw_salt=block.raw_salt(secret, found.index)).encode()
    for anchors in range(len(made.anchors), 0, -1):
        with contextlib.suppress(FormatError):
            return replace(made, anchors=made.anchors[:anchors]).encode()
    return replace(made, anchors=()).encode()


async def _block_path(store: Store, row: BlockRow, secret: bytes, index: int) -> list[bytes]:
    """The leaf's path within its block, from the readings as stored, which must lead to the signed root."""
    hashes: list[bytes] = []
    async for data in store.blocks.row_data(row):
        hashes += await asyncio.to_thread(_hashes, secret, data, len(hashes))
    signed = block.parse_entry(row.entry).header.root
    if index < len(hashes):
        path = await asyncio.to_thread(merkle.inclusion_path, hashes, index)
        if merkle.root_from_inclusion(hashes[index], index, len(hashes), path) == signed:
            return path
    what = f"the stored readings of block {row.height} do not lead to its signed root"
    raise StoreError(what, cure="`fieldgate verify --store` tells what is sound")


def _hashes(secret: bytes, data: bytes, start: int) -> list[bytes]:
    return body.leaf_hashes(secret, [pack for pack, _ in body.read_items(data)], start)


async def _cosigned(store: Store, height: int, policy: Policy | None) -> tuple[CosignedSize, note.Note]:
    """The smallest co-signed size above `height` that meets the policy, and its note with the lines to show."""
    after, any_at_all = 0, False
    while sizes := await store.cosigned.above(height, after):
        for cosigned in sizes:
            chosen = _choose(cosigned, policy)
            if chosen is not None:
                return cosigned, chosen
        any_at_all, after = True, sizes[-1].size
    if any_at_all and policy is not None:
        raise NotFoundError(
            f"block {height} is co-signed, but not yet as the policy asks: {policy.asks_for()}",
            cure="Wait for the other nodes (`fieldgate status` shows them), or ask for less",
        )
    raise NotFoundError(f"no node has co-signed block {height} yet", cure="`fieldgate status` shows what the nodes do")


def _choose(cosigned: CosignedSize, policy: Policy | None) -> note.Note | None:
    """The gateway's note with at most RECEIPT_COSIGNATURES lines in all, or None where they do not meet the policy."""
    own = note.parse_note(cosigned.note)
    lines = [note.parse_line(line.line) for line in cosigned.lines]
    room = limits.RECEIPT_COSIGNATURES - len(own.lines)
    if policy is None:
        return own.with_lines(lines[:room]) if lines else None
    asked = [line for line in lines if _signer(line, policy) is not None]
    kept = [*asked, *(line for line in lines if line not in asked)][:room]
    return own.with_lines(kept) if policy.satisfied(_signers(kept, policy)) else None


def _signers(lines: Sequence[note.SignatureLine], policy: Policy) -> set[note.VerifierKey]:
    return {key for line in lines if (key := _signer(line, policy)) is not None}


def _signer(line: note.SignatureLine, policy: Policy) -> note.VerifierKey | None:
    """The policy's key that a stored line is by; it was verified under that key when it was stored."""
    return next((witness.key for witness in policy.witnesses if line.is_by(witness.key)), None)
