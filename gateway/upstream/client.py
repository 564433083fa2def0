"""Runs one node's session over HTTP: what session.py decides is done here, and what comes of it is told back."""

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import aiohttp

from gateway import outgoing
from gateway.clock import Clock
from gateway.conditions import Condition
from gateway.conditions.nodes import NODE_ANCHOR, NODE_FALLEN, NODE_FORK
from gateway.core import limits
from gateway.core.anchor_row import AnchorRow
from gateway.core.note import VerifierKey
from gateway.errors import FieldgateError, FormatError, HeldError, NotFoundError, StoreError, StoreFullError
from gateway.settings import NodeLink
from gateway.store import Store
from gateway.upstream import failures, fleet, session
from gateway.upstream.failures import NODE
from gateway.upstream.peer import Peer, Random, bounded, timeout
from gateway.upstream.session import Action, Answer, Session, Sync, Upload
from gateway.upstream.turns import SEEN, SIZE_TYPE, Verified, decode_size

log = logging.getLogger(__name__)

_CURE_FORK = (
    "Find and stop whoever else signs with this key, and keep the node's evidence. `fieldgate recover` tells what to "
    "do here (docs/operations.md, Signing is held)"
)


class Upstream(Peer[Session, Action]):
    """One node.

    vkey: the log's. on_fork is called once when the node shows a different tree: signing is held then (invariant 4).
    """

    def __init__(
        self,
        name: str,
        link: NodeLink,
        vkey: VerifierKey,
        store: Store,
        clock: Clock,
        rng: Random,
        *,
        on_fork: Callable[[HeldError], None],
    ) -> None:
        super().__init__(name, link, vkey, store, clock, NODE, on_fork=on_fork)
        self._rng = rng
        whole = tuple(link.share) == ("*",)
        self._seen_key = VerifierKey.parse(link.seen_key)
        self._stored_key = VerifierKey.parse(link.stored_key) if link.stored_key and whole else None
        self._fleets: tuple[int, ...] = ()  # the anchors whose parts were looked at
        self._given: dict[str, AnchorRow] = {}  # its newest anchors of this log, by name
        self._refused, self._refused_why = 0, ""  # parts of anchors
        self._may_upload = link.upload and whole  # a body with withheld items never fills a want (section 7)

    async def _begin(self) -> Session:
        key = str(self._stored_key) if self._stored_key else None
        progress = await self._store.cosigned.progress(self.name, key)
        self._given = {row.name: row for row in await self._store.anchors.newest_of(fleet.prefix(self.name))}
        return Session(
            self._vkey,
            self._seen_key,
            self._stored_key,
            may_upload=self._may_upload,
            rng=self._rng.random,
            seen=progress.seen,
            stored=progress.stored,
        )

    # -- what the gateway sees ----------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """For status, as JSON: url, sizes, one line of detail, ok, the time of the last good answer, the cure, and the
        seconds since the newest co-signature came.

        condition and values: what is the matter (gateway/conditions/nodes.py); "" where nothing is.
        """
        now = self._session
        condition = self._condition(now) if now else None
        return {
            "url": self._link.url,
            "entries": now.entries if now else 0,
            "seen": now.seen if now else 0,
            "stored": now.stored if now else 0,
            "detail": self._detail(),
            "ok": not (now and (now.held or now.fallen or now.trouble)),
            "last_ms": self._last_ms,
            "cosigned_s": self._cosigned_s(),
            "anchors_refused": self._refused,
            "cure": self._told_cure(now) if now else "",
            "condition": condition.id if condition else "",
            "values": self._values(now) if now and condition else {},
        }

    def anchors(self) -> dict[str, dict[str, Any]]:
        """The anchors that it has handed over, by name, as status has those of one's own."""
        return {name: fleet.told(row) for name, row in self._given.items()}

    def _condition(self, now: Session) -> Condition | None:
        if now.held:
            return NODE_FORK
        if now.fallen:
            return NODE_FALLEN
        if now.trouble:
            return self._why
        return NODE_ANCHOR if self._refused_why else None

    def _values(self, now: Session) -> dict[str, str]:
        return {
            "url": self._link.url,
            "field": f"{self._wrong or SEEN}_key",
            "detail": now.held or now.fallen or now.trouble or self._refused_why,
        }

    def _told_cure(self, now: Session) -> str:
        if now.held:
            return _CURE_FORK
        if now.fallen:
            return "Ask the node's operator; bodies that are still here are sent again"
        if now.trouble:
            return self._cure
        return "Ask the node's operator" if self._refused_why else ""

    def _detail(self) -> str:
        now = self._session
        if now is None:
            return "not asked yet"
        if now.held:
            return f"signing is held: {now.held}"
        if now.fallen or now.trouble:
            return now.fallen or now.trouble
        if now.entries < now.ours:
            return f"sending headers: {now.entries} of {now.ours}"
        if now.remark:
            return now.remark
        if now.wants:
            left = sum(hi - lo for lo, hi in now.wants)
            return f"it wants {left} block{'s' if left != 1 else ''}"
        if self._refused_why:
            return f"{self._refused_why}: refused ({self._refused} so far)"
        return "in step"

    def _fork_error(self, now: Session) -> HeldError:
        return HeldError(f"node {self.name} shows a different tree: {now.held}", cure=_CURE_FORK)

    # -- exchanges ----------------------------------------------------------------------------------------------------

    async def _exchange(self, http: aiohttp.ClientSession, now: Session, action: Action) -> None:
        if isinstance(action, Sync):
            await self._sync(http, now, action)
        elif isinstance(action, Upload):
            await self._upload(http, now, action)
        else:
            shown = await self._shown(http, now)
            now.shown(self._clock.monotonic(), *shown)

    async def _sync(self, http: aiohttp.ClientSession, now: Session, sync: Sync) -> None:
        blocks = self._store.blocks
        own = await blocks.note(sync.new)
        if own is None:
            raise NotFoundError(f"this gateway keeps no checkpoint of size {sync.new}", cure="Report this")
        entries = await blocks.entries(sync.old, sync.new - sync.old) if sync.new > sync.old else []
        body = session.encode_sync(sync.old, entries, own[1])
        url = f"{self._base}/v1/logs/{self._id}/sync"
        headers = {"Content-Type": "application/cbor"}
        async with http.post(url, data=body, headers=headers, allow_redirects=False) as response:
            data = await bounded(response, limits.SYNC_RESPONSE_BYTES)
            status, kind = response.status, response.content_type
        moment = self._clock.monotonic()
        if status == 200:
            answer = await self._answered(now, data, own[1])
            if answer.fleets != self._fleets:
                await self._take_anchors(http, answer.fleets)
        elif status == 409 and kind == SIZE_TYPE:
            now.conflict(moment, decode_size(data))
        elif status in (409, 422):
            now.fork(f"it answers {status} to the entries {sync.old} to {sync.new}")
        else:
            raise failures.refusal(status, NODE)

    async def _answered(self, now: Session, data: bytes, own_note: str) -> Answer:
        answer = session.decode_answer(data)
        stored = await self._store.blocks.note(answer.stored_size) if answer.stored_size else None
        lines = now.verified(answer, own_note, stored[1] if stored else None)
        await self._save(answer, lines)
        now.answered(self._clock.monotonic(), answer, lines)
        if lines:
            self._cosigned = self._clock.monotonic()
        if not now.trouble:
            self._last_ms = self._clock.now().ms
        return answer

    async def _take_anchors(self, http: aiohttp.ClientSession, numbers: tuple[int, ...]) -> None:
        """This log's parts of the node's anchors. What comes of them stops nothing else; they are asked for again."""
        most = limits.RECEIPT_ANCHORS * (limits.ANCHOR_EVIDENCE_BYTES + limits.FLEET_PART_BYTES)
        try:
            async with http.get(f"{self._base}/{self._id}/fleet", allow_redirects=False) as response:
                data = await bounded(response, most)
                if response.status not in (200, 404):
                    return
                self._refused_why = ""
                parts = fleet.decode_parts(data) if response.status == 200 else []
        except FormatError as error:
            parts = []
            self._refuse(error)
        except (aiohttp.ClientError, OSError) as error:
            log.debug("node %s: its anchors cannot be had: %s", self.name, outgoing.words(error))
            return
        for part in parts:
            try:
                row = await fleet.take(self._store, self.name, part, self._clock.now().ms)
            except FormatError as error:
                self._refuse(error)
            except StoreFullError:
                return  # disk-full tells
            else:
                if row is not None:
                    self._given[row.name] = row
                    log.info("node %s: size %d is anchored in block %s of %s", *_told(self.name, row))
        self._fleets = numbers

    def _refuse(self, error: FormatError) -> None:
        self._refused += 1
        self._refused_why = error.what
        log.warning("node %s: %s: refused, %d so far", self.name, error.what, self._refused)

    async def _save(self, answer: Answer, lines: Sequence[Verified]) -> None:
        """Makes durable what the answer says before anything counts on it: less is held first, more last."""
        cosigned = self._store.cosigned
        if self._stored_key is not None:
            await cosigned.recognise(self.name, str(self._stored_key))
            await cosigned.fell(self.name, answer.stored_size or 0)
            if answer.wants:
                await cosigned.wanted(self.name, answer.wants[0][0])
        for line in lines:
            await cosigned.save(self.name, line.kind, line.size, line.note, line.line)

    async def _upload(self, http: aiohttp.ClientSession, now: Session, upload: Upload) -> None:
        height = await self._sendable(now, upload.height)
        if height is None:
            return
        try:
            status = await self._put(http, height)
        except NotFoundError:  # pruned since then: it is looked at anew
            now.lacking(height, height + 1, f"it wants block {height}, whose readings are not here any more")
            return
        except StoreError as error:  # a damaged block is no reason to end the process: it would be asked for again
            log.error("block %d cannot be sent to node %s: %s", height, self.name, error)
            now.skipped(height, f"block {height} cannot be read here: {error.what}")
            return
        if 200 <= status < 300:
            now.uploaded(height)
        elif status in (404, 409):
            now.skipped(height, f"it does not take block {height} (status {status})")
        else:
            if 400 <= status < 500 and status != 429:
                now.skipped(height, f"it refuses block {height} (status {status})")
            raise failures.refusal(status, NODE)

    async def _sendable(self, now: Session, height: int) -> int | None:
        """The block to send where the node wants this one; None where it is passed over, with those after it."""
        blocks = self._store.blocks
        block = await blocks.block(height)
        if block is not None and block.secret is not None:
            return height
        gone = await blocks.gone(height)
        if gone is None:
            end = await blocks.next_here(height)
            now.lacking(height, end, f"it wants block {height}, whose readings are not here any more")
            return None
        if any(low <= gone.loss < high for low, high in now.wants):
            return gone.loss  # a node takes no block for gone before it holds the reading that says so
        return height

    async def _put(self, http: aiohttp.ClientSession, height: int) -> int:
        """PUTs a body, compressed as it streams. Each chunk that the node takes gives it more time."""
        broken: list[FieldgateError] = []
        url = f"{self._base}/v1/logs/{self._id}/blocks/{height}"
        headers = {"Content-Type": "application/cbor", "Content-Encoding": "deflate"}
        async with asyncio.timeout(limits.UPLOAD_STALL_S) as patience:
            try:
                async with http.put(
                    url,
                    data=_deflated(self._store.blocks.told_chunks(height), patience, broken),
                    headers=headers,
                    allow_redirects=False,
                    timeout=timeout(limits.UPLOAD_REQUEST_S),
                ) as response:
                    await bounded(response, limits.SYNC_RESPONSE_BYTES)
                    return response.status
            except aiohttp.ClientError:
                if broken:
                    raise broken[0] from None
                raise


def _told(name: str, row: AnchorRow) -> tuple[str, int, int | None, str]:
    return name, row.size, row.number, row.chain


async def _deflated(
    body: AsyncIterator[bytes], patience: asyncio.Timeout, broken: list[FieldgateError]
) -> AsyncIterator[bytes]:
    """The zlib form of a body, a journal row at a time, compressed in a thread."""
    packer = zlib.compressobj(1)
    loop = asyncio.get_running_loop()
    try:
        async for chunk in body:
            data = await asyncio.to_thread(packer.compress, chunk)
            if data:
                patience.reschedule(loop.time() + limits.UPLOAD_STALL_S)
                yield data
    except FieldgateError as error:  # the client library would hide whose fault it is
        broken.append(error)
        raise
    yield packer.flush()
