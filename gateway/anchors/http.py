"""Posts to one server of a chain, within bounds of time and size; what goes wrong is told in words of our own."""

import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from yarl import URL

from gateway import outgoing
from gateway.anchors.api import LieError, RefusedError
from gateway.core import limits
from gateway.core.text import plain, secrets_of_address
from gateway.errors import UnreachableError

_CURE = "Check the url, the network and the server; it is tried again"
_LOOKED_AT = 4_096  # characters of a server's words
_NO_ANSWER = "Check that the url is the service's; it is tried again"


class StatusError(UnreachableError):
    """A status other than 200, with what was answered."""

    def __init__(self, status: int, answered: bytes, begin: str) -> None:
        super().__init__(f"it answers with status {status}{begin and ': '}{begin}", cure=_NO_ANSWER)
        self.status, self.answered = status, answered


class Server:
    """A server's base URL, and connections to it while it is entered. Entering contacts nobody."""

    def __init__(self, url: str, *, ca_file: str = "", headers: Mapping[str, str] | None = None) -> None:
        self._url, self._ca_file, self._headers = url.rstrip("/"), ca_file, dict(headers or {})
        self._http: aiohttp.ClientSession | None = None
        secrets = {*filter(None, self._headers.values()), *secrets_of_address(self._url)}
        with contextlib.suppress(ValueError):
            secrets.update(secrets_of_address(str(URL(self._url))))  # as it is sent
        self._secrets = sorted(secrets, key=len, reverse=True)  # one may be a part of another
        self.requests, self.bytes_sent, self.bytes_received = 0, 0, 0

    async def __aenter__(self) -> Self:
        """RefusedError where ca_file cannot be read."""
        try:
            tls = await outgoing.authorities(self._ca_file)
        except (OSError, ValueError) as error:
            what = f"the certificate authorities in {self._ca_file} cannot be read"
            raise RefusedError(what, cure="Put the file back, or correct ca_file") from error
        timeout = aiohttp.ClientTimeout(
            total=limits.CHAIN_REQUEST_S, connect=limits.CHAIN_CONNECT_S, sock_connect=limits.CHAIN_CONNECT_S
        )
        self._http = outgoing.session(tls, timeout, self._headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def post(self, path: str, data: bytes, *, most: int = limits.CHAIN_ANSWER_BYTES) -> Any:
        """The JSON that is answered to JSON. UnreachableError, and LieError for an answer that is none or too long."""
        answered = await self.exchange(path, data, "application/json", most=most)
        return read_json(answered)

    async def exchange(self, path: str, data: bytes, media: str, *, most: int) -> bytes:
        """What is answered to bytes of a media type. UnreachableError, and LieError for an answer that is too long."""
        if self._http is None:
            raise UnreachableError("it is not open", cure=_CURE)
        self.requests += 1
        self.bytes_sent += len(data)
        try:
            async with self._http.post(
                self._url + path, data=data, headers={"Content-Type": media}, allow_redirects=False
            ) as response:
                answered = await _bounded(response, most)
                status = response.status
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(outgoing.words(error), cure=_CURE) from error
        self.bytes_received += len(answered)
        if status != 200:
            raise StatusError(status, answered, self.told(_text(answered), 100))
        return answered

    def told(self, text: str, most: int = limits.DETAIL_CHARS) -> str:
        """A server's words, fit to be shown: cut, and without what it was sent that may be a secret."""
        found = text[:_LOOKED_AT]
        for secret in self._secrets:
            found = found.replace(secret, "...")
        if len(text) > _LOOKED_AT and self._secrets:
            found = found[: max(len(found) - len(self._secrets[0]) + 1, 0)]  # one may have been cut there
        return plain(found[:most])


def _text(answered: bytes) -> str:
    """As much of it as `told` looks at, and a character more where there is more."""
    return answered[: 4 * (_LOOKED_AT + 1)].decode(errors="replace")


def read_json(answered: bytes) -> Any:
    """What it says. LieError where it is no JSON, or made of more values than memory and loop have room for."""
    most = sum(map(answered.count, (b",", b"[", b"{")))  # and one; a text may hold some, too
    if most >= limits.CHAIN_ANSWER_VALUES:
        raise LieError(f"its answer has more than {limits.CHAIN_ANSWER_VALUES} values", cure=_NO_ANSWER)
    try:
        return msgspec.json.decode(answered)
    except (msgspec.DecodeError, RecursionError):
        raise LieError("its answer is no JSON", cure=_NO_ANSWER) from None


async def _bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > most:
            raise LieError(f"its answer is longer than {most} bytes", cure=_NO_ANSWER)
        parts.append(part)
    return b"".join(parts)
