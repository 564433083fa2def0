"""A node's HTTP: sync, bodies, add-checkpoint, monitoring, and section 9's paths to those who may read a log.

Every answer has its exact status and a short text. What a stranger can make this process do is bounded: connections,
header and body sizes, times, bodies in memory (core/limits.py, NODE_*).
"""

import asyncio
import contextlib
import hashlib
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.core import limits
from gateway.errors import AuthError, ConflictError, FormatError, NotFoundError, Refused, Retry, Stop, StoreFullError
from gateway.httpsig import Checker, split_target
from gateway.node import log as judge
from gateway.node.bodies import Budget, Inflater
from gateway.node.ledger import CBOR, Answer, Ledger, answer, log_id
from gateway.node.log import Refusal
from gateway.node.reader import Reader, Served

log = logging.getLogger(__name__)

_LOG = r"{log:[0-9a-f]{64}}"
_HEIGHT = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_ENCODINGS = {"": False, "identity": False, "deflate": True}


@dataclass(frozen=True, slots=True)
class Shelf:
    """One log as the server sees it. checker: whose signed requests may read it."""

    ledger: Ledger
    reader: Reader
    checker: Checker


class _Turned(Exception):
    """An answer to give at once."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class NodeServer:
    """The application over the logs that are enrolled. `broken` fails when the process must end (Stop)."""

    def __init__(self, shelves: Mapping[str, Shelf], parts: Callable[[str], bytes | None] = lambda _: None) -> None:
        """parts: a log's parts of anchors (fleet.py). Like its checkpoint they are for everybody."""
        self._shelves, self._parts = shelves, parts
        self.budget = Budget()
        self._uploads: Counter[str] = Counter()
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.app = web.Application(middlewares=[self._guard()])
        self.app.router.add_post("/add-checkpoint", self._add_checkpoint)
        self.app.router.add_get(f"/{_LOG}/checkpoint", self._witnessed, allow_head=False)
        self.app.router.add_get(f"/{_LOG}/fleet", self._fleet, allow_head=False)
        self.app.router.add_post(f"/v1/logs/{_LOG}/sync", self._sync)
        self.app.router.add_put(f"/v1/logs/{_LOG}/blocks/{{height}}", self._put_body)
        self.app.router.add_get(f"/v1/logs/{_LOG}/{{path:.+}}", self._read, allow_head=False)

    # Handlers

    async def _sync(self, request: web.Request) -> web.StreamResponse:
        ledger = self._shelf(request).ledger
        if request.content_type != CBOR:
            raise _Turned(Answer(415, b"a sync request is application/cbor"))
        data = await _read_body(request, limits.SYNC_REQUEST_BYTES)
        return _response(await ledger.sync(data))

    async def _add_checkpoint(self, request: web.Request) -> web.StreamResponse:
        asked = judge.read_add_checkpoint(await _read_body(request, limits.ADD_CHECKPOINT_BYTES))
        if isinstance(asked, Refusal):
            return _response(answer(asked))
        shelf = self._shelves.get(log_id(asked.checkpoint.origin))
        if shelf is None:
            raise NotFoundError("this log is not known here")
        return _response(await shelf.ledger.add_checkpoint(asked))

    async def _witnessed(self, request: web.Request) -> web.StreamResponse:
        return _served(request, await self._shelf(request).reader.witnessed())

    async def _fleet(self, request: web.Request) -> web.StreamResponse:
        parts = self._parts(self._shelf(request).ledger.id)
        if parts is None:
            raise NotFoundError("this log stands in no anchor here")
        return _response(Answer(200, parts, CBOR))

    async def _put_body(self, request: web.Request) -> web.StreamResponse:
        shelf, text = self._shelf(request), request.match_info["height"]
        if not _HEIGHT.fullmatch(text):
            raise FormatError("a height is a decimal without leading zeros")
        deflate = _ENCODINGS.get(request.headers.get("Content-Encoding", "").lower())
        if deflate is None:
            raise _Turned(Answer(415, b"a body is sent with Content-Encoding: deflate"))
        if (request.content_length or 0) > limits.BODY_BYTES:
            raise _Turned(Answer(413, b"a body is at most 64 MiB"))
        ledger = shelf.ledger
        refused = await ledger.judge_height(int(text))
        if refused is not None:
            return _response(refused)
        with self._place(ledger.id), contextlib.closing(Inflater(self.budget, deflate=deflate)) as inflater:
            return _response(await ledger.take_body(int(text), await _inflate(request, inflater)))

    async def _read(self, request: web.Request) -> web.StreamResponse:
        """Section 9's paths. Without a valid signature by a key of this log: 401 and no body, whatever was asked."""
        shelf = self._shelves.get(request.match_info["log"])
        path, query = split_target(request.raw_path)
        if shelf is None:
            raise AuthError("no such log")
        if len(request.headers.getall("Host", ())) != 1:
            raise AuthError("one Host header is needed")
        shelf.checker.check(request.method, request.headers["Host"], path, query, request.headers)
        if request.body_exists:
            raise FormatError("a GET has no body here")
        resource = path.removeprefix(f"/v1/logs/{shelf.ledger.id}/")
        return _served(request, await shelf.reader.get(resource, query, deflate=_takes_deflate(request)))

    def _shelf(self, request: web.Request) -> Shelf:
        shelf = self._shelves.get(request.match_info["log"])
        if shelf is None:
            raise NotFoundError("this log is not known here")
        return shelf

    @contextlib.contextmanager
    def _place(self, log: str) -> Iterator[None]:
        """One of the uploads that may be under way."""
        if self._uploads.total() >= limits.NODE_UPLOADS or self._uploads[log] >= limits.NODE_UPLOADS_OF_LOG:
            raise StoreFullError("too many bodies are being received", cure="Try again later")
        self._uploads[log] += 1
        try:
            yield
        finally:
            self._uploads[log] -= 1
            if not self._uploads[log]:
                del self._uploads[log]

    # Errors and sending

    def _guard(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await _send(request, await self._answered(request, handler))

        return guard

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:  # the router's: 404 and 405
            response = _response(Answer(error.status, (error.reason or "").encode()))
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response
        except _Turned as turned:
            return _closing(_response(turned.answer))
        except AuthError as error:
            response = web.Response(status=401)
            if error.challenge:
                response.headers["Accept-Signature"] = error.challenge
            return response
        except NotFoundError as error:
            return _response(Answer(404, error.what.encode()))
        except ConflictError as error:
            return _response(answer(judge.elsewhere(error.size)))
        except Refused as error:
            return _response(Answer(400, error.what.encode()))
        except Retry as error:
            response = _response(Answer(503, error.what.encode()))
            response.headers["Retry-After"] = "5"
            return _closing(response)
        except Stop as error:
            if not self.broken.done():
                self.broken.set_exception(error)
            return _closing(_response(Answer(500, b"this node is stopping")))


async def _read_body(request: web.Request, limit: int) -> bytes:
    """A request's body, whole. What cannot be taken is refused before it is read."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _Turned(Answer(415, b"this request is sent without Content-Encoding"))
    if (request.content_length or 0) > limit:
        raise _Turned(Answer(413, f"this request has at most {limit} bytes".encode()))
    data = bytearray()
    async for chunk in _chunks(request, limits.NODE_REQUEST_S, limits.NODE_REQUEST_S):
        data += chunk
        if len(data) > limit:
            raise _Turned(Answer(413, f"this request has at most {limit} bytes".encode()))
    return bytes(data)


async def _inflate(request: web.Request, inflater: Inflater) -> bytes:
    try:
        async for chunk in _chunks(request, limits.NODE_UPLOAD_S, limits.NODE_STALL_S):
            await asyncio.to_thread(inflater.feed, chunk)
        return await asyncio.to_thread(inflater.finish)
    except FormatError as error:
        raise _Turned(Answer(413 if inflater.over else 400, error.what.encode())) from error


async def _chunks(request: web.Request, whole_s: float, stall_s: float) -> AsyncIterator[bytes]:
    """The body as it comes in. 408 when it takes too long in all or stalls, 400 when its framing is broken."""
    deadline = time.monotonic() + whole_s
    while True:
        try:
            async with asyncio.timeout(max(0.0, min(stall_s, deadline - time.monotonic()))):
                chunk = await request.content.readany()
        except TimeoutError as error:
            raise _Turned(Answer(408, b"the request came too slowly")) from error
        except (web.RequestPayloadError, ConnectionError) as error:
            raise _Turned(Answer(400, b"the request's framing is broken")) from error
        if not chunk:
            return
        yield chunk


def _response(answer: Answer) -> web.Response:
    response = web.Response(status=answer.status, body=answer.body or None)
    if answer.body:
        response.headers["Content-Type"] = answer.content_type
    return response


def _closing(response: web.Response) -> web.Response:
    response.force_close()
    return response


def _takes_deflate(request: web.Request) -> bool:
    codings = ",".join(request.headers.getall("Accept-Encoding", ())).lower().replace(" ", "")
    return "deflate" in codings.split(",")


def _served(request: web.Request, served: Served) -> web.Response:
    headers = {"Content-Type": served.content_type, "Cache-Control": served.cache, "Vary": "Accept-Encoding"}
    if served.encoding:
        headers["Content-Encoding"] = served.encoding
    if served.etag:
        headers["ETag"] = f'"{hashlib.sha256(served.data).hexdigest()}"'
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers={name: headers[name] for name in ("ETag", "Cache-Control")})
    return web.Response(body=served.data, headers=headers)


async def _send(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Sends the answer here, where the time it takes is bounded."""
    response.headers["Server"] = "fieldgate"
    try:
        async with asyncio.timeout(limits.NODE_SEND_S):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    except ConnectionError:  # it went away before the answer
        log.debug("%s: gone before the answer", request.remote)
    return response
