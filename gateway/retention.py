"""What may be deleted, and what happens when the disk is nearly full (invariants 5 and 6 of DESIGN.md).

Bodies go only when room gets short, and then until there is plenty: first those that enough nodes hold and that are old
enough (pruned). Where that does not do, the operator's choice: `hold` stores no reading until there is room, `oldest`
drops the oldest bodies that too few nodes hold. A drop is told first, in numbered steps:

    1  one transaction: a reading in a block of its own that tells the loss, and the row of `gone` that points to it
    2  secret and rows of the blocks are deleted, in transactions of bounded size

A crash between them is finished at the next start; headers stay for ever. Age is counted in time that the gateway ran
(Blocks.ran_s), so no setting of a clock makes a block old.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from gateway.conditions import DISK_FULL, DISK_LOW, STORE_FULL, Problem
from gateway.core import limits
from gateway.errors import StoreFullError
from gateway.settings import NodeLink, RetentionSettings
from gateway.store import DATABASE, Store, pruning, snapshot
from gateway.store.journal import Journal, Waiting
from gateway.store.space import Room, Space, quota_of

log = logging.getLogger(__name__)

_EVERY_S = 2.0
Range = tuple[int, int]


class Events(Protocol):
    """What of intake is used."""

    def keep_keys(self) -> "asyncio.Future[None]":
        """A snapshot of the redelivery keys; done when no older row holds one that is needed."""

    async def event_apart(
        self, commit: Callable[[Waiting], Awaitable[int]], what: str, **details: str | float | bool
    ) -> int:
        """An event of the gateway's own, made durable by `commit`."""


@dataclass(frozen=True, slots=True)
class Disk:
    """For status. `prunable`: readings that could be pruned; `nodes`: those whose word counts."""

    room: Room
    prunable: int
    held: str
    nodes: int


class Keeper(NamedTuple):
    """A node that can sign "stored": by which key, and from which height on, where the configuration says it."""

    key: str
    begins: int | None


def keepers(nodes: Mapping[str, NodeLink]) -> dict[str, Keeper]:
    """The nodes whose "stored" counts, by name."""
    found = {name: link for name, link in nodes.items() if link.keeps}
    return {name: Keeper(link.stored_key or "", link.stored_from) for name, link in found.items()}


def covered(spans: Sequence[Range], needed: int) -> list[Range]:
    """Where at least `needed` of the half-open spans lie over each other: ascending, disjoint, not touching."""
    edges = sorted([(low, 1) for low, high in spans if low < high] + [(high, -1) for low, high in spans if low < high])
    found: list[Range] = []
    depth, begin = 0, 0
    for at, step in edges:
        if depth < needed <= depth + step:
            begin = at
        elif depth + step < needed <= depth and at > begin:
            if found and found[-1][1] == begin:
                begin = found.pop()[0]
            found.append((begin, at))
        depth += step
    return found


class Retention:
    """Owner of the room on disk. `nodes` as `keepers` makes it; `sealing_full` tells of a sealer without room."""

    def __init__(
        self,
        settings: RetentionSettings,
        store: Store,
        journal: Journal,
        events: Events,
        *,
        nodes: Mapping[str, Keeper],
        sealing_full: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._store = store
        self._db = store.db
        self._journal = journal
        self._events = events
        self._nodes = nodes
        self._sealing_full = sealing_full
        self._space = Space(store.db, store.data_dir, settings)
        self._keys_row = 0  # rows up to here hold no redelivery key that is needed
        self._old = 0  # blocks before it are old enough
        self._giving = True  # there may be free pages to give back
        self._unfolded = False  # some were, and the file is not shorter yet
        self._changed = False  # since this turn began
        self.disk: Disk | None = None

    async def change(self, settings: RetentionSettings, nodes: Mapping[str, Keeper]) -> None:
        """From now on these hold. A deletion that is under way ends; no other begins by what was found before."""
        self._settings, self._nodes, self._changed = settings, nodes, True
        self._space = Space(self._db, self._store.data_dir, settings)
        await self._db.change_quota(quota_of(settings))

    async def run(self) -> None:
        """Looks after the disk until cancelled."""
        await self._with_ballast(self._finish)
        while True:
            await self.turn()
            await asyncio.sleep(_EVERY_S)

    async def _with_ballast(self, work: Callable[[], Awaitable[None]]) -> None:
        """Where even this finds no room the ballast is given up, and it is tried once more."""
        try:
            await work()
        except StoreFullError:
            if not await self._space.give_ballast(0):
                return
            log.error("the disk is full: the ballast is given up")
            try:
                await work()
            except StoreFullError as error:
                log.error("nothing can be deleted: %s", error)

    async def _finish(self) -> None:
        """What a crash left: rows whose block's secret has gone, and blocks that were told to be gone and are here."""
        while (height := await pruning.half_gone(self._db)) is not None:
            if not await pruning.drop(self._db, height, height + 1):
                break
        lost = await pruning.newest_loss(self._db)
        if lost is not None:
            await self._delete(lost)

    async def turn(self) -> None:
        """One look, and what follows from it."""
        self._changed = False
        if self._sealing_full() and await self._space.give_ballast(limits.BALLAST_BYTES // 2):
            log.error("the disk is full: half of the ballast is given up")
        ranges = await self._prunable()
        await self._with_ballast(lambda: self._make_room(ranges))
        room = await self._space.look()
        self._hold(room)
        await self._space.keep_ballast(room)
        await self._tell(room, ranges)

    # -- pruning ------------------------------------------------------------------------------------------------------

    async def _prunable(self) -> list[Range]:
        """Blocks that enough nodes hold and that are old enough, here or not."""
        blocks = self._store.blocks
        ran_s = blocks.ran_s - self._settings.min_age_h * 3600
        self._old = await pruning.older_than(self._db, ran_s, self._old, blocks.size)
        held = await self._held_by_nodes()
        return [(low, min(high, self._old)) for low, high in held if low < self._old]

    async def _held_by_nodes(self) -> list[Range]:
        spans: list[Range] = []
        for name, keeper in self._nodes.items():
            holding = await self._store.cosigned.holding(name, keeper.key)
            begins = holding.begins if keeper.begins is None else keeper.begins
            if begins is not None:
                spans.append((begins, min(holding.holds, self._store.blocks.size)))
        return covered(spans, self._settings.stored_by)

    async def _make_room(self, ranges: Sequence[Range]) -> None:
        await self._give_back()
        room, journal = await self._space.look(), self._journal
        if not (room.missing or journal.full or journal.held):
            return
        if room.short and await asyncio.to_thread(snapshot.remove, self._store.data_dir / DATABASE):
            log.warning("the disk gets full: the copy of the store from before the last update is given up")
            room = await self._space.look()
        room = await self._prune(room, ranges)
        if self._settings.when_full == "oldest" and (room.out or journal.full or journal.held):
            room = await self._prune(room, await self._held_by_nodes())  # no loss, however young
            while room.missing and not self._changed and await self._lose(room.missing):
                await self._give_back()
                room = await self._space.look()

    async def _prune(self, room: Room, ranges: Sequence[Range]) -> Room:
        """Deletes the oldest blocks of the ranges until nothing is lacking."""
        pruned = 0
        for found in ranges:
            while room.lacking and not self._changed and await pruning.first_here(self._db, *found) is not None:
                freed = await self._delete(found, most=room.lacking)
                if not freed:
                    break
                pruned += freed
                await self._give_back()
                room = await self._space.look()
        if pruned:
            log.info("pruned: some %d bytes that enough nodes hold", pruned)
        return room

    async def _delete(self, found: Range, most: int = 2**62) -> int:
        """Deletes bodies in bounded steps, up to `most` bytes or so; how many bytes they were, about."""
        low, high = found
        if await pruning.first_here(self._db, low, high) is None:
            return 0
        await self._keep_keys(low, high)
        freed = 0
        while freed < most and (more := await pruning.drop(self._db, low, high)):
            freed += more
        self._giving |= freed > 0
        return freed

    async def _keep_keys(self, low: int, high: int) -> None:
        """After this the rows of these blocks hold no redelivery key that is needed (Intake.keep_keys)."""
        newest, _ = await pruning.newest(self._db)
        if await pruning.last_row(self._db, low, high) <= self._keys_row:
            return
        with self._journal.reserve():
            try:
                async with asyncio.timeout(limits.KEYS_KEPT_S):
                    await self._events.keep_keys()
            except TimeoutError as error:
                raise StoreFullError("no room for the redelivery keys", cure="Free some space") from error
        self._keys_row = newest

    async def _give_back(self) -> None:
        """Hands free pages back to the file system, some at a time; where somebody reads, the rest next time."""
        if self._giving:
            free = (await self._db.pages()).free
            for _ in range(0, free, limits.GIVE_BACK_PAGES):
                await self._db.give_back(limits.GIVE_BACK_PAGES)
                self._unfolded = True
            self._giving = False
        if self._unfolded:
            self._unfolded = not await self._db.fold()

    # -- when nothing can be pruned -----------------------------------------------------------------------------------

    async def _lose(self, need: int) -> bool:
        """Drops the oldest blocks that too few nodes hold, told first. False where there are none."""
        lost = await pruning.stretch(self._db, 0, self._store.blocks.size, need)
        if lost is None:
            return False
        await self._keep_keys(lost.low, lost.high)
        reason = "the disk was full, and too few nodes held them"
        details: dict[str, str | float | bool] = {
            "from": lost.low,
            "to": lost.high,
            "readings": lost.readings,
            "first": lost.first_ms / 1000,
            "last": lost.last_ms / 1000,
            "reason": reason,
        }

        def commit(reading: Waiting) -> Awaitable[int]:
            return self._journal.commit_alone(reading, lambda height: pruning.gone_statement(lost, height, reason))

        loss = await self._events.event_apart(commit, "gone", **details)  # 1
        log.error("dropped: blocks %d to %d, told in block %d", lost.low, lost.high - 1, loss)
        await self._delete((lost.low, lost.high))  # 2
        return True

    def _hold(self, room: Room) -> None:
        journal = self._journal
        if room.out or (journal.full and not room.enough):
            if not journal.held:
                journal.hold(_why(room))
                log.debug("no reading is stored: %s", journal.held)
        elif journal.held and room.enough:
            journal.release()
            log.debug("there is room again: readings are stored")

    # -- for status ---------------------------------------------------------------------------------------------------

    async def _tell(self, room: Room, ranges: Sequence[Range]) -> None:
        prunable = 0
        for low, high in ranges:
            begin = await pruning.first_here(self._db, low, high)
            if begin is not None:
                prunable += await pruning.readings_in(self._db, begin, high)
        self.disk = Disk(room, prunable, self._journal.held, len(self._nodes))

    def status(self) -> dict[str, Any]:
        """The disk, as JSON. Bytes; `held`: why no reading is stored; `problem` and `cure` are those of `problems`."""
        disk = self.disk
        if disk is None:
            return {}
        problem = next(iter(self.problems), None)
        return {
            "used": disk.room.used,
            "quota": disk.room.quota,
            "free": disk.room.free,
            "min_free": disk.room.min_free,
            "prunable": disk.prunable,
            "held": disk.held or None,
            "cure": problem.cure if problem else "",
            "problem": problem.what if problem else "",
        }

    @property
    def problems(self) -> list[Problem]:
        """What a person is to know of the disk."""
        disk = self.disk
        if disk is None:
            return []
        values = {
            "free": _mib(disk.room.free),
            "used": _mib(disk.room.used),
            "quota": _mib(disk.room.quota),
            "needed": str(self._settings.stored_by),
            "nodes": str(disk.nodes),
        }
        if disk.held:
            return [(STORE_FULL if _filled(disk.room) else DISK_FULL).problem(**values)]
        if not disk.room.missing or disk.prunable or self._settings.when_full == "oldest":
            return []
        return [DISK_LOW.problem(**values)]


def _filled(room: Room) -> bool:
    """Whether it is the store's own bound that is reached, and not the disk's."""
    return room.used > room.quota // 16 * 15


def _why(room: Room) -> str:
    if _filled(room):
        return (
            f"the store is full: {_mib(room.used)} of {_mib(room.quota)} for readings, and nothing in it can be pruned"
        )
    return f"the disk is full: {_mib(room.free)} are free, and min_free is {_mib(room.min_free)}"


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
