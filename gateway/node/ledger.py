"""One log in operation: asks log.py, writes to the store, signs, answers. Its steps have one order.

1 decide, on what the store holds; 2 write, durable when it returns; 3 sign; 4 keep the line; 5 answer. A crash between
any two of them leaves a log that the same request brings to the same end: no second root is ever signed for a size,
because step 2 pins the root and refuses another.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway.core import block, limits
from gateway.core.note import Note, VerifierKey, format_line, parse_checkpoint, parse_note
from gateway.errors import FormatError
from gateway.keys import Signer, cosign
from gateway.node import bodies, tree
from gateway.node import log as judge
from gateway.node.log import CheckpointRequest, Refusal, SyncRequest
from gateway.node.store import Growth, Head, Kind, NodeStore, Noted

log = logging.getLogger(__name__)

CBOR = "application/cbor"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    status: int
    body: bytes = b""
    content_type: str = TEXT


@dataclass(frozen=True, slots=True)
class Means:
    """What all logs of a node share. now: Unix seconds. room: is there disk for bodies. places: bodies looked into.

    fleets: the numbers of anchors that a log stands in (fleet.py).
    """

    seen: Signer
    stored: Signer
    now: Callable[[], float]
    room: Callable[[], Awaitable[bool]]
    places: asyncio.Semaphore
    fleets: Callable[[str], Sequence[int]] = lambda _: ()


def log_id(origin: str) -> str:
    """A log's id in paths: hex SHA-256(origin)."""
    return hashlib.sha256(origin.encode()).hexdigest()


class Ledger:
    """One log. One event loop owns it; `_turn` lets one change at a time be decided, written and signed."""

    def __init__(
        self, vkey: VerifierKey, stored_from: int, store: NodeStore, means: Means, *, frozen_at: int | None = None
    ) -> None:
        """frozen_at: entries and bodies of this height and above are refused; those below stay as good as ever."""
        self.vkey = vkey
        self.id = log_id(vkey.name)
        self._stored_from = stored_from
        self.frozen_at = frozen_at
        self._store = store
        self._means = means
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Enrols the log; raises an alarm where bodies that were signed as stored are lacking. ConflictError."""
        head = await self._store.enrol(self.id, str(self.vkey), self._stored_from)
        if head.frozen:
            log.critical(
                "ALARM: %s is frozen: %s; ask its operator, the evidence is in the store", self.vkey.name, head.frozen
            )
        if self.frozen_at is not None and head.size > self.frozen_at:
            what = "%s: %d blocks from frozen_at = %d on were taken before it was set: who verifies must be told"
            log.warning(what, self.vkey.name, head.size - self.frozen_at, self.frozen_at)
        signed = await self._store.note_upto(self.id, head.size, "stored")
        reach = await self._reach(head)
        if signed is not None and signed.size > reach:
            log.critical("ALARM: %s: the stored size fell from %d to %d", self.vkey.name, signed.size, reach)

    async def head(self) -> Head:
        """What the store holds of this log."""
        return await self._store.head(self.id)

    # Sync (section 8)

    async def sync(self, data: bytes) -> Answer:
        """A sync request's body to its answer."""
        request = await asyncio.to_thread(judge.read_sync, data, self.vkey)
        if isinstance(request, Refusal):
            return await self._refuse(request)
        async with self._turn:
            head = await self.head()
            step = judge.bounded(await self._judge(head, request), request.size, self.frozen_at)
            if isinstance(step, Refusal):
                return await self._refuse(step)
            seen = await self._take(step)
            return await self._taken(request.size, seen)

    async def _judge(self, head: Head, request: SyncRequest) -> Growth | Refusal:
        now = int(self._means.now())
        refusal = judge.judge_place(head, request, now)
        if refusal:
            return refusal
        if request.old < head.size:
            held = await self._store.entries(self.id, request.old, len(request.entries))
            root, last = await self._own_root(head, request.size)
            return await asyncio.to_thread(judge.judge_resent, head, request, self.vkey, held, last, root, now)
        return await asyncio.to_thread(judge.judge_growth, head, request, self.vkey, now)

    async def _own_root(self, head: Head, size: int) -> tuple[bytes | None, bytes]:
        """Our root at a size and the entry before it; None where our entries do not reach it."""
        if not 0 < size <= head.size:
            return None, b""
        (last,) = await self._store.entries(self.id, size - 1, 1)
        return await tree.root(self._store, self.id, size), last

    async def _take(self, step: Growth) -> str:
        """Steps 2 to 4. The seen line, or nothing where the size is below the witnessed one."""
        if step.entries or step.witnessed != step.old.witnessed:
            await self._store.grow(self.id, step)
        if step.note is None or step.note_size != step.witnessed.size:
            return ""
        return await self._cosign("seen", self._means.seen, step.note_size, parse_note(step.note))

    async def _cosign(self, kind: Kind, signer: Signer, size: int, note: Note) -> str:
        line = format_line(cosign(signer, note.text, int(self._means.now())))
        kept = await self._store.note_from(self.id, size)
        if kept is not None and kept.size == size and parse_note(kept.note).text == note.text:
            await self._store.keep_line(self.id, size, kind, line)
        return line

    async def _taken(self, size: int, seen: str) -> Answer:
        await self._sign_stored()
        stored = await self.stored()
        wants = await self.wants() if await self._means.room() else []
        told = None if stored is None else (stored.size, stored.stored_latest)
        return Answer(200, judge.encode_answer(size, seen, wants, told, self._means.fleets(self.id)), CBOR)

    # add-checkpoint (C2SP tlog-witness)

    async def add_checkpoint(self, request: CheckpointRequest) -> Answer:
        """A request whose origin is this log's. Anybody may send one: what the log did not sign takes no turn."""
        refusal = await asyncio.to_thread(judge.signed_by, request.note, self.vkey)
        if refusal:
            return await self._refuse(refusal)
        async with self._turn:
            head = await self.head()
            root, last = await self._own_root(head, request.checkpoint.size)
            now = int(self._means.now())
            step = await asyncio.to_thread(judge.judge_checkpoint, head, request, self.vkey, root, last, now)
            step = judge.bounded(step, request.checkpoint.size, self.frozen_at)
            if isinstance(step, Refusal):
                return await self._refuse(step)
            return Answer(200, (await self._take(step)).encode())

    # A checkpoint and its entries, fetched from the gateway (section 9)

    async def follow(self, note: str, entries: Sequence[bytes], old: int, *, last: bool) -> Answer:
        """At most SYNC_ENTRIES entries served by the gateway from height `old`; `last`: they end at the note's size."""
        if last:
            return await self.sync(judge.encode_sync(old, entries, note))
        async with self._turn:
            head = await self.head()
            if head.frozen:
                return await self._refuse(judge.frozen(head))
            if head.size != old:
                return await self._refuse(judge.elsewhere(head.size))
            now = int(self._means.now())
            step = await asyncio.to_thread(judge.judge_unnoted, head, entries, self.vkey, now)
            step = judge.bounded(step, old + len(entries), self.frozen_at)
            if isinstance(step, Refusal):
                return await self._refuse(step)
            await self._take(step)
            return Answer(200)

    # Bodies (section 7)

    async def wants(self) -> list[tuple[int, int]]:
        """The heights whose bodies are lacking and are taken."""
        lacking = await self._store.wants(self.id, limits.WANT_RANGES)
        if self.frozen_at is None:
            return lacking
        return [(low, min(high, self.frozen_at)) for low, high in lacking if low < self.frozen_at]

    async def judge_height(self, height: int) -> Answer | None:
        """Whether a body of this height is worth reading; None: it is wanted."""
        head = await self.head()
        if head.frozen:
            return await self._refuse(judge.frozen(head))
        if self.frozen_at is not None and height >= self.frozen_at:
            return answer(judge.stopped(self.frozen_at))
        if height >= head.size:
            return Answer(404, b"no entry has this height")
        if not await self._means.room():
            return Answer(503, b"no room for bodies")
        wants = await self.wants()
        if any(low <= height < high for low, high in wants):
            return None
        known = len(wants) < limits.WANT_RANGES or height < wants[-1][1]
        if known and height >= head.stored_from:
            return Answer(204)
        return Answer(409, b"this body is not wanted")

    async def take_body(self, height: int, data: bytes) -> Answer:
        """An inflated body: 204 it fills the want, 202 it was kept and does not fill it."""
        (entry,) = await self._store.entries(self.id, height, 1)
        header = block.parse_entry(entry).header
        try:
            async with self._means.places:
                kept, gone = await asyncio.to_thread(bodies.check, header, data)
        except FormatError as error:
            return Answer(400, str(error).encode())
        if gone is not None and not await self._is_told(height, gone.loss_height):
            return Answer(409, f"block {gone.loss_height} is not held or does not tell of this loss".encode())
        async with self._turn:
            head = await self.head()
            if head.frozen:
                return await self._refuse(judge.frozen(head))
            await self._store.take_body(self.id, height, kept)
            await self._sign_stored()
        return Answer(204) if kept.form.fills else Answer(202, b"kept; withheld readings leave the block wanted")

    async def _is_told(self, height: int, loss_height: int) -> bool:
        """Whether a loss can be believed: the block that tells it is held, and nothing of the lost one is."""
        if await self._store.body(self.id, height) is not None:
            return False
        told = await self._store.body(self.id, loss_height)
        return told is not None and await asyncio.to_thread(bodies.tells_loss, told.data, height)

    # Stored (section 6)

    async def stored(self) -> Noted | None:
        """The largest checkpoint that is signed as stored and still is."""
        return await self._store.note_upto(self.id, await self._reach(await self.head()), "stored")

    async def _reach(self, head: Head) -> int:
        """The height before which no body is lacking, from the log's start on."""
        wants = await self._store.wants(self.id, 1)
        return min(wants[0][0], head.size) if wants else head.size

    async def _sign_stored(self) -> None:
        """Signs the largest seen size that every body reaches, once."""
        head = await self.head()
        reach = await self._reach(head)
        if self.frozen_at is not None:
            reach = min(reach, self.frozen_at)
        seen = await self._store.note_upto(self.id, reach, "seen")
        if head.frozen or seen is None or seen.stored or seen.size <= head.stored_from:
            return
        note = parse_note(seen.note)
        root, last = await self._own_root(head, seen.size)
        if root != parse_checkpoint(note.text).root:
            now = int(self._means.now())
            await self._refuse(judge.two_roots_kept(seen.size, last, seen.note, now))
            return
        await self._cosign("stored", self._means.stored, seen.size, note)

    async def lost_body(self, height: int) -> None:
        """A kept body cannot be read any more: an alarm, and it is wanted again."""
        await self._store.drop_body(self.id, height)
        stored = await self.stored()
        size = stored.size if stored else 0
        log.critical(
            "ALARM: %s: the body of block %d is damaged; the stored size is %d now", self.vkey.name, height, size
        )

    # Refusals

    async def _refuse(self, refusal: Refusal) -> Answer:
        if refusal.evidence is not None:
            log.critical("ALARM: %s: %s; the evidence is kept", self.vkey.name, refusal.text)
            await self._store.accuse(self.id, refusal.evidence, freeze=refusal.freeze)
        return answer(refusal)


def answer(refusal: Refusal) -> Answer:
    """A refusal as it is sent."""
    kind = TEXT if refusal.size is None else judge.SIZE_TYPE
    return Answer(refusal.status, refusal.text.encode(), kind)
