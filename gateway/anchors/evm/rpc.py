"""JSON-RPC 2.0 over HTTP, as servers of Ethereum's chains speak it: one request at a time, every answer checked."""

import asyncio
import os
import ssl
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from gateway import __version__
from gateway.anchors.api import LieError, RefusedError
from gateway.core import limits
from gateway.core.text import plain
from gateway.errors import UnreachableError

_KEEPALIVE_S = 5.0
_TEXT = 200
_BUSY = {-32002, -32005, -32098}  # no resources (EIP-1474); too many requests; the same at BSN's portal


class ServerError(Exception):
    """The server's own answer to a call: an error. `text` is safe to show."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class Rpc:
    """One server. UnreachableError where it does not answer, RefusedError where it does not know us, LieError."""

    def __init__(self, url: str, api_key: str, ca_file: str) -> None:
        self._url, self._api_key, self._ca_file = url, api_key, ca_file
        self._http: aiohttp.ClientSession | None = None
        self._number = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._http is not None:
            await self._http.close()

    async def call(self, method: str, *params: Any) -> Any:
        """The result. ServerError where the server answers with an error that is not one of load."""
        self._number += 1
        asked = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        try:
            data = await self._post(msgspec.json.encode(asked))
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(_words(error)) from error
        try:
            answer = msgspec.json.decode(data)
        except (ValueError, RecursionError):
            raise LieError("its answer is no JSON") from None
        if not isinstance(answer, dict) or answer.get("id") != self._number:
            raise LieError("its answer is to another question")
        wrong = answer.get("error")
        if wrong is None:
            return answer.get("result")
        code, text = (wrong.get("code"), wrong.get("message")) if isinstance(wrong, dict) else (0, wrong)
        words = plain(str(text)[:_TEXT])
        if code in _BUSY:
            raise UnreachableError(f"it cannot answer {method} now: {words}")
        raise ServerError(code if isinstance(code, int) else 0, words)

    async def _post(self, body: bytes) -> bytes:
        http = await self._client()
        async with http.post(self._url, data=body, allow_redirects=False) as response:
            status = response.status
            if status in (401, 403):
                what = f"its server does not let this gateway in (status {status})"
                raise RefusedError(what, cure="Check url and api_key")
            if status == 429:
                raise UnreachableError("its server has had enough requests from here for now (status 429)")
            data = bytearray()
            async for chunk in response.content.iter_any():
                data += chunk
                if len(data) > limits.EVM_ANSWER_BYTES:
                    response.close()
                    raise LieError(f"it answers with more than {limits.EVM_ANSWER_BYTES} bytes")
            if status != 200 and not data.lstrip().startswith(b"{"):
                raise UnreachableError(f"its server answers with status {status}")
            return bytes(data)

    async def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            headers = {"User-Agent": f"fieldgate/{__version__}", "Content-Type": "application/json"}
            if self._api_key:
                headers["x-api-key"] = self._api_key
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=1, ssl=await self._tls(), keepalive_timeout=_KEEPALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=limits.EVM_REQUEST_S, connect=limits.UPSTREAM_CONNECT_S),
                trust_env=False,
            )
        return self._http

    async def _tls(self) -> ssl.SSLContext | bool:
        if not self._ca_file:
            return True
        try:
            return await asyncio.to_thread(ssl.create_default_context, cafile=self._ca_file)
        except (OSError, ValueError) as error:
            what = f"the certificate authorities in {self._ca_file} cannot be read"
            raise RefusedError(what, cure="Put the file back, or correct ca_file") from error


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "its server did not answer in time"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name of its server cannot be looked up"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
        return "the encrypted connection to its server fails"
    if isinstance(error, aiohttp.ClientConnectorError | OSError):
        why = os.strerror(error.errno) if error.errno else "the connection failed"
        return f"its server cannot be reached: {why.lower()}"
    return "its server closed the connection before its answer was complete"


def uint(value: Any, what: str) -> int:
    """A quantity: 0x and hex digits."""
    try:
        if isinstance(value, str) and value.startswith("0x") and len(value) <= 66:
            return int(value, 16)
    except ValueError:
        pass
    raise LieError(f"its {what} is no number")


def data(value: Any, what: str, length: int | None = None) -> bytes:
    """Bytes: 0x and pairs of hex digits."""
    try:
        if isinstance(value, str) and value.startswith("0x"):
            found = bytes.fromhex(value[2:])
            if length in (None, len(found)):
                return found
    except ValueError:
        pass
    raise LieError(f"its {what} is not what it should be")


def table(value: Any, what: str) -> dict[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise LieError(f"its {what} is none")
    return value


def listed(value: Any, what: str) -> list[Any]:
    """An array."""
    if not isinstance(value, list):
        raise LieError(f"its {what} is no list")
    return value
