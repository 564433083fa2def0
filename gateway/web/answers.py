"""Answers of the pull API: caching, ETags over the bytes sent, and streams that are never whole in memory."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from aiohttp import web

from gateway.core import limits
from gateway.errors import StoreError
from gateway.web.listener import ALWAYS

IMMUTABLE: Final = "private, max-age=31536000, immutable"
NO_CACHE: Final = "private, no-cache"
CBOR: Final = "application/cbor"
BYTES: Final = "application/octet-stream"
TEXT: Final = "text/plain; charset=utf-8"

Make = Callable[[], AsyncIterator[bytes]]


def missing() -> web.Response:
    """404 without a body: not there, or not for this reader."""
    return web.Response(status=404, headers={"Cache-Control": "no-store"})


def too_many() -> web.Response:
    """429: this key asks too often."""
    return web.Response(status=429, headers={"Retry-After": "1", "Cache-Control": "no-store"})


def small(request: web.BaseRequest, data: bytes, kind: str, cache: str) -> web.Response:
    """An answer that is in memory."""
    headers = {"Content-Type": kind, "Cache-Control": cache, "ETag": _etag(sha256(data).digest())}
    return _unchanged(request, headers) or web.Response(body=data, headers=headers)


@dataclass(frozen=True, slots=True)
class _Measured:
    """What a stream came to: the hash and length of its bytes, and the bytes where they are few."""

    digest: bytes
    length: int
    kept: bytes | None


async def stream(request: web.BaseRequest, make: Make, kind: str) -> web.StreamResponse:
    """An answer of any length, `private, no-cache`, deflated where the reader takes that.

    Its ETag is over the bytes sent, so they are made once to be hashed, and a second time to be sent where they are
    more than WEB_BODY_KEPT_BYTES. `make` begins the same bytes anew at each call.
    """
    deflate = _takes_deflate(request)

    def source() -> AsyncIterator[bytes]:
        return _deflated(make()) if deflate else make()

    measured = await _measure(source())
    headers = {
        "Content-Type": kind,
        "Cache-Control": NO_CACHE,
        "ETag": _etag(measured.digest),
        "Vary": "Accept-Encoding",
    }
    unchanged = _unchanged(request, headers)
    if unchanged is not None:
        return unchanged
    if deflate:
        headers["Content-Encoding"] = "deflate"
    if measured.kept is not None:
        return web.Response(body=measured.kept, headers=headers)
    return await _send(request, source(), measured, headers)


async def _send(
    request: web.BaseRequest, chunks: AsyncIterator[bytes], measured: _Measured, headers: dict[str, str]
) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers | ALWAYS)
    response.content_length = measured.length
    await response.prepare(request)
    hasher, left, held = sha256(), measured.length, b""
    async for chunk in chunks:
        left -= len(held)
        if left <= 0:
            break
        if held:
            await response.write(held)
        held = chunk
        hasher.update(chunk)
    if left != len(held) or hasher.digest() != measured.digest:
        # What was held back is not sent, so nobody takes the rest for whole.
        raise StoreError("a body changed while it was sent", where=request.path, cure="The reader asks again")
    await response.write(held)
    return response


async def _measure(chunks: AsyncIterator[bytes]) -> _Measured:
    hasher, length = sha256(), 0
    kept: bytearray | None = bytearray()
    async for chunk in chunks:
        hasher.update(chunk)
        length += len(chunk)
        if kept is not None and length <= limits.WEB_BODY_KEPT_BYTES:
            kept += chunk
        else:
            kept = None
    return _Measured(hasher.digest(), length, None if kept is None else bytes(kept))


async def _deflated(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(1)
    async for chunk in chunks:
        data = await asyncio.to_thread(packer.compress, chunk)
        if data:
            yield data
    yield packer.flush()


def _etag(digest: bytes) -> str:
    return f'"{digest.hex()[:32]}"'


def _unchanged(request: web.BaseRequest, headers: dict[str, str]) -> web.Response | None:
    """304 where the reader has these bytes already (RFC 9110, section 13.1.2)."""
    known = request.headers.get("If-None-Match", "")
    tags = [tag.strip().removeprefix("W/") for tag in known.split(",")]
    if headers["ETag"] not in tags and known.strip() != "*":
        return None
    kept = {name: value for name, value in headers.items() if name != "Content-Type"}
    return web.Response(status=304, headers=kept)


def _takes_deflate(request: web.BaseRequest) -> bool:
    for part in ",".join(request.headers.getall("Accept-Encoding", ())).lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() == "deflate":
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
