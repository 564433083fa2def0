"""Runs one witness's session over HTTP (C2SP tlog-witness): what witness_session.py decides is done here."""

import logging
from collections.abc import Callable
from typing import Any

import aiohttp

from gateway.clock import RELEASED_MS, Clock, known_s
from gateway.conditions import Condition
from gateway.conditions.witnesses import WITNESS_CLAIM, WITNESS_FORK
from gateway.core import limits, merkle
from gateway.core.note import VerifierKey
from gateway.errors import FormatError, HeldError, NotFoundError
from gateway.settings import WitnessLink
from gateway.store import Store
from gateway.upstream import failures
from gateway.upstream.failures import WITNESS
from gateway.upstream.peer import Peer, Random, bounded
from gateway.upstream.turns import SIZE_TYPE, decode_size
from gateway.upstream.witness_session import Action, Add, WitnessSession, encode_add

log = logging.getLogger(__name__)


class WitnessUpstream(Peer[WitnessSession, Action]):
    """One witness. on_fork is called once when it shows another tree under the log's own key (invariant 4)."""

    def __init__(
        self,
        name: str,
        link: WitnessLink,
        vkey: VerifierKey,
        store: Store,
        clock: Clock,
        rng: Random,
        *,
        on_fork: Callable[[HeldError], None],
    ) -> None:
        super().__init__(name, link, vkey, store, clock, WITNESS, on_fork=on_fork)
        self._key, self._every_s, self._rng = VerifierKey.parse(link.vkey), link.every_s, rng

    async def _begin(self) -> WitnessSession:
        progress = await self._store.cosigned.progress(self.name)
        return WitnessSession(self._vkey, self._key, every_s=self._every_s, rng=self._rng.random, seen=progress.seen)

    # -- what the gateway sees ----------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """For status, as JSON: as a node's, but for what a witness has not.

        condition and values: what is the matter (gateway/conditions/witnesses.py); "" where nothing is.
        """
        now, condition = self._session, self._condition()
        values = {"url": self._link.url, "detail": self._detail()} if condition else {}
        return {
            "url": self._link.url,
            "key": self._key.name,
            "seen": now.seen if now else 0,
            "detail": self._detail(),
            "ok": condition is None,
            "last_ms": self._last_ms,
            "cosigned_s": self._cosigned_s(),
            "cure": condition.problem(self.name, **values).cure if condition else "",
            "condition": condition.id if condition else "",
            "values": values,
        }

    def _condition(self) -> Condition | None:
        now = self._session
        if now is None or not (now.held or now.trouble):
            return None
        if now.held:
            return WITNESS_FORK
        return WITNESS_CLAIM if now.claimed else self._why

    def _detail(self) -> str:
        now = self._session
        if now is None:
            return "not asked yet"
        if now.held:
            return now.held
        if now.trouble:
            return now.trouble
        return "in step" if now.level else f"it has signed {now.seen} of {now.ours}"

    def _fork_error(self, now: WitnessSession) -> HeldError:
        what = f"witness {self.name} shows a different tree: {now.held}"
        return HeldError(what, cure=WITNESS_FORK.cure)

    # -- exchanges ----------------------------------------------------------------------------------------------------

    async def _exchange(self, http: aiohttp.ClientSession, now: WitnessSession, action: Action) -> None:
        if isinstance(action, Add):
            await self._add(http, now, action)
            return
        shown = await self._shown(http, now)
        now.shown(self._clock.monotonic(), *shown)

    async def _add(self, http: aiohttp.ClientSession, now: WitnessSession, add: Add) -> None:
        blocks = self._store.blocks
        own = await blocks.note(add.new)
        if own is None:
            raise NotFoundError(f"this gateway keeps no checkpoint of size {add.new}", cure="Report this")
        ranges = merkle.consistency_ranges(add.old, add.new) if 0 < add.old < add.new else []
        body = encode_add(add.old, await blocks.path(ranges), own[1])
        url, headers = f"{self._base}/add-checkpoint", {"Content-Type": "text/plain; charset=utf-8"}
        async with http.post(url, data=body, headers=headers, allow_redirects=False) as response:
            data = await bounded(response, limits.NOTE_BYTES)
            status, kind = response.status, response.content_type
        if status == 200:
            await self._signed(now, data, own[1])
        elif status == 409 and kind == SIZE_TYPE:
            self._conflict(now, decode_size(data))
        elif status in (409, 422):
            now.refused(f"it answers {status} to the proof from {add.old} to {add.new}")
        else:
            raise failures.refusal(status, WITNESS)

    async def _signed(self, now: WitnessSession, data: bytes, own_note: str) -> None:
        try:
            lines = data.decode()
        except UnicodeDecodeError:
            raise FormatError("lines that are no UTF-8") from None
        line = now.verified(lines, own_note, now_s=known_s(self._clock), earliest_s=RELEASED_MS / 1000)
        await self._store.cosigned.save(self.name, line.kind, line.size, line.note, line.line)
        now.signed(self._clock.monotonic(), line)
        self._cosigned, self._last_ms = self._clock.monotonic(), self._clock.now().ms

    def _conflict(self, now: WitnessSession, size: int) -> None:
        if size < now.seen:
            log.warning("witness %s has forgotten what it signed: size %d after %d", self.name, size, now.seen)
        now.conflict(self._clock.monotonic(), size)
