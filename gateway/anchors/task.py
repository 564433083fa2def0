"""Keeps one chain told: takes the newest statement of its subject when it is due, and sees it through (api.py).

What the journal holds is all that a next life needs: it goes on where this one ended::

    nothing on its way --due--> waiting --made, sent--> submitted --look--> in block --confirmed, proved--> anchored
                                   ^                        |                  |
                                   +------ reorganised -----+------------------+
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from msgspec import structs

from gateway.anchors.api import Chain, GoneError, LieError, Opened, Place, RefusedError, ShutError, Submission
from gateway.clock import Stamp, day
from gateway.conditions import Condition, Problem
from gateway.conditions.anchors import ANCHOR_ANSWER, ANCHOR_AWAY, ANCHOR_FAILED, ANCHOR_FAULT, ANCHOR_LATE
from gateway.core import cbor, limits
from gateway.core.anchor import Statement
from gateway.core.anchor_row import ANCHORED, FAILED, IN_BLOCK, SUBMITTED, WAITING, AnchorRow
from gateway.errors import Retry, Stop, StoreFullError, UnreachableError
from gateway.settings import AnchorSettings

log = logging.getLogger(__name__)

_GIVE_UP = 4  # times late_s
_NEXT = "The next checkpoint takes its place"

T = TypeVar("T")


class Random(Protocol):
    """What of random.Random is used."""

    def uniform(self, a: float, b: float) -> float:
        """Uniform in [a, b]."""


class Clock(Protocol):
    """What of gateway.clock.Clock is used."""

    def now(self) -> Stamp:
        """By the wall."""

    def monotonic(self) -> float:
        """Seconds that never fall."""


class Journal(Protocol):
    """Where it is written down how far each statement has come. A row is durable when `save` returns."""

    async def save(self, row: AnchorRow) -> None:
        """Writes the row, which replaces the one of its name and size."""

    async def current(self, name: str) -> AnchorRow | None:
        """The one that is on its way."""

    async def newest(self, name: str) -> AnchorRow | None:
        """The one begun last, whatever became of it."""

    async def before(self, name: str, size: int) -> AnchorRow | None:
        """The newest below that size for which there was something to send."""

    async def anchored(self, name: str) -> AnchorRow | None:
        """The newest that is anchored."""


class Subject(Protocol):
    """What a chain is told of: a log, or a node's logs together."""

    @property
    def origin(self) -> str:
        """What its statements are of."""

    @property
    def journal(self) -> Journal:
        """Its own."""

    async def grown(self, newest: AnchorRow | None) -> int:
        """Blocks that the newest statement does not have; all of them, where there is none."""

    async def wait_grown(self) -> None:
        """Until there are more blocks than now."""

    async def take(self) -> tuple[int, bytes]:
        """Size and root of a statement that has all there is now. Each has a larger size than the one before."""


class Anchoring:
    """One chain. `run` never ends by itself; only our own faults (Stop) end it.

    chain: what its kind calls it. opened: makes a chain of the kind. Everything that a chain brings about ends here.
    """

    def __init__(
        self,
        name: str,
        settings: AnchorSettings,
        chain: str,
        opened: Callable[[], Opened],
        subject: Subject,
        clock: Clock,
        rng: Random,
        *,
        final: bool = False,
    ) -> None:
        """final: the chain never takes a block back, so one is enough, and what is anchored stays so."""
        self._name, self._called, self._open, self._final = name, chain, opened, final
        self._settings = structs.replace(settings, confirmations=1) if final else settings
        self._subject, self._journal, self._clock, self._rng = subject, subject.journal, clock, rng
        self._origin = subject.origin
        self._wake = asyncio.Event()
        self._row: AnchorRow | None = None  # the one begun last
        self._anchored: AnchorRow | None = None  # the newest that is anchored
        self._height = 0  # of the chain, as seen last
        self._failures = 0
        self._asked_s: float | None = None  # monotonic: since when the last anchor is looked at again in vain
        self._trouble: tuple[Condition, dict[str, str]] | None = None
        self._back_s = clock.monotonic()  # when an anchor was put back
        self._absent: tuple[float, float] | None = None  # monotonic: the first and the last time that it stood nowhere
        self._sent_at = -math.inf  # monotonic
        self._doing: AnchorRow | None = None  # what a step is about

    # -- what the gateway sees ----------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """For status, as JSON (docs/json.md)."""
        row, last = self._row, self._anchored
        return {
            "kind": self._settings.kind,
            "chain": self._called,
            "state": row.state if row else WAITING,
            "size": row.size if row else 0,
            "since_ms": row.since_ms if row else None,
            "block": row.number if row else None,
            "confirmed": self._confirmed(row),
            "confirmations": self._settings.confirmations,
            "why": row.why if row else "",
            "cure": row.cure if row else "",
            "height": self._height,
            "anchored": last.size if last else 0,
            "anchored_block": last.number if last else None,
            "anchored_s": last.time_s if last else None,
        }

    def _confirmed(self, row: AnchorRow | None) -> int:
        """Blocks from the anchor's own on, as seen last."""
        if row is None or row.number is None:
            return 0
        most = self._settings.confirmations
        return most if row.state == ANCHORED else min(max(self._height - row.number + 1, 0), most)

    @property
    def problems(self) -> list[Problem]:
        """What a person has to know of."""
        found = [] if self._trouble is None else [self._trouble[0].problem(self._name, **self._trouble[1])]
        row = self._row
        if row is not None and not row.over and self._age_s(row) > self._settings.late_s:
            found.append(ANCHOR_LATE.problem(self._name, size=row.size, state=row.state, since=day(row.since_ms)))
        return found

    def _age_s(self, row: AnchorRow) -> float:
        return (self._clock.now().ms - row.since_ms) / 1000

    def _outlived(self, row: AnchorRow) -> bool:
        """Whether it is given up, which stands nowhere as a server says. One answer is not enough: it may be behind.

        What stood there and was put back has its time from then on, and from each start.
        """
        age_s, now_s = self._age_s(row), self._clock.monotonic()
        if row.evidence is not None:
            age_s = min(age_s, now_s - self._back_s)
        if age_s <= _GIVE_UP * self._settings.late_s:
            self._absent = None
            return False
        first_s, last_s = self._absent or (now_s, now_s)
        self._absent = (first_s if now_s - last_s <= limits.ANCHOR_HELD_UP_S else now_s), now_s
        return now_s - self._absent[0] > limits.ANCHOR_RESEND_S

    def _is_ours(self, row: AnchorRow) -> bool:
        """Whether it is on the chain that the configuration has now."""
        return (row.kind, row.chain) == (self._settings.kind, self._called)

    def ask(self) -> None:
        """Goes on at once, for a person who does not wait for its back-off."""
        self._wake.set()

    # -- the loop -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        self._row = await self._journal.newest(self._name)
        self._anchored = await self._journal.anchored(self._name)
        while True:
            try:
                async with self._open() as chain:
                    while True:
                        await self._pause(await self._tried(chain))
            except Exception as error:  # noqa: BLE001 -- as in `_tried`: it could not be opened
                await self._meet(error)
            await self._pause(self._backoff_s())

    async def _tried(self, chain: Chain) -> float:
        """One step; seconds until the next. Whatever a chain brings about becomes a trouble and a later try."""
        try:
            pause_s = await self._step(chain)
        except Exception as error:  # noqa: BLE001 -- a kind's bug harms nothing but itself (invariant 9)
            await self._meet(error)
            return self._backoff_s()
        self._failures, self._trouble = 0, None
        return pause_s

    async def _meet(self, error: Exception) -> None:
        """What becomes of an error. A Stop goes on up."""
        if isinstance(error, Stop):
            raise error
        self._failures += 1
        if isinstance(error, StoreFullError):
            return  # disk-full tells
        with contextlib.suppress(StoreFullError):
            if isinstance(error, GoneError | RefusedError):
                cure = error.cure or _NEXT
                place = error.place if isinstance(error, GoneError) else None
                await self._failed(error.what, cure, over=isinstance(error, GoneError), place=place)
                self._trouble = ANCHOR_FAILED, {"detail": error.what, "cure": cure}
                return
        if isinstance(error, LieError):
            self._trouble = ANCHOR_ANSWER, {"detail": error.what}
        elif isinstance(error, Retry):
            self._trouble = ANCHOR_AWAY, {"detail": error.what}
        else:
            self._trouble = ANCHOR_FAULT, {"detail": f"an unexpected error ({type(error).__name__})"}
            log.error("anchor %s: an unexpected error", self._name, exc_info=error)

    def _backoff_s(self) -> float:
        most = min(self._settings.look_s * 2 ** min(self._failures, 16), limits.ANCHOR_BACKOFF_S)
        return self._rng.uniform(most / 2, most)

    async def _pause(self, pause_s: float) -> None:
        """For so long, until somebody asks, or, where nothing is on its way, until there are more blocks."""
        signs: list[asyncio.Task[object]] = [asyncio.create_task(self._wake.wait())]
        if self._idle:
            signs.append(asyncio.create_task(self._subject.wait_grown()))
        try:
            await asyncio.wait(signs, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for sign in signs:
                sign.cancel()
            await asyncio.gather(*signs, return_exceptions=True)
        self._wake.clear()

    @property
    def _idle(self) -> bool:
        return (self._row is None or self._row.over) and not self._failures

    # -- one step -----------------------------------------------------------------------------------------------------

    async def _step(self, chain: Chain) -> float:
        """What comes next for the row that is on its way; seconds until the step after it."""
        row = self._doing = await self._journal.current(self._name)
        if row is None:
            return await self._begin(chain)
        if not self._is_ours(row):
            await self._failed("[anchor.NAME] was changed to another chain", "", over=True)
            return 0.0
        if not row.data:
            return await self._make(chain, row)
        if row.state == WAITING or not row.ticket:
            return await self._send(chain, row)
        return await self._look(chain, row)

    async def _begin(self, chain: Chain) -> float:
        """Takes the newest checkpoint, if one is due."""
        newest = self._row
        grown = await self._subject.grown(newest)
        wait_s = self._due_in_s(newest, grown)
        if wait_s > 0:
            return wait_s
        if grown <= 0:
            return self._settings.every_s  # or until there are more blocks
        if await self._looked_again(chain):
            return 0.0
        (size, root), now_ms = await self._subject.take(), self._clock.now().ms
        kind = self._settings.kind
        await self._save(AnchorRow(self._name, size, root, kind=kind, chain=self._called, since_ms=now_ms))
        return 0.0

    def _due_in_s(self, newest: AnchorRow | None, grown: int) -> float:
        """By the wall clock; where that was set back, not later than one whole time from now.

        What failed is followed sooner, unless a block took it: then it was paid for.
        """
        if newest is None:
            return 0.0
        blocks = self._settings.every_blocks
        if blocks is not None and grown >= blocks and newest.state != FAILED:
            return 0.0
        every_s = self._settings.every_s
        if newest.state == FAILED and newest.number is None:
            every_s = min(every_s, limits.ANCHOR_BACKOFF_S)
        return min(every_s - self._age_s(newest), every_s)

    async def _looked_again(self, chain: Chain) -> bool:
        """As _taken_away and _found_after_all. A server that cannot tell holds the next anchor up for ANCHOR_HELD_UP_S,
        and no longer.
        """
        now_s = self._clock.monotonic()
        self._asked_s = since_s = now_s if self._asked_s is None else self._asked_s
        again = False
        if now_s - since_s <= limits.ANCHOR_HELD_UP_S:
            again = await self._taken_away(chain) or await self._found_after_all(chain)
        else:
            log.warning("anchor %s: the last one could not be looked at again, and stays as it is", self._name)
        self._asked_s = None
        return again

    async def _taken_away(self, chain: Chain) -> bool:
        """Whether a late reorganisation took the newest anchor away; then that is on its way again.

        It is not what a step is about (`_doing`): an error, whichever it is, leaves it as it is.
        """
        last = self._anchored
        if self._final or last is None or not self._is_recent(last):
            return False
        sight = await self._call(chain.look(_submission(self._origin, last)))
        if sight.place is not None:
            return False
        await self._back(last)
        return True

    async def _found_after_all(self, chain: Chain) -> bool:
        """Whether a block took what was given up last; then that is on its way again, and nothing else is paid for."""
        last = await self._journal.before(self._name, self._row.size + 1) if self._row else None
        if last is None or last.state != FAILED or not last.ticket or last.number is not None:
            return False
        if not self._is_recent(last):
            return False
        with contextlib.suppress(GoneError):
            sight = await self._call(chain.look(_submission(self._origin, last)))
            if sight.place is not None:
                self._check_time(last, sight.place)
                await self._save(_in_block(replace(last, state=IN_BLOCK, over=False, why="", cure=""), sight.place))
                self._row = self._doing  # what is shown, also where one that was begun later was never sent
                return True
        return False

    def _is_recent(self, row: AnchorRow) -> bool:
        return self._age_s(row) <= limits.ANCHOR_RECENT_S and self._is_ours(row)

    async def _make(self, chain: Chain, row: AnchorRow) -> float:
        last, former = await self._journal.before(self._name, row.size), None
        if last is not None and last.state == FAILED and self._is_ours(last):
            former = _submission(self._origin, last)
        data = await self._call(chain.make(Statement.of(self._origin, row.size, row.root), former))
        if not 0 < len(data) <= limits.ANCHOR_DATA_BYTES:
            raise GoneError(
                f"a submission of {len(data)} bytes, and {limits.ANCHOR_DATA_BYTES} may be sent", cure=_NEXT
            )
        old_s = max(self._settings.every_s, limits.ANCHOR_BACKOFF_S)
        if self._age_s(row) > old_s and await self._subject.grown(row) > 0:
            await self._failed("nothing was sent for too long: the newest checkpoint takes its place", "", over=True)
            return 0.0
        made = replace(row, data=data, since_ms=self._clock.now().ms)  # its time begins now, however long that took
        self._absent = None
        await self._save(replace(made, state=WAITING, why="", cure=""))  # before anything is sent
        return 0.0

    async def _send(self, chain: Chain, row: AnchorRow) -> float:
        try:
            ticket = await self._call(chain.send(_submission(self._origin, row)))
        except RefusedError as error:
            self._sent_at = -math.inf
            if isinstance(error, ShutError) or not self._outlived(row):
                raise
            raise GoneError(f"it is given up, refused for too long: {error.what}", cure=error.cure) from error
        if len(ticket) > limits.ANCHOR_TICKET_BYTES:
            raise LieError(f"its ticket has {len(ticket)} bytes, more than {limits.ANCHOR_TICKET_BYTES}")
        self._sent_at = self._clock.monotonic()
        if row.state != SUBMITTED or row.ticket != ticket:
            await self._save(replace(row, ticket=ticket, state=SUBMITTED, why="", cure=""))
        return self._settings.look_s

    async def _look(self, chain: Chain, row: AnchorRow) -> float:
        sight = await self._call(chain.look(_submission(self._origin, row)))
        self._height, place = sight.height, sight.place
        if place is None:
            return await self._nowhere(chain, row)
        self._check_time(row, place)
        self._absent = None
        found = _in_block(replace(row, state=IN_BLOCK, why="", cure=""), place)
        deep = self._height - place.number + 1 >= self._settings.confirmations
        if found != row and not (deep and row.state == FAILED and row == _in_block(row, place)):
            await self._save(found)  # of what cannot be proved as things are, its proof alone is tried again
        return await self._prove(chain, found, place) if deep else self._settings.look_s

    def _check_time(self, row: AnchorRow, place: Place) -> None:
        """LieError for a block that cannot be of now, where the time is known and anybody may show us blocks."""
        now = self._clock.now()
        if self._final or not now.synchronised:
            return
        began_s, now_s, apart_s = row.since_ms / 1000, now.ms / 1000, limits.ANCHOR_APART_S
        if not min(began_s, now_s) - apart_s <= place.time_s <= now_s + apart_s:
            dated = day(place.time_s * 1000)
            raise LieError(f"block {place.number} is dated {dated}, and has what was begun {day(row.since_ms)}")

    async def _nowhere(self, chain: Chain, row: AnchorRow) -> float:
        """No block has it: not yet, or not any more."""
        if row.number is not None:
            if self._final:
                raise LieError(f"block {row.number} is said not to have it any more, on a chain that keeps its blocks")
            await self._back(row)
            return 0.0
        if self._outlived(row):
            raise GoneError("no block took it, for too long: it is given up", cure=_NEXT)
        if self._clock.monotonic() - self._sent_at > limits.ANCHOR_RESEND_S:
            return await self._send(chain, row)
        if row.state != SUBMITTED:
            await self._save(replace(row, state=SUBMITTED, why="", cure=""))
        return self._settings.look_s

    async def _prove(self, chain: Chain, row: AnchorRow, place: Place) -> float:
        submission = _submission(self._origin, row)
        evidence = cbor.encode(await self._call(chain.prove(submission, place, self._settings.confirmations)))
        if len(evidence) > limits.ANCHOR_EVIDENCE_BYTES:
            what = f"its proof has {len(evidence)} bytes, more than {limits.ANCHOR_EVIDENCE_BYTES} that receipts carry"
            raise GoneError(what, cure="Anchor less often, or on a chain with smaller blocks")
        await self._save(replace(row, state=ANCHORED, over=True, evidence=evidence, why="", cure=""))
        return 0.0

    async def _back(self, row: AnchorRow) -> None:
        """The block that it stood in is not the chain's any more: the same bytes are sent again.

        Its evidence proves nothing now. It is kept until there is another: a server may have lied.
        """
        why = f"a reorganisation of the chain took block {row.number} away"
        log.warning("anchor %s: %s; size %d is waiting again", self._name, why, row.size)
        nowhere = replace(row, state=WAITING, over=False, number=None, hash=None, time_s=None)
        await self._save(replace(nowhere, why=why))
        self._back_s = self._clock.monotonic()

    async def _failed(self, why: str, cure: str, *, over: bool, place: Place | None = None) -> None:
        if self._doing is None:
            return
        failed = replace(self._doing, state=FAILED, over=over, why=why, cure=cure)
        if place is not None:
            failed = _in_block(failed, place)
        if failed != self._doing:
            await self._save(failed)

    async def _save(self, row: AnchorRow) -> None:
        await self._journal.save(row)
        self._doing = row
        if self._row is None or row.size >= self._row.size:
            self._row = row
        if row.state == ANCHORED:
            self._anchored = row
        elif self._anchored is not None and row.size == self._anchored.size:
            self._anchored = await self._journal.anchored(self._name)

    async def _call(self, asked: Awaitable[T]) -> T:
        """One of the kind's calls, within its time."""
        try:
            async with asyncio.timeout(limits.ANCHOR_CALL_S):
                return await asked
        except TimeoutError:
            raise UnreachableError("it did not answer in time") from None


def _submission(origin: str, row: AnchorRow) -> Submission:
    place = None
    if row.number is not None and row.hash is not None and row.time_s is not None:
        place = Place(row.number, row.hash, row.time_s)
    return Submission(Statement.of(origin, row.size, row.root), row.data, row.ticket, place)


def _in_block(row: AnchorRow, place: Place) -> AnchorRow:
    return replace(row, number=place.number, hash=place.hash, time_s=place.time_s)
