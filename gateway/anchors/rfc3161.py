"""A time stamp authority (RFC 3161, over HTTP): it signs that it saw a statement, and when.

There is no chain: what it answers is the proof. A submission is the request with its nonce, the ticket the token of a
response that was checked whole (gateway/core/timestamp.py). The same request again brings another token, which harms
nobody.
"""

import asyncio
import binascii
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal, cast
from urllib.parse import urlsplit

from msgspec import Meta

from gateway.anchors.api import Chain, LieError, Opened, Place, RefusedError, Sight, Submission
from gateway.anchors.http import Server
from gateway.anchors.registry import Kind
from gateway.core import anchor_rfc3161, cbor, limits, signed
from gateway.core.anchor import Statement
from gateway.core.timestamp import Request, Stamp
from gateway.core.x509 import Certificate
from gateway.errors import FormatError
from gateway.settings import CaFile, Folder, Table, Url

_MEDIA = "application/timestamp-query"
_NONCE_BITS = 63
_AT_ONCE = 64  # above every number of confirmations that can be asked for
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_DIGESTS = {
    "sha-256": signed.SHA256,
    "sha-384": "2.16.840.1.101.3.4.2.2",
    "sha-512": "2.16.840.1.101.3.4.2.3",
    "sm3": signed.SM3,
}
_CURE_ROOTS = "Put the authority's root certificate there, in PEM, and any between it and the one that signs"
_CURE_ANSWER = "Nothing of it is kept, and it is asked again. Check url, roots_file and policy"


class Options(Table, kw_only=True, frozen=True):
    """[anchor.NAME] of kind rfc3161."""

    url: Annotated[Url, Meta(title="Where it takes requests")]
    roots_file: Annotated[
        Folder, Meta(title="PEM: the certificates under which it stamps, its root among them. Only these are trusted")
    ]
    policy: Annotated[
        str,
        Meta(
            pattern=r"^([0-2](\.[0-9]{1,18}){1,20})?\Z",
            title="The policy that it has to stamp under. Empty: its own choice",
            description="an object identifier like 1.2.3.4.1",
        ),
    ] = ""
    digest: Annotated[
        Literal["sha-256", "sha-384", "sha-512", "sm3"] | None,
        Meta(title="What the statement is hashed with for it. Absent: by the profile, SHA-256 or SM3"),
    ] = None
    ca_file: CaFile = ""


class Authority:
    """gateway.anchors.api.Chain of an authority. Roots: the certificates of roots_file."""

    def __init__(self, options: Options, server: Server, roots: list[Certificate]) -> None:
        self._name, self._options, self._server = name_of(options), options, server
        self._beside = [root.data for root in roots]
        self._roots = {root.digest for root in roots if root.is_own_issuer}

    async def make(self, statement: Statement, former: Submission | None) -> bytes:
        """The request."""
        digest = _DIGESTS[self._options.digest or "sha-256"]
        nonce = 1 + secrets.randbits(_NONCE_BITS)
        return Request(digest, signed.digest(digest, statement.encode()), self._options.policy, nonce).encode()

    async def send(self, submission: Submission) -> bytes:
        """The token that is answered; LieError where it is not what was asked for, or not by whom it should be."""
        response = await self._server.exchange("", submission.data, _MEDIA, most=limits.TOKEN_ANSWER_BYTES)
        request = Request.decode(submission.data)
        try:
            token, _ = await asyncio.to_thread(
                anchor_rfc3161.accept, submission.statement, request, response, self._beside, self._roots
            )
        except FormatError as exc:
            raise LieError(exc.what, cure=_CURE_ANSWER) from exc
        return token

    async def look(self, submission: Submission) -> Sight:
        """The time of the token, which is place enough. Nobody is asked."""
        if not submission.ticket:
            return Sight(0, None)
        stamp = await self._check(submission)
        time_s = stamp.not_later_s
        return Sight(time_s + _AT_ONCE, Place(time_s, stamp.digest, time_s))

    async def prove(self, submission: Submission, place: Place, confirmations: int) -> cbor.Value:
        """The token with the certificates above it."""
        stamp = await self._check(submission)
        if stamp.digest != place.hash:
            raise LieError("the time stamp is another now", cure=_CURE_ANSWER)
        held: list[cbor.Value] = [one.data for one in stamp.chain[1:]]
        evidence: cbor.Value = [self._name, submission.ticket, held]
        try:
            await asyncio.to_thread(anchor_rfc3161.check, submission.statement, evidence, ())
        except FormatError as exc:
            raise LieError(exc.what, cure=_CURE_ANSWER) from exc
        return evidence

    async def _check(self, submission: Submission) -> Stamp:
        try:
            return await asyncio.to_thread(
                anchor_rfc3161.check_stamp, submission.statement, submission.ticket, self._beside, self._roots
            )
        except FormatError as exc:
            raise LieError(exc.what, cure=_CURE_ANSWER) from exc


def name_of(options: Options) -> str:
    """What evidence and pins call it: its host."""
    return urlsplit(options.url).hostname or ""


def roots_in(path: Path) -> list[Certificate]:
    """Blocking. The certificates of a PEM file. RefusedError where it has none, or something that is none."""
    try:
        with path.open("rb") as file:
            data = file.read(limits.ROOTS_BYTES + 1)
        if len(data) > limits.ROOTS_BYTES:
            raise RefusedError(f"{path} is longer than {limits.ROOTS_BYTES} bytes", cure=_CURE_ROOTS)
        found = [Certificate(binascii.a2b_base64(text)) for text in _PEM.findall(data)]
    except OSError as exc:
        raise RefusedError(f"{path} cannot be read", cure=_CURE_ROOTS) from exc
    except (FormatError, binascii.Error) as exc:
        raise RefusedError(f"{path} has something that is no certificate", cure=_CURE_ROOTS) from exc
    if not any(one.is_own_issuer for one in found):
        raise RefusedError(f"{path} has no certificate of a root", cure=_CURE_ROOTS)
    return found


@asynccontextmanager
async def _opened(options: Options) -> AsyncIterator[Chain]:
    roots = await asyncio.to_thread(roots_in, Path(options.roots_file))
    async with Server(options.url, ca_file=options.ca_file) as server:
        yield Authority(options, server, roots)


def opened(options: Options, texts: Mapping[str, str]) -> Opened:
    """gateway.anchors.registry.Kind.opened."""
    return _opened(options)


KIND = Kind(
    name=anchor_rfc3161.KIND,
    title="A time stamp authority (RFC 3161)",
    options=Options,
    chain=lambda options: name_of(cast(Options, options)),
    opened=opened,
    example={
        "url": "https://tsa.example/tsr",
        "roots_file": "/etc/fieldgate/tsa-roots.pem",
        "#policy": "1.2.3.4.1",
        "#digest": "sm3",
        "#ca_file": "/etc/fieldgate/tsa-ca.pem",
    },
)
