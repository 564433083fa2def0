"""Runs one node's session over HTTP: what session.py decides is done here, and what comes of it is told back."""

import asyncio
import logging
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from hashlib import sha256
from typing import Any, Protocol

import aiohttp

from gateway import __version__
from gateway.clock import Clock
from gateway.conditions import NODE_AWAY, Condition
from gateway.conditions.nodes import (
    NODE_ANSWER,
    NODE_FALLEN,
    NODE_FAULT,
    NODE_FORK,
    NODE_KEY,
)
from gateway.core import limits
from gateway.core.note import VerifierKey
from gateway.errors import (
    FieldgateError,
    FormatError,
    HeldError,
    NotFoundError,
    Refused,
    Retry,
    Stop,
    StoreError,
)
from gateway.settings import NodeLink
from gateway.store import Store
from gateway.upstream import failures, session
from gateway.upstream.failures import NoAuthoritiesError
from gateway.upstream.session import Answer, Ask, Session, Sync, Upload, Verified, Wait, WrongKey

log = logging.getLogger(__name__)

_KEEPALIVE_S = 5.0  # shorter than a server's: a request never goes out on a connection that is being closed
_CURE_FORK = (
    "Find and stop whoever else signs with this key, and keep the node's evidence. `fieldgate recover` tells what to "
    "do here (docs/operations.md, Signing is held)"
)
_CURE_NONSENSE = "Check that the url is the node's, and its keys in the configuration; it is tried again"
_CURE_AGAIN = "Check the node's url, the network and the node; it is tried again"
_CURE_REPORT = "It is tried again. Report it with the gateway's log"


class Random(Protocol):
    """What of random.Random is used."""

    def random(self) -> float:
        """Uniform in [0, 1)."""


class Upstream:
    """One node. `run` never ends by itself; only our own faults (Stop) end it.

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
        self.name = name
        self._link, self._vkey, self._store, self._clock, self._rng = link, vkey, store, clock, rng
        self._on_fork = on_fork
        whole = tuple(link.share) == ("*",)
        self._seen_key = VerifierKey.parse(link.seen_key)
        self._stored_key = VerifierKey.parse(link.stored_key) if link.stored_key and whole else None
        self._may_upload = link.upload and whole  # a body with withheld items never fills a want (section 7)
        self._base = link.url.rstrip("/")
        self._id = sha256(vkey.name.encode()).hexdigest()
        self._http: aiohttp.ClientSession | None = None
        self._session: Session | None = None
        self._wake = asyncio.Event()
        self._begun = asyncio.Event()  # there is a session
        self._turned = asyncio.Event()  # set after each action: push_until watches it
        self._last_ms: int | None = None
        self._cosigned: float | None = None  # when its newest co-signature came, monotonic
        self._cure = ""
        self._why = NODE_AWAY  # the condition of the last failure
        self._field = "seen_key"  # the key that did not fit, where that is it

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
            "cosigned_s": None if self._cosigned is None else round(self._clock.monotonic() - self._cosigned, 3),
            "cure": self._told_cure(now) if now else "",
            "condition": condition.id if condition else "",
            "values": self._values(now) if now and condition else {},
        }

    def _condition(self, now: Session) -> Condition | None:
        if now.held:
            return NODE_FORK
        if now.fallen:
            return NODE_FALLEN
        return self._why if now.trouble else None

    def _values(self, now: Session) -> dict[str, str]:
        return {
            "url": self._link.url,
            "field": self._field,
            "detail": now.held or now.fallen or now.trouble,
        }

    @property
    def proved(self) -> bool:
        """Whether what the node shows is signed by this log's own key, and no mere claim."""
        return self._session is not None and self._session.proved

    def _told_cure(self, now: Session) -> str:
        if now.held:
            return _CURE_FORK
        if now.fallen:
            return "Ask the node's operator; bodies that are still here are sent again"
        return self._cure if now.trouble else ""

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
        return "in step"

    def ask(self) -> None:
        """Asks the node at once, for a person who does not wait for its back-off."""
        if self._session is not None:
            self._session.head(self._store.blocks.size)
            self._session.ask()
            self._wake.set()

    async def push_until(self, deadline: float) -> bool:
        """One last push before a stop, until the monotonic time `deadline`; `run` must be running.

        True when the node has everything; False when it failed once more, is held, or the time is over.
        """
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
                await self._begun.wait()
                now = self._session
                if now is None:
                    return False
                now.head(self._store.blocks.size)
                now.hurry()
                failures = now.failures
                self._wake.set()
                while not (now.level or now.held or now.failures > failures):
                    self._turned.clear()
                    await self._turned.wait()
        except TimeoutError:
            return False
        return now.level

    # -- the loop -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keeps the node in step until cancelled."""
        progress = await self._store.cosigned.progress(self.name)
        now = self._session = Session(
            self._vkey,
            self._seen_key,
            self._stored_key,
            may_upload=self._may_upload,
            rng=self._rng.random,
            seen=progress.seen,
            stored=progress.stored,
        )
        self._begun.set()
        try:
            while True:
                now.head(self._store.blocks.size)
                action = now.next(self._clock.monotonic())
                if isinstance(action, Wait):
                    await self._pause(action, now.ours)
                    continue
                await self._act(now, action)
                self._turned.set()
                await asyncio.sleep(0)  # a node that answers at once never starves the loop
        finally:
            if self._http is not None:
                await self._http.close()

    async def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=1, ssl=await self._tls(), keepalive_timeout=_KEEPALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"fieldgate/{__version__}", "Accept-Encoding": "identity"},
                timeout=_timeout(limits.UPSTREAM_REQUEST_S),
                auto_decompress=False,
                trust_env=False,
            )
        return self._http

    async def _tls(self) -> ssl.SSLContext | bool:
        if not self._link.ca_file:
            return True
        try:
            return await asyncio.to_thread(ssl.create_default_context, cafile=self._link.ca_file)
        except (OSError, ValueError) as error:
            what = f"the certificate authorities in {self._link.ca_file} cannot be read"
            raise NoAuthoritiesError(what, cure="Put the file back, or correct ca_file") from error

    async def _pause(self, wait: Wait, ours: int) -> None:
        timeout = None if wait.until is None else max(0.0, wait.until - self._clock.monotonic())
        signs: list[asyncio.Task[object]] = [asyncio.create_task(self._wake.wait())]
        if wait.for_head:
            signs.append(asyncio.create_task(self._store.blocks.wait_beyond(ours)))
        try:
            done, _ = await asyncio.wait(signs, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for sign in done:
                sign.result()
        finally:
            for sign in signs:
                sign.cancel()
            await asyncio.gather(*signs, return_exceptions=True)
        self._wake.clear()

    async def _act(self, now: Session, action: Sync | Upload | Ask) -> None:
        """One exchange. Whatever one node brings about ends in its session (invariant 9); a Stop goes on up."""
        before, failed = now.trouble, now.failures
        why, cure = NODE_ANSWER, _CURE_NONSENSE  # where the session itself finds what does not fit
        try:
            http = await self._client()
            if isinstance(action, Sync):
                await self._sync(http, now, action)
            elif isinstance(action, Upload):
                await self._upload(http, now, action)
            else:
                now.shown(self._clock.monotonic(), await self._checkpoint(http))
            self._report_fork(now)
        except FormatError as error:
            if isinstance(error, WrongKey):
                why, self._field = NODE_KEY, f"{error.kind}_key"
            now.failed(self._clock.monotonic(), f"its answer is refused: {error.what}")
        except (Refused, Retry) as error:
            now.failed(self._clock.monotonic(), error.what)
            why, cure = failures.condition(error), error.cure or _CURE_AGAIN
        except (aiohttp.ClientError, OSError) as error:
            now.failed(self._clock.monotonic(), failures.words(error))
            why, cure = failures.condition(error), _CURE_AGAIN
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            now.failed(self._clock.monotonic(), "the request to it was given up")
            why, cure = NODE_AWAY, _CURE_AGAIN
        except Stop:
            raise
        except Exception as error:
            now.failed(self._clock.monotonic(), f"an unexpected error ({type(error).__name__})")
            why, cure = NODE_FAULT, _CURE_REPORT
            log.error("node %s: an unexpected error", self.name, exc_info=error)
        if now.failures > failed:
            self._why, self._cure = why, cure
        if now.trouble != before:
            log.debug("node %s: %s", self.name, now.trouble or "answers as it should again")

    def _report_fork(self, now: Session) -> None:
        if now.held:
            self._on_fork(HeldError(f"node {self.name} shows a different tree: {now.held}", cure=_CURE_FORK))

    # -- exchanges ----------------------------------------------------------------------------------------------------

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
            data = await _bounded(response, limits.SYNC_RESPONSE_BYTES)
            status, kind = response.status, response.content_type
        moment = self._clock.monotonic()
        if status == 200:
            await self._answered(now, data, own[1])
        elif status == 409 and kind == session.SYNC_SIZE_TYPE:
            now.conflict(moment, session.decode_size(data))
        elif status in (409, 422):
            now.fork(f"it answers {status} to the entries {sync.old} to {sync.new}")
        else:
            raise failures.refusal(status)

    async def _answered(self, now: Session, data: bytes, own_note: str) -> None:
        answer = session.decode_answer(data)
        stored = await self._store.blocks.note(answer.stored_size) if answer.stored_size else None
        lines = now.verified(answer, own_note, stored[1] if stored else None)
        await self._save(answer, lines)
        now.answered(self._clock.monotonic(), answer, lines)
        if lines:
            self._cosigned = self._clock.monotonic()
        if not now.trouble:
            self._last_ms = self._clock.now().ms

    async def _save(self, answer: Answer, lines: Sequence[Verified]) -> None:
        """Makes durable what the answer says before anything counts on it: less is held first, more last."""
        cosigned = self._store.cosigned
        if self._stored_key is not None:
            await cosigned.fell(self.name, answer.stored_size or 0)
            if answer.wants:
                await cosigned.wanted(self.name, answer.wants[0][0])
        for line in lines:
            await cosigned.save(self.name, line.kind, line.size, line.note, line.line)

    async def _checkpoint(self, http: aiohttp.ClientSession) -> bytes | None:
        async with http.get(f"{self._base}/{self._id}/checkpoint", allow_redirects=False) as response:
            data = await _bounded(response, limits.NOTE_BYTES)
            return data if response.status == 200 else None

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
            raise failures.refusal(status)

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
                    timeout=_timeout(limits.UPLOAD_REQUEST_S),
                ) as response:
                    await _bounded(response, limits.SYNC_RESPONSE_BYTES)
                    return response.status
            except aiohttp.ClientError:
                if broken:
                    raise broken[0] from None
                raise


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


async def _bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The answer's body. Raises FormatError where it is larger than `most` bytes."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise FormatError("it answers with an encoding that was not asked for")
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > most:
            response.close()
            raise FormatError(f"it answers with more than {most} bytes")
    return bytes(data)


def _timeout(total_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=total_s, connect=limits.UPSTREAM_CONNECT_S, sock_connect=limits.UPSTREAM_CONNECT_S
    )
