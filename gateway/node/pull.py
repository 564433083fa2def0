"""Follows a gateway that the node can reach (docs/format.md, section 9): checkpoint, entries, wanted bodies.

One task a gateway. Nothing it answers is believed before it is verified, and whatever it does, slow, wrong or endless,
costs that gateway's own place only: sizes and times are bounded, and every fault is followed by a back-off.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from yarl import URL

from gateway import httpsig
from gateway.core import limits, tiles
from gateway.core.note import parse_checkpoint, parse_note, verify_note
from gateway.errors import FieldgateError, FormatError, Refused, Retry, UnreachableError
from gateway.keys import Signer
from gateway.node import bodies
from gateway.node.bodies import Budget, Inflater
from gateway.node.ledger import Answer, Ledger

log = logging.getLogger(__name__)

_BACKOFF_FIRST_S = 1.0
_CONNECT_S = 10.0
_STALL_S = 20.0
_AGAIN_S = 60.0  # before a body that was no use is asked for again
_PASSED_OVER = 4_096  # heights remembered for that
_BODIES_A_LOOK = 64  # before the checkpoint is looked at again
_PAUSE_LEAST_S = 0.05
_CODINGS = {"": False, "identity": False, "deflate": True}


class Random(Protocol):
    """What of random.Random is used."""

    def random(self) -> float:
        """Uniform in [0, 1)."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A response with status 200 or 404, read whole."""

    status: int
    data: bytes


class Remote:
    """GETs to one gateway or node, signed where there is a signer. `now`: Unix seconds. `enrol`: the cure of a 401."""

    def __init__(
        self,
        url: str,
        signer: Signer | None,
        now: Callable[[], float],
        budget: Budget,
        ca_file: str,
        *,
        enrol: str = "Enrol the node's read_key at the gateway",
    ) -> None:
        self._url = URL(url.rstrip("/"))
        self._signer = signer
        self._now = now
        self._budget = budget
        self._ca_file = ca_file
        self._enrol = enrol
        self._http: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Ends the connection."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def get(self, path: str, most: int, *, whole_s: float = limits.PULL_REQUEST_S) -> Fetched:
        """A resource of at most `most` bytes. UnreachableError, or FormatError for what section 9 does not describe."""
        try:
            async with asyncio.timeout(whole_s):
                return await self._signed(path, most)
        except TimeoutError as error:
            raise UnreachableError(f"{path}: no whole answer within {whole_s:.0f} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnreachableError(f"{path}: {error or type(error).__name__}") from error

    async def _signed(self, path: str, most: int) -> Fetched:
        url = URL(f"{self._url}/{path}", encoded=True)
        authority, target = url.host_port_subcomponent or "", url.raw_path
        headers: dict[str, str] = {}
        if self._signer is not None:
            headers = httpsig.sign_now(self._signer, "GET", authority, target, now=self._now())
        status, data, challenge = await self._get(url, headers, most)
        nonce = httpsig.challenge_nonce(challenge) if status == 401 else None
        if nonce is not None and self._signer is not None:  # its clock is not synchronised
            headers = httpsig.sign(self._signer, "GET", authority, target, nonce=nonce)
            status, data, _ = await self._get(url, headers, most)
        if status in (401, 403):
            raise UnreachableError("it does not take our read key", cure=self._enrol)
        if status not in (200, 404):
            raise UnreachableError(f"{path}: it answers {status}")
        return Fetched(status, data)

    async def _get(self, url: URL, headers: dict[str, str], most: int) -> tuple[int, bytes, str]:
        http = await self._client()
        async with http.get(url, headers=headers, allow_redirects=False) as response:
            challenge = response.headers.get("Accept-Signature", "")
            if response.status != 200:
                return response.status, b"", challenge
            return 200, await self._read(response, most), challenge

    async def _read(self, response: aiohttp.ClientResponse, most: int) -> bytes:
        deflate = _CODINGS.get(response.headers.get("Content-Encoding", "").lower())
        if deflate is None:
            raise FormatError("it uses a content encoding that was not asked for")
        inflater = Inflater(self._budget, deflate=deflate, most=most)
        try:
            async for chunk in response.content.iter_any():
                await asyncio.to_thread(inflater.feed, chunk)
            return await asyncio.to_thread(inflater.finish)
        finally:
            inflater.close()

    async def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            tls: ssl.SSLContext | bool = True
            if self._ca_file:
                tls = await asyncio.to_thread(ssl.create_default_context, cafile=self._ca_file)
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=2, ssl=tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "deflate"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_STALL_S),
                auto_decompress=False,
                trust_env=False,
            )
        return self._http


class Puller:
    """Keeps one log in step with its gateway until cancelled."""

    def __init__(self, name: str, remote: Remote, ledger: Ledger, rng: Random, every_s: float) -> None:
        self.name = name
        self._remote = remote
        self._ledger = ledger
        self._rng = rng
        self._every_s = every_s
        self._failures = 0
        self._said = ""
        self._not_before: dict[int, float] = {}  # heights whose body was no use -> monotonic time to ask again

    async def run(self) -> None:
        """Looks again and again. Ends only when it is cancelled or the store fails (Stop)."""
        try:
            while True:
                pause_s = await self._turn()
                await asyncio.sleep(pause_s)
        finally:
            await self._remote.close()

    async def _turn(self) -> float:
        """One look; seconds until the next one."""
        try:
            more = await self.look()
        except (Refused, Retry) as error:
            self._say(error)
            most: float = min(limits.PULL_BACKOFF_S, _BACKOFF_FIRST_S * 2 ** min(self._failures, 16))
            self._failures += 1
            return max(self._rng.random() * most, _PAUSE_LEAST_S)
        if self._said:
            log.info("gateway %s: in step again", self.name)
        self._said, self._failures = "", 0
        return 0.0 if more else self._every_s

    def _say(self, error: FieldgateError) -> None:
        if str(error) != self._said:
            log.warning("gateway %s: %s", self.name, error)
            self._said = str(error)

    async def look(self) -> bool:
        """Takes what is new: entries up to the gateway's checkpoint, then bodies that are wanted. Is there more?"""
        if (await self._ledger.head()).frozen:
            return False
        try:
            followed = await self._follow()
        except FormatError:
            if self._ledger.frozen_at is not None:  # what is below it is as good as ever
                await self._bodies()
            raise
        return followed and await self._bodies()

    # Entries

    async def _follow(self) -> bool:
        """False where the gateway has no checkpoint yet."""
        fetched = await self._remote.get("checkpoint", limits.NOTE_BYTES)
        if fetched.status == 404:
            return False
        note = parse_note(fetched.data)
        verify_note(note, self._ledger.vkey)
        checkpoint = parse_checkpoint(note.text)
        if checkpoint.origin != self._ledger.vkey.name:
            raise FormatError("the checkpoint is of another log")
        head = await self._ledger.head()
        if checkpoint.size < head.size or (checkpoint.size == head.size and checkpoint.root != head.frontier.root()):
            return self._told(await self._ledger.follow(note.encode(), (), checkpoint.size, last=True), checkpoint.size)
        if checkpoint.size == head.size <= head.witnessed.size:
            return True
        old = head.size
        while True:
            entries = await self._entries(old, checkpoint.size)
            last = old + len(entries) == checkpoint.size
            answer = await self._ledger.follow(note.encode(), entries, old, last=last)
            if not self._told(answer, old) or last:
                return True
            old += len(entries)

    def _told(self, answer: Answer, size: int) -> bool:
        """Whether what was fetched was taken. 409: the log moved meanwhile, or the gateway is behind."""
        if answer.status == 200:
            return True
        if answer.status == 409:
            log.debug("gateway %s: its size %d is not the node's", self.name, size)
            return False
        raise FormatError(f"what it serves is refused: {answer.body.decode(errors='replace')}")

    async def _entries(self, old: int, size: int) -> list[bytes]:
        """At most SYNC_ENTRIES entries from height `old` on, of a log of `size`."""
        entries: list[bytes] = []
        stop = min(size, old + limits.SYNC_ENTRIES)
        while old + len(entries) < stop:
            at = old + len(entries)
            n = at // tiles.WIDTH
            width = tiles.width_at(size, 0, n)
            fetched = await self._remote.get(tiles.entries_path(n, width), limits.PULL_BUNDLE_BYTES)
            if fetched.status == 404 and width < tiles.WIDTH:  # it may have grown into a full one
                fetched = await self._remote.get(tiles.entries_path(n), limits.PULL_BUNDLE_BYTES)
            bundle = tiles.decode_bundle(fetched.data)
            if len(bundle) < width:
                raise FormatError(f"the bundle of entry {at} is not there or too short")
            entries += bundle[at - n * tiles.WIDTH : min(width, stop - n * tiles.WIDTH)]
        return entries

    # Bodies

    async def _bodies(self) -> bool:
        """Fetches some of what is wanted, the oldest first. True where more is to be had at once."""
        asked = 0
        for low, high in await self._ledger.wants():
            for height in range(low, high):
                if self._not_before.get(height, 0.0) > time.monotonic():
                    continue
                if asked == _BODIES_A_LOOK:
                    return True
                asked += 1
                if not await self._body(height):
                    return False
        return False

    async def _body(self, height: int) -> bool:
        """Fetches a body. False where nothing more can be taken now."""
        refused = await self._ledger.judge_height(height)
        if refused is not None:
            return refused.status < 500 and refused.status != 422
        fetched = await self._remote.get(f"blocks/{height}", limits.BODY_BYTES, whole_s=limits.NODE_UPLOAD_S)
        if fetched.status == 404:
            self._pass_over(height)
            return True
        answer = await self._ledger.take_body(height, fetched.data)
        if answer.status == 409 and await self._loss_first(height, fetched.data):
            answer = await self._ledger.take_body(height, fetched.data)
        if answer.status != 204:
            self._pass_over(height)
        if answer.status == 400:
            raise FormatError(f"body {height} is refused: {answer.body.decode(errors='replace')}")
        return True

    async def _loss_first(self, height: int, data: bytes) -> bool:
        """Fetches the block that tells of a block's loss, where it is a later one that is wanted itself."""
        loss = await asyncio.to_thread(bodies.loss_height, data)
        if loss is None or loss <= height or await self._ledger.judge_height(loss) is not None:
            return False
        told = await self._remote.get(f"blocks/{loss}", limits.BODY_BYTES, whole_s=limits.NODE_UPLOAD_S)
        return told.status == 200 and (await self._ledger.take_body(loss, told.data)).status == 204

    def _pass_over(self, height: int) -> None:
        """Asks for this body again only after a while, so that the others have their turn."""
        if len(self._not_before) >= _PASSED_OVER:
            self._not_before.pop(next(iter(self._not_before)))
        self._not_before[height] = time.monotonic() + _AGAIN_S
