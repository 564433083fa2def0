"""JSON-RPC 2.0 over HTTP, as servers of Ethereum's chains speak it: one request at a time, every answer checked."""

import contextlib
from types import TracebackType
from typing import Any, Self

import msgspec

from gateway.anchors.api import LieError, ShutError
from gateway.anchors.http import Server, StatusError, read_json
from gateway.core import limits
from gateway.errors import UnreachableError

_BUSY = {-32002, -32005, -32098}  # no resources (EIP-1474); too many requests; the same at BSN's portal


class ServerError(Exception):
    """The server's own answer to a call: an error. `text` is safe to show."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class Rpc:
    """One server. UnreachableError where it does not answer, ShutError where it does not know us, LieError."""

    def __init__(self, url: str, api_key: str, ca_file: str) -> None:
        self._server = Server(url, ca_file=ca_file, headers={"x-api-key": api_key} if api_key else None)
        self._number = 0

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.__aexit__(kind, error, trace)

    async def call(self, method: str, *params: Any) -> Any:
        """The result. ServerError where the server answers with an error that is not one of load."""
        self._number += 1
        asked = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        answer = await self._post(msgspec.json.encode(asked))
        if not isinstance(answer, dict) or answer.get("id") != self._number:
            raise LieError("its answer is to another question")
        wrong = answer.get("error")
        if wrong is None:
            return answer.get("result")
        code, text = (wrong.get("code"), wrong.get("message")) if isinstance(wrong, dict) else (0, wrong)
        words = self._server.told(text if isinstance(text, str) else "an error without words")
        if isinstance(code, int) and code in _BUSY:
            raise UnreachableError(f"it cannot answer {method} now: {words}")
        raise ServerError(code if isinstance(code, int) else 0, words)

    async def _post(self, body: bytes) -> Any:
        """What is answered. Some servers answer an error under another status than 200."""
        try:
            return await self._server.post("", body, most=limits.EVM_ANSWER_BYTES)
        except StatusError as error:
            if error.status in (401, 403):
                what = f"its server does not let this gateway in (status {error.status})"
                raise ShutError(what, cure="Check url and api_key") from None
            if error.status == 429:
                raise UnreachableError("its server has had enough requests from here for now (status 429)") from None
            with contextlib.suppress(LieError):
                return read_json(error.answered)
            raise


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
