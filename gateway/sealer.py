"""Blocks: when one is closed, and the numbered durable steps from readings to a published, signed entry.

    1  the plan (height, rows, secret, header bytes) is durable in the store
    2  the sign-state moves on by compare-and-swap to this height and these header bytes, durable
    3  the entry and the checkpoint are signed
    4  entry, tree and checkpoint are durable in the store; then they are visible

A crash between any two of them ends in `recover`, which is the same code: a plan that the sign-state does not know is
dropped (its readings are still in the journal), one that it knows is finished over the same header bytes. A step that
finds no room ends the same way, as soon as there is some.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from gateway.clock import Clock
from gateway.core import block as cose
from gateway.core import body, merkle
from gateway.core.note import Checkpoint, SignatureLine, parse_note, verify_note
from gateway.errors import BugError, DamagedError, FormatError, HeldError, StoreFullError
from gateway.keys import Signer, sign_checkpoint, sign_entry
from gateway.store.blocks import Blocks, Plan, inflate
from gateway.store.database import Row
from gateway.store.journal import Journal
from gateway.store.signstate import CURE, CURE_CLOSED, CURE_DAMAGED, SignState

log = logging.getLogger(__name__)

_ROWS_A_PAGE = 4  # of up to limits.BATCH_BYTES each
_ROOM = "Free some space: signing begins by itself"
_RETRY_S = 1.0  # where signing is held, or there is no room


_NOT_YET = HeldError("signing has not begun")


class _Gathered(NamedTuple):
    """The readings of one closed block: what the header says of them, and their leaf hashes."""

    plan: Plan  # without header bytes
    first_ms: int
    last_ms: int
    hashes: list[bytes]


class Sealer:
    """Seals what the journal has closed, closes what is old, and keeps the log alive with empty blocks."""

    def __init__(self, blocks: Blocks, journal: Journal, clock: Clock, *, max_age_s: float, heartbeat_s: float) -> None:
        self._blocks = blocks
        self._journal = journal
        self._clock = clock
        self._max_age_s = max_age_s
        self._heartbeat_s = heartbeat_s
        self._sealed = 0
        self._sealed_at = clock.monotonic()
        clock.raise_floor(blocks.sealed_ms or 0)
        blocks.measure(clock.monotonic)
        self._stopping = False
        self._signer: Signer | None = None
        self._state: SignState | None = None
        self._held: HeldError | None = _NOT_YET  # until `recover`, or until a person has decided
        self._forks: dict[str, HeldError] = {}  # by node, for as long as it is configured
        self.full = False  # the last try found no room
        self.further: Callable[[str], Awaitable[list[SignatureLine]]] = _nothing_further
        """Lines over a checkpoint's text beside the log's own. It never raises, and nothing waits for it to succeed."""

    @property
    def sealed(self) -> int:
        """Blocks that were sealed in this life."""
        return self._sealed

    @property
    def last_sealed_ms(self) -> int | None:
        """When the last block was sealed, as its header claims."""
        return self._blocks.sealed_ms

    @property
    def held(self) -> HeldError | None:
        """Why nothing is signed."""
        fork = next(iter(self._forks.values()), None)
        return (fork or self._held) if self._held is _NOT_YET else (self._held or fork)

    @property
    def heartbeat_s(self) -> float:
        """After so long without a block an empty one is sealed."""
        return self._heartbeat_s

    def change(self, *, max_age_s: float, heartbeat_s: float) -> None:
        """From now on a block is closed by these."""
        self._max_age_s, self._heartbeat_s = max_age_s, heartbeat_s
        self._journal.grown.set()

    async def recover(self, signer: Signer, state: SignState) -> None:
        """Finishes or drops the plan found at start, then signing may begin. Raises HeldError where it must not."""
        self._signer, self._state = signer, state
        try:
            await self._settle()
            await self._check_open()
        except StoreFullError as error:
            self._no_room(error)
        else:
            self.full = False
        self._held = None

    async def _settle(self) -> None:
        assert self._state is not None
        plan, size, head = await self._blocks.plan(), self._blocks.size, self._state.head
        await self._check_tree()
        if plan is not None and head.size == size + 1 and (plan.height, plan.header) == (size, head.header):
            await self._sign_and_publish(plan)
        elif head.size == size:
            await self._check_last(head.header)
            await self._blocks.drop_plan()
        else:
            raise HeldError(f"the sign-state has signed {head.size} blocks, the store holds {size}", cure=CURE)

    async def _check_open(self) -> None:
        if await self._blocks.closed():
            raise _closed()

    async def _check_tree(self) -> None:
        """Nothing is signed over a tree that does not lead to the newest checkpoint under the log's own key."""
        assert self._signer is not None
        size = self._blocks.size
        try:
            if self._blocks.damage is not None:
                raise self._blocks.damage
            kept = await self._blocks.note(size) if size else None
            if kept is not None:
                verify_note(parse_note(kept[1]), self._signer.vkey)
        except (DamagedError, FormatError) as error:
            raise HeldError(f"the store is damaged: {error.what}", where=error.where, cure=CURE) from error

    def _no_room(self, error: StoreFullError) -> None:
        if not self.full:
            log.debug("nothing can be sealed: %s", error)
        self.full = True

    def wait_for_room(self, error: StoreFullError) -> None:
        """The sign-state cannot be opened for want of room: `recover` comes later."""
        self._held = HeldError("there is no room to open the sign-state", where=error.where, cure=_ROOM)
        self._no_room(error)

    def hold(self, error: HeldError, *, node: str = "") -> None:
        """Stops signing until a person decides. Readings go on being journaled. The first reason stays.

        node: on whose bare word; such a hold ends when the node is configured no more (`release`).
        """
        if self.held is not None and self.held is not _NOT_YET:
            log.error("signing is held, and there is a further reason: %s", error)
        if node:
            self._forks.setdefault(node, error)
        elif self._held is None or self._held is _NOT_YET:
            self._held = error

    def release(self, node: str) -> None:
        """The node is configured no more, so its word does not hold signing. Other reasons do as before.

        A plan that a hold left behind was never signed: the next one of its height replaces it.
        """
        if self._forks.pop(node, None) is not None:
            self._journal.grown.set()

    async def _check_last(self, header: bytes | None) -> None:
        size = self._blocks.size
        entry = (await self._blocks.entries(size - 1, 1))[0] if size else None
        if (cose.parse_entry(entry).header_bytes if entry else None) != header:
            raise HeldError(f"the sign-state and the store disagree about block {size - 1}", cure=CURE)

    async def run(self) -> None:
        """Seals until `stop`, then seals what is open. Where it was cancelled between two steps, `recover` goes on.

        Where there is no room it tries again; at a stop it leaves the rest to the next start.
        """
        while not self._stopping:
            await self._seal_closed(cose.REASON_AGE)
            if (wait_s := self._due_in()) > 0:
                await self._wait(wait_s)
            else:
                await self._journal.cut()
        if self.held is None and self._journal.block.readings:
            await self._journal.cut()
        await self._seal_closed(cose.REASON_STOP)

    def stop(self) -> None:
        """Lets `run` seal what the journal holds and return."""
        self._stopping = True
        self._journal.grown.set()

    async def _wait(self, wait_s: float) -> None:
        self._journal.grown.clear()
        if self._stopping:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._journal.grown.wait()

    def _due_in(self) -> float:
        """Seconds until the open block is old, or an empty one is due."""
        now = self._clock.monotonic()
        if self.held is not None or self.full:
            return _RETRY_S
        if self._journal.block_since is not None:
            return self._journal.block_since + self._max_age_s - now
        return self._sealed_at + self._heartbeat_s - now

    async def _seal_closed(self, reason: int) -> None:
        """Seals what the journal has closed, as far as there is room and nothing stands against signing."""
        try:
            if self.full and self.held is None:
                await self._settle()
                await self._check_open()
            await self._seal_all(reason)
            self.full = self.full and self.held is not None
        except StoreFullError as error:
            self._no_room(error)
        except HeldError as error:
            self.hold(error)

    async def close(self) -> None:
        """Seals what the journal has closed, the last of it with reason 5: no entry follows, whoever tries.

        StoreFullError where there is no room for that: it goes on where it was when it is called again.
        """
        try:
            if self.full and self.held is None:
                await self._settle()
                self.full = False
            if not await self._blocks.closed():  # by what was settled
                await self._seal_all(cose.REASON_AGE, last=self._journal.block.height - 1)
        except StoreFullError as error:
            self._no_room(error)
            raise
        if self.held is not None:
            raise self.held
        self.hold(_closed())

    async def _seal_all(self, reason: int, last: int | None = None) -> None:
        """Full blocks are sealed by count, empty ones as heartbeat, others for `reason`; `last` closes the log."""
        while self.held is None and (height := self._blocks.size) < self._journal.block.height:
            try:
                gathered = await self._gather(height)
            except (DamagedError, FormatError) as error:
                what = f"readings of block {height}, which is not sealed yet, are damaged: {error.what}"
                raise HeldError(what, cure=CURE_DAMAGED) from error
            if height == last:
                await self._seal(gathered, cose.REASON_CLOSED)
            elif gathered.plan.readings >= self._journal.max_count:
                await self._seal(gathered, cose.REASON_COUNT)
            else:
                await self._seal(gathered, reason if gathered.plan.readings else cose.REASON_HEARTBEAT)

    async def _gather(self, height: int) -> _Gathered:
        """Reads a closed block's rows a page at a time; hashes them in a thread."""
        row, count, secret = self._blocks.sealed_row, 0, b""
        first_ms = last_ms = 0
        min_ms, max_ms, mask = 2**62, 0, 0
        hashes: list[bytes] = []
        first_row = row + 1
        more = True
        while more:
            rows = await self._journal.rows_after(row, _ROWS_A_PAGE)
            _check_rows(rows, height, self._journal.block.height)
            of_block = [r for r in rows if r[1] == height]
            more = len(of_block) == _ROWS_A_PAGE
            for r in of_block:
                row, secret = r[0], secret or r[8]
                if r[2]:
                    first_ms, last_ms = first_ms if count else r[3], r[4]
                    min_ms, max_ms, mask = min(min_ms, r[5]), max(max_ms, r[6]), mask | r[7]
                    hashes += await asyncio.to_thread(_leaf_hashes, secret, r[9], count)
                    count += r[2]
                    if len(hashes) != count:
                        raise DamagedError(f"journal row {row} does not hold the {r[2]} readings that it counts")
        secret = secret or bytes(32)  # an empty block has nothing to hide
        plan = Plan(height, count, first_row, row, min_ms if count else 0, max_ms, mask, secret, b"")
        return _Gathered(plan, first_ms, last_ms, hashes)

    async def _seal(self, gathered: _Gathered, reason: int) -> None:
        """Steps 1 and 2, then the rest."""
        assert self._state is not None
        plan, stamp = gathered.plan, self._clock.now()
        if self._state.head.size != plan.height:
            raise BugError(f"block {plan.height} follows {self._state.head.size} signed ones", cure="Report this")
        header = cose.Header(
            origin=self._origin,
            height=plan.height,
            prev=self._blocks.prev,
            count=plan.readings,
            root=await asyncio.to_thread(merkle.root, gathered.hashes),
            first=gathered.first_ms if plan.readings else stamp.ms,
            last=gathered.last_ms if plan.readings else stamp.ms,
            sealed=stamp.ms,
            clock=1 if stamp.synchronised else 0,
            reason=reason,
            error=stamp.error_ms,
        )
        plan = plan._replace(header=header.encode())
        await self._blocks.save_plan(plan)  # 1
        if self.held is not None:
            return
        await self._state.swap(plan.height, plan.header)  # 2
        await self._sign_and_publish(plan)

    async def _sign_and_publish(self, plan: Plan) -> None:
        """Steps 3 and 4."""
        assert self._signer is not None
        entry = sign_entry(self._signer, plan.header)  # 3
        frontier = self._blocks.frontier.append(merkle.leaf_hash(entry))
        note = sign_checkpoint(self._signer, Checkpoint(self._origin, frontier.size, frontier.root()))
        note = note.with_lines(await self.further(note.text))
        await self._blocks.publish(plan, entry, frontier, note.encode())  # 4
        self._clock.raise_floor(self._blocks.sealed_ms or 0)
        self._sealed_at = self._clock.monotonic()
        self._sealed += 1
        log.info("sealed block %d: %d readings", plan.height, plan.readings)

    @property
    def _origin(self) -> str:
        assert self._signer is not None
        return self._signer.vkey.name


def _closed() -> HeldError:
    return HeldError("the log is closed, and the next one has not taken its place yet", cure=CURE_CLOSED)


async def _nothing_further(_: str) -> list[SignatureLine]:
    return []


def _check_rows(rows: list[Row], height: int, newest: int) -> None:
    """Rows follow each other by height; damage may put anything into them."""
    before = height
    for row in rows:
        if not all(isinstance(value, int) for value in row[:8]) or not isinstance(row[9], bytes):
            raise DamagedError("a journal row holds something else than readings")
        if not before <= row[1] <= newest:
            raise DamagedError(f"journal row {row[0]} is of block {row[1]}, behind one of block {before}")
        before = row[1]
    secrets = [row[8] for row in rows if row[8] is not None]
    if not all(isinstance(secret, bytes) and len(secret) == cose.SECRET_BYTES for secret in secrets):
        raise DamagedError("a journal row holds a secret that is none")


def _leaf_hashes(secret: bytes, data: bytes, start: int) -> list[bytes]:
    return body.leaf_hashes(secret, [pack for pack, _ in body.read_items(inflate(data))], start)
