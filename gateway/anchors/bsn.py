"""Calls to a BSN city node's gateway (core/bsn.py): signed, and believed only where its own key signed the answer."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Annotated, Any, Literal, Self, TypeVar, cast

import msgspec
from msgspec import Meta

from gateway.anchors.api import LieError, RefusedError, ShutError
from gateway.anchors.http import Server
from gateway.core import bsn, limits
from gateway.core.anchor import Statement
from gateway.core.bsn import Body, Call, PublicKey
from gateway.core.note import b64encode
from gateway.errors import FormatError, UnreachableError
from gateway.keys.access import AccessKey
from gateway.settings import CaFile, Secret, Table, Url

T = TypeVar("T")
Algorithm = Literal["p256", "secp256k1", "sm2"]
HOSTED, UPLOADED = "hosted", "uploaded"
_TYPES = {HOSTED: 1, UPLOADED: 2}
"""getAppInfo's caType."""

Code = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_]{1,64}\Z", description="letters, digits and _")]
Point = Annotated[
    str, Meta(pattern=r"^04[0-9a-fA-F]{128}\Z", description="a bare point in hexadecimal, 130 digits, 04 first")
]


class Access(Table, kw_only=True, frozen=True):
    """The fields of every kind that goes through a city node's gateway."""

    url: Annotated[Url, Meta(title="The city node's gateway, without /api")]
    user: Annotated[Code, Meta(title="The user code of the account (userCode)")]
    app: Annotated[Code, Meta(title="The code of the application (appCode)")]
    access_key: Annotated[
        Secret, Meta(title="The application's private access key: the base64 of its PKCS#8 file, in one line")
    ]
    gateway_key: Annotated[Point, Meta(title="The key that signs the gateway's answers. Nothing else is believed")]
    algorithm: Annotated[Algorithm, Meta(title="That of both keys")]
    keys: Annotated[
        Literal["hosted", "uploaded"],
        Meta(title='Who signs the transactions: "hosted", the city node ("key trust"); "uploaded", a key of yours'),
    ] = "hosted"
    ca_file: CaFile = ""


class UnsignedRefusalError(UnreachableError):
    """A refusal that the gateway's key did not sign: perhaps the gateway's, perhaps anybody's."""


class Gateway:
    """A city node's gateway, as one application reaches it. Macs are made and checked in a thread."""

    def __init__(self, access: Access, key: AccessKey, *, service: str, expected: Mapping[str, str]) -> None:
        """service: how getAppInfo's appType begins; expected: what else of it the configuration says.

        RefusedError where the keys do not fit the algorithm.
        """
        self._access, self._key, self._service, self._expected = access, key, service, expected
        try:
            self._theirs = PublicKey.parse(access.algorithm, access.gateway_key)
        except FormatError as exc:
            raise RefusedError(f"gateway_key: {exc.what}", cure=exc.cure) from exc
        self.server = Server(access.url, ca_file=access.ca_file)
        self._ready = False

    async def __aenter__(self) -> Self:
        await self.server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.server.__aexit__(kind, error, trace)

    def signed(self, call: Call, body: Body) -> bytes:
        """The request, complete."""
        access = self._access
        mac = b64encode(self._key.sign(bsn.request_text(access.user, access.app, call, body).encode()))
        return msgspec.json.encode({"header": self._header, "mac": mac, "body": body})

    async def ask(self, call: Call, **body: Any) -> Body:
        """What is answered to a call. RefusedError in the gateway's words, UnreachableError, LieError."""
        return await self.post(call, await asyncio.to_thread(self.signed, call, body))

    async def post(self, call: Call, request: bytes) -> Body:
        """The same for a request that `signed` made. The first one in a life asks what the application is."""
        if not self._ready:
            await self._check_application()
        return await self._post(call, request)

    @property
    def _header(self) -> dict[str, str]:
        return {"userCode": self._access.user, "appCode": self._access.app}

    async def _post(self, call: Call, request: bytes) -> Body:
        answer = await self.server.post(call.path, request)
        match answer:
            case {"header": {"code": int(code), "msg": str(message)}}:
                mac, body = answer.get("mac"), answer.get("body")
            case _:
                raise LieError("its answer has no code and no message", cure="Check that the url is a city node's")
        try:
            values = None if body is None else bsn.read_body(body, call.answer)
            text = bsn.answer_text(code, message, call, values)
            await asyncio.to_thread(self._theirs.check, text, mac if isinstance(mac, str) else "")
        except FormatError as exc:
            if code != 0:  # refusals are not always signed; nothing rests on one but that it is tried again
                raise UnsignedRefusalError(
                    f"it refuses the call, in an answer that is not its own key's: {self.server.told(message)}",
                    cure="Check url, user, app, access_key and gateway_key; it is tried again",
                ) from exc
            raise LieError(f"its answer is not believed: {exc.what}", cure="Check gateway_key and algorithm") from exc
        if code != 0:
            raise RefusedError(f"it refuses the call: {self.server.told(message)}", cure="Ask the city node's operator")
        if values is None:
            raise LieError("its answer has no body", cure="Ask the city node's operator")
        return values

    async def _check_application(self) -> None:
        """getAppInfo against the configuration. Its request is not signed, so it tells nothing that would be believed
        by itself.
        """
        request = msgspec.json.encode({"header": self._header, "mac": "", "body": {}})
        told_of = await self._post(bsn.APP_INFO, request)
        kind = text(told_of, "appType")
        wanted = {
            "appType": kind if kind.lower().startswith(self._service) else self._service,
            "caType": _TYPES[self._access.keys],
            "algorithmType": self._theirs.code,
            **self._expected,
        }
        for name, value in wanted.items():
            found = str(told_of[name])
            if found.lower() != str(value).lower():
                raise ShutError(
                    f"the application's {name} is {self.server.told(found)} there, and {value} in the configuration",
                    cure="Correct [anchor.NAME], or look for who answers in the city node's place",
                )
        self._ready = True


class Search:
    """Looks for a statement in the blocks from one on; each is looked through once, for these chains take none back.

    A call that runs out of its time is gone on with by the next one, up to what was the newest block when it began;
    where those were few, up to what is the newest now. So it ends, however slow the server is, and however fast the
    chain grows.
    """

    def __init__(self) -> None:
        self._of: tuple[Statement, int] | None = None
        self._since = self._newest = 0  # it may stand from the one on; it was looked for up to the other
        self._sent = False  # since then
        self._until: int | None = None  # while it is not at its end
        self._without = set[int]()

    async def run(
        self, statement: Statement, since: int, newest: int, look: Callable[[int], Awaitable[T | None]]
    ) -> T | None:
        """What `look` finds in a block, if in any."""
        if self._of != (statement, since):
            self._of, self._since, self._until, self._sent = (statement, since), since, None, False
            self._without.clear()
        while True:
            self._until = done = newest if self._until is None else self._until
            found = await self._through(searched(self._since, done), look)
            self._until, self._newest = None, done
            if found is not None or done >= min(newest, self._since + _soon() - 1):
                self._sent = False
                return found

    async def _through(self, numbers: Sequence[int], look: Callable[[int], Awaitable[T | None]]) -> T | None:
        self._without.intersection_update(numbers)
        for number in numbers:
            if number not in self._without:
                found = await look(number)
                if found is not None:
                    return found
                self._without.add(number)
        return None

    def sending(self) -> None:
        """It is sent now: what comes of that stands behind the blocks that were looked through."""
        if not self._sent:
            self._since, self._sent = self._newest + 1, True


@contextlib.contextmanager
def looking() -> Iterator[None]:
    """Whoever is refused in here has not seen whether it stands on the chain."""
    try:
        yield
    except RefusedError as error:
        raise ShutError(error.what, cure=error.cure) from error


def searched(since: int, newest: int) -> list[int]:
    """The blocks to look through for what was sent when `since` was still to come: the first and the newest of them
    where there are too many, for it came to stand soon after it was made, or was sent again now.
    """
    if newest - since < limits.CHAIN_SEARCHED:
        return list(range(since, newest + 1))
    return [*range(since, since + _soon()), *range(newest - _soon() + 1, newest + 1)]


def _soon() -> int:
    """Blocks within which what was sent comes to stand."""
    return limits.CHAIN_SEARCHED // 2


def text(body: Body, name: str) -> str:
    """A text of an answer."""
    return cast(str, body[name])


def number(body: Body, name: str) -> int:
    """A number of an answer. LieError where it is negative."""
    value = cast(int, body[name])
    if value < 0:
        raise LieError(f"its answer's {name} is negative")
    return value
