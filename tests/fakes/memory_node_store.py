"""A node's store in memory. A `Disk` outlives the process that wrote to it; `MemoryStore` is one process's hold on it.

A write is there whole when it is there at all. `step` is awaited before each write takes hold and after it, before its
caller knows: whoever ends a process there sees what a kill before or after the commit leaves.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from gateway.core import limits
from gateway.core.anchor_row import ANCHORED, AnchorRow
from gateway.errors import ConflictError, NotFoundError
from gateway.node.store import Body, Evidence, Form, Growth, Head, Kind, Noted, Shown


@dataclass
class DiskLog:
    """What is durable of one log."""

    head: Head
    entries: list[bytes] = field(default_factory=list)
    hashes: dict[tuple[int, int], bytes] = field(default_factory=dict)
    notes: dict[int, Noted] = field(default_factory=dict)
    bodies: dict[int, Body] = field(default_factory=dict)
    evidence: list[Evidence] = field(default_factory=list)

    def lacks(self, height: int) -> bool:
        """Whether no body is held that fills the want."""
        body = self.bodies.get(height)
        return body is None or not body.form.fills


class Disk(dict[str, DiskLog]):
    """What is durable, by the log's id; of anchors by their names and numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[tuple[str, int], AnchorRow] = {}
        self.leaves: dict[tuple[str, int], bytes] = {}


async def _at_once() -> None:
    pass


class MemoryStore:
    """gateway.node.store.NodeStore over a Disk."""

    def __init__(self, disk: Disk, step: Callable[[], Awaitable[None]] = _at_once) -> None:
        self._disk = disk
        self._step = step
        self.commits = 0

    async def probe(self) -> None:
        """There is nothing that could fail."""
        await self._step()
        self.commits += 1

    async def close(self) -> None:
        """Nothing is open."""

    def _log(self, log: str) -> DiskLog:
        try:
            return self._disk[log]
        except KeyError:
            raise NotFoundError("no such log is enrolled", where=log) from None

    async def enrol(self, log: str, vkey: str, stored_from: int) -> Head:
        await self._step()
        head = self._disk.setdefault(log, DiskLog(Head(vkey, stored_from))).head
        await self._step()
        if (head.vkey, head.stored_from) != (vkey, stored_from):
            raise ConflictError(f"the log is enrolled with the key {head.vkey}", size=head.size)
        return head

    async def head(self, log: str) -> Head:
        await self._step()
        return self._log(log).head

    async def grow(self, log: str, growth: Growth) -> None:
        await self._step()
        kept, old = self._log(log), growth.old
        now = kept.head
        if (now.size, now.witnessed) != (old.size, old.witnessed) or now.frozen:
            raise ConflictError("the log has changed since this was decided", size=now.size)
        if growth.note is not None:
            kept.notes.setdefault(growth.note_size, Noted(growth.note_size, growth.note))
        kept.entries += growth.entries
        kept.hashes |= {(node.level, node.index): node.hash for node in growth.hashes}
        witnessed = kept.notes.get(growth.witnessed.size)
        kept.head = replace(
            now,
            frontier=growth.frontier,
            last=kept.entries[-1] if kept.entries else b"",
            witnessed=growth.witnessed,
            note=witnessed.note if witnessed else "",
        )
        await self._step()

    async def entries(self, log: str, start: int, count: int) -> list[bytes]:
        await self._step()
        return self._log(log).entries[start : start + count]

    async def hashes(self, log: str, level: int, start: int, count: int) -> list[bytes]:
        await self._step()
        hashes, found = self._log(log).hashes, []
        while len(found) < count and (level, start + len(found)) in hashes:
            found.append(hashes[level, start + len(found)])
        return found

    async def keep_line(self, log: str, size: int, kind: Kind, line: str) -> None:
        await self._step()
        notes = self._log(log).notes
        if size not in notes:
            raise NotFoundError(f"there is no note of size {size}", where=log)
        noted = notes[size]
        if kind == "seen":
            notes[size] = replace(noted, seen=noted.seen or line, seen_latest=line)
        else:
            notes[size] = replace(noted, stored=noted.stored or line, stored_latest=line)
        await self._step()

    async def note_upto(self, log: str, size: int, kind: Kind | None = None) -> Noted | None:
        await self._step()
        notes = self._log(log).notes
        return notes.get(max((at for at in notes if at <= size and _carries(notes[at], kind)), default=-1))

    async def note_from(self, log: str, size: int, kind: Kind | None = None) -> Noted | None:
        await self._step()
        notes = self._log(log).notes
        return notes.get(min((at for at in notes if at >= size and _carries(notes[at], kind)), default=-1))

    async def take_body(self, log: str, height: int, body: Body) -> bool:
        await self._step()
        kept = self._log(log)
        if height >= len(kept.entries):
            raise NotFoundError(f"there is no entry of height {height}", where=log)
        held = kept.bodies.get(height)
        taken = held is None or held.form < body.form
        if taken:
            kept.bodies[height] = body
        await self._step()
        return taken

    async def body(self, log: str, height: int) -> Body | None:
        await self._step()
        held = self._log(log).bodies.get(height)
        return None if held is None else replace(held, spans=())

    async def drop_body(self, log: str, height: int) -> None:
        await self._step()
        self._log(log).bodies.pop(height, None)
        await self._step()

    async def wants(self, log: str, limit: int) -> list[tuple[int, int]]:
        await self._step()
        kept = self._log(log)
        ranges: list[tuple[int, int]] = []
        for height in range(kept.head.stored_from, len(kept.entries)):
            if not kept.lacks(height):
                continue
            if ranges and ranges[-1][1] == height:
                ranges[-1] = ranges[-1][0], height + 1
            else:
                ranges.append((height, height + 1))
        return ranges[:limit]

    async def gone(self, log: str, limit: int) -> list[int]:
        await self._step()
        bodies = self._log(log).bodies
        return sorted(height for height, body in bodies.items() if body.form is Form.GONE)[:limit]

    async def find(self, log: str, source: str, at_ms: int, limit: int) -> list[int]:
        await self._step()
        across, before = [], []
        for height, body in self._log(log).bodies.items():
            for span in body.spans:
                if span.source == source and span.last_ms <= at_ms:
                    before.append((span.last_ms, height))
                elif span.source == source and span.first_ms <= at_ms:
                    across.append(height)
        return sorted(across, reverse=True)[: limit - 1] + [height for _, height in sorted(before)[-1:]]

    async def accuse(self, log: str, evidence: Evidence, *, freeze: str) -> None:
        await self._step()
        kept = self._log(log)
        if freeze or len(kept.evidence) < limits.EVIDENCE_PER_LOG:
            kept.evidence.append(evidence)
        if freeze and not kept.head.frozen:
            kept.head = replace(kept.head, frozen=freeze)
        await self._step()

    async def evidence(self, log: str) -> Sequence[Evidence]:
        await self._step()
        return list(self._log(log).evidence)

    async def witnessed(self) -> list[Shown]:
        await self._step()
        heads = {bytes.fromhex(name): one.head for name, one in self._disk.items()}
        shown = {name: head.witnessed for name, head in heads.items() if head.witnessed.size and not head.frozen}
        return [Shown(name, one.size, one.root) for name, one in shown.items()]

    async def keep_leaves(self, name: str, number: int, leaves: bytes) -> None:
        await self._step()
        made = [one for one in self._rows(name) if one.data]
        kept = {number, *(one.size for one in (*made[:1], *self._anchored(name)[:1]))}
        for key in [key for key in self._disk.leaves if key[0] == name and key[1] not in kept]:
            del self._disk.leaves[key]
        self._disk.leaves[name, number] = leaves
        await self._step()

    async def leaves(self, name: str, number: int) -> bytes:
        await self._step()
        return self._disk.leaves.get((name, number), b"")

    async def keep_anchor(self, row: AnchorRow) -> None:
        await self._step()
        self._disk.rows[row.name, row.size] = row
        kept = [*self._rows(row.name)[: limits.FLEETS_KEPT], *self._anchored(row.name)[:1]]
        for one in self._rows(row.name):
            if one not in kept:
                del self._disk.rows[one.name, one.size]
        await self._step()

    async def anchors(self, name: str) -> list[AnchorRow]:
        await self._step()
        return self._rows(name)

    def _rows(self, name: str) -> list[AnchorRow]:
        return sorted((row for row in self._disk.rows.values() if row.name == name), key=lambda row: -row.size)

    def _anchored(self, name: str) -> list[AnchorRow]:
        return [row for row in self._rows(name) if row.state == ANCHORED]


def _carries(noted: Noted, kind: Kind | None) -> bool:
    return kind is None or bool(noted.seen if kind == "seen" else noted.stored)
