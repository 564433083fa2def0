"""What the clients of nodes and of witnesses have in common: the loop, the connection, and what went wrong last."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Generic, Protocol, TypeVar

import aiohttp

from gateway import outgoing
from gateway.clock import Clock
from gateway.core import limits
from gateway.core.note import Checkpoint, VerifierKey
from gateway.errors import FormatError, HeldError, Refused, Retry, Stop
from gateway.settings import NodeLink, WitnessLink
from gateway.store import Store
from gateway.upstream import failures
from gateway.upstream.failures import Kinds, NoAuthoritiesError
from gateway.upstream.turns import Turns, Wait, WrongKey

log = logging.getLogger(__name__)

_CURE_NONSENSE = "Check that the url is the {noun}'s, and its keys in the configuration; it is tried again"
_CURE_AGAIN = "Check the {noun}'s url, the network and the {noun}; it is tried again"
_CURE_REPORT = "It is tried again. Report it with the gateway's log"

A = TypeVar("A")
S = TypeVar("S", bound=Turns[Any])


class Random(Protocol):
    """What of random.Random is used."""

    def random(self) -> float:
        """Uniform in [0, 1)."""


class Peer(ABC, Generic[S, A]):
    """One upstream. `run` never ends by itself; only our own faults (Stop) end it. S: its session; A: what it asks for.

    vkey: the log's. kinds: the conditions of this kind of upstream. on_fork is called when it shows a different tree.
    """

    def __init__(
        self,
        name: str,
        link: NodeLink | WitnessLink,
        vkey: VerifierKey,
        store: Store,
        clock: Clock,
        kinds: Kinds,
        *,
        on_fork: Callable[[HeldError], None],
    ) -> None:
        self.name = name
        self._link, self._vkey, self._store, self._clock = link, vkey, store, clock
        self._kinds, self._on_fork = kinds, on_fork
        self._base = link.url.rstrip("/")
        self._id = sha256(vkey.name.encode()).hexdigest()
        self._http: aiohttp.ClientSession | None = None
        self._session: S | None = None
        self._wake = asyncio.Event()
        self._begun = asyncio.Event()  # there is a session
        self._turned = asyncio.Event()  # set after each action: push_until watches it
        self._last_ms: int | None = None
        self._cosigned: float | None = None  # when its newest co-signature came, monotonic
        self._cure = ""
        self._why = kinds.away  # the condition of the last failure
        self._wrong = ""  # SEEN or STORED, where a key did not fit

    # -- what a kind of upstream brings -------------------------------------------------------------------------------

    @abstractmethod
    async def _begin(self) -> S:
        """Its session, with what the store remembers of it."""

    @abstractmethod
    async def _exchange(self, http: aiohttp.ClientSession, now: S, action: A) -> None:
        """Does what the session asks for and tells it what came of it. What it raises is told to a person."""

    @abstractmethod
    def _fork_error(self, now: S) -> HeldError:
        """What it means that it shows another tree."""

    # -- what the gateway sees ----------------------------------------------------------------------------------------

    def _cosigned_s(self) -> float | None:
        """Seconds since the newest co-signature came."""
        return None if self._cosigned is None else round(self._clock.monotonic() - self._cosigned, 3)

    @property
    def proved(self) -> bool:
        """Whether what it shows is signed by this log's own key, and no mere claim."""
        return self._session is not None and self._session.proved

    def ask(self) -> None:
        """Asks it at once, for a person who does not wait for its back-off."""
        if self._session is not None:
            self._session.head(self._store.blocks.size)
            self._session.ask()
            self._wake.set()

    async def push_until(self, deadline: float) -> bool:
        """One last push before a stop, until the monotonic time `deadline`; `run` must be running.

        True when it has everything; False when it failed once more, is held, or the time is over.
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
        """Keeps it in step until cancelled."""
        now = self._session = await self._begin()
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
                await asyncio.sleep(0)  # one that answers at once never starves the loop
        finally:
            if self._http is not None:
                await self._http.close()

    async def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            try:
                tls = await outgoing.authorities(self._link.ca_file)
            except (OSError, ValueError) as error:
                what = f"the certificate authorities in {self._link.ca_file} cannot be read"
                raise NoAuthoritiesError(what, cure="Put the file back, or correct ca_file") from error
            self._http = outgoing.session(tls, timeout(limits.UPSTREAM_REQUEST_S))
        return self._http

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

    async def _act(self, now: S, action: A) -> None:
        """One exchange. Whatever it brings about ends in its session (invariant 9); a Stop goes on up."""
        before, failed = now.trouble, now.failures
        why, cure = self._kinds.answer, _CURE_NONSENSE  # where the session itself finds what does not fit
        try:
            await self._exchange(await self._client(), now, action)
            if now.held:
                self._on_fork(self._fork_error(now))
        except FormatError as error:
            if isinstance(error, WrongKey):
                why, self._wrong = self._kinds.key, error.kind
            now.failed(self._clock.monotonic(), f"its answer is refused: {error.what}")
        except (Refused, Retry) as error:
            now.failed(self._clock.monotonic(), error.what)
            why, cure = failures.condition(error, self._kinds), error.cure or _CURE_AGAIN
        except (aiohttp.ClientError, OSError) as error:
            now.failed(self._clock.monotonic(), outgoing.words(error))
            why, cure = failures.condition(error, self._kinds), _CURE_AGAIN
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            now.failed(self._clock.monotonic(), "the request to it was given up")
            why, cure = self._kinds.away, _CURE_AGAIN
        except Stop:
            raise
        except Exception as error:
            now.failed(self._clock.monotonic(), f"an unexpected error ({type(error).__name__})")
            why, cure = self._kinds.fault, _CURE_REPORT
            log.error("%s %s: an unexpected error", self._kinds.noun, self.name, exc_info=error)
        if now.failures > failed:
            self._why, self._cure = why, cure.replace("{noun}", self._kinds.noun)
        if now.trouble != before:
            log.debug("%s %s: %s", self._kinds.noun, self.name, now.trouble or "answers as it should again")

    async def _shown(self, http: aiohttp.ClientSession, now: Turns[Any]) -> tuple[Checkpoint | None, bytes | None]:
        """Its checkpoint of this log under the log's key, and this log's own root of that size, as far as it has grown
        by the time of the answer: the other side may have that from elsewhere.
        """
        checkpoint = now.signed_by_log(await self._checkpoint(http))
        now.head(self._store.blocks.size)
        if checkpoint is None or checkpoint.size > now.ours:
            return checkpoint, None
        return checkpoint, await self._store.blocks.root(checkpoint.size)

    async def _checkpoint(self, http: aiohttp.ClientSession) -> bytes | None:
        """What it shows of this log (C2SP tlog-witness, monitoring); None where it shows nothing."""
        async with http.get(f"{self._base}/{self._id}/checkpoint", allow_redirects=False) as response:
            data = await bounded(response, limits.NOTE_BYTES)
            return data if response.status == 200 else None


async def bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
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


def timeout(total_s: float) -> aiohttp.ClientTimeout:
    """The times of one request."""
    return aiohttp.ClientTimeout(
        total=total_s, connect=limits.UPSTREAM_CONNECT_S, sock_connect=limits.UPSTREAM_CONNECT_S
    )
