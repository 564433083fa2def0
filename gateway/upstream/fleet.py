"""A log's part of an anchor that a node has for many logs: nothing of it is kept before it is checked here.

::

    GET /<id of the log>/fleet -> [ [ size, bstr(root), evidence of the kind `fleet` ], ... ]    (docs/format.md, 8)
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from gateway.core import anchor_kinds, cbor
from gateway.core.anchor import Anchored, Statement
from gateway.core.anchor_fleet import KIND, Fleet
from gateway.core.anchor_kinds import Check
from gateway.core.anchor_row import ANCHORED, FROM_NODE, AnchorRow
from gateway.core.limits import ANCHOR_EVIDENCE_BYTES, FLEET_CHAINS, FLEET_PART_BYTES, RECEIPT_ANCHORS
from gateway.core.text import plain
from gateway.errors import FormatError
from gateway.store import Store


def decode_parts(data: bytes) -> list[cbor.Value]:
    """The parts of an answer, each to be looked at by itself. FormatError."""
    parts = cbor.decode(data)
    if not isinstance(parts, list) or len(parts) > RECEIPT_ANCHORS:
        raise FormatError(f"its anchors are no list of at most {RECEIPT_ANCHORS}")
    return parts


def prefix(node: str) -> str:
    """How the names of its anchors begin."""
    return f"{FROM_NODE}{node}, "


def told(row: AnchorRow) -> dict[str, Any]:
    """For status, with the fields of an anchor of one's own (docs/json.md): nothing is anchored by a node's word."""
    return {
        "kind": row.kind,
        "chain": row.chain,
        "state": row.shown,
        "size": row.size,
        "since_ms": row.since_ms,
        "block": None,
        "confirmed": 0,
        "confirmations": 0,
        "why": "",
        "cure": "",
        "height": 0,
        "anchored": 0,
        "anchored_block": None,
        "anchored_s": None,
    }


async def take(
    store: Store, node: str, part: cbor.Value, now_ms: int, kinds: Mapping[str, Check] = anchor_kinds.KINDS
) -> AnchorRow | None:
    """Keeps a part that is of this log and proves what it says; None where one at least as large is there already.

    node: its name in the configuration. FormatError with the reason where any of it does not fit: nothing is kept.
    There are no pins here, so a node that makes up a chain is not found out: what is kept is shown as its claim.
    """
    size, root, evidence = _read(part)
    if not 0 < size <= store.blocks.size:
        raise FormatError(f"its anchor is of {size} blocks; this log has {store.blocks.size}")
    if await store.blocks.root(size) != root:
        raise FormatError(f"its anchor is of another log, or of another tree at size {size}")
    found = await asyncio.to_thread(_checked, Statement.of(store.vkey.name, size, root), evidence, kinds)
    name = f"{prefix(node)}{found.chain}"
    known = {one.name: one for one in await store.anchors.newest_of(prefix(node))}
    if name not in known and len(known) >= FLEET_CHAINS:
        raise FormatError(f"its anchor is on a further chain; one node's are kept of {FLEET_CHAINS}")
    if name in known and known[name].size >= size:
        return None
    row = AnchorRow(
        name=name,
        size=size,
        root=root,
        kind=KIND,
        chain=f"{found.kind} {found.chain}",
        since_ms=now_ms,
        state=ANCHORED,
        over=True,
        number=found.number,
        hash=found.hash,
        time_s=found.time_s,
        evidence=cbor.encode(evidence),
    )
    await store.anchors.save(row)
    return row


def _read(part: cbor.Value) -> tuple[int, bytes, cbor.Value]:
    match part:
        case [int(size), bytes(root), evidence] if not isinstance(size, bool) and len(root) == 32:
            return size, root, evidence
    raise FormatError("its anchor is no size, root and evidence")


def _checked(statement: Statement, evidence: cbor.Value, kinds: Mapping[str, Check]) -> Anchored:
    """Blocking: hashes and signatures."""
    encoded = len(cbor.encode(evidence))
    if encoded > ANCHOR_EVIDENCE_BYTES + FLEET_PART_BYTES:
        raise FormatError(f"its anchor's proof has {encoded} bytes, more than receipts carry")
    found = anchor_kinds.check_fleet(statement, evidence, (), kinds)
    if found is None:
        raise FormatError(f"its anchor is on a chain of the kind {plain(Fleet.read(evidence).kind)!r}, not known here")
    return found
