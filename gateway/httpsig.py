"""Signed reading requests: HTTP Message Signatures (RFC 9421) as docs/format.md, section 9, profiles them.

One signature a request, Ed25519 by a read key, over exactly `COMPONENTS`, with tag `TAG` and keyid = the key's name,
`+`, eight hex digits of its id. Two forms: dated (created, expires, nonce), and the answer to a challenge (the
challenge's nonce, neither created nor expires) for a checker whose clock is not synchronised. Clocks are handed in.
"""

import heapq
import hmac
import re
import secrets
from collections.abc import Callable, Collection, ItemsView, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Protocol

from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureAlgorithm,
    HTTPSignatureKeyResolver,
    VerifyResult,
)

from gateway.core import ed25519, limits
from gateway.core.note import ED25519, VerifierKey
from gateway.errors import AuthError, FormatError

TAG = "fieldgate-read"
LABEL = "fieldgate"
COMPONENTS = ("@method", "@authority", "@path", "@query")

_COVERED = frozenset(f'"{name}"' for name in COMPONENTS)
_NONCE = re.compile(r"[A-Za-z0-9_=+/-]{8,128}")
_AUTHORITY = re.compile(r"[a-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9a-f:.]{2,45}\](:[0-9]{1,5})?")
_WANTED = re.compile(LABEL + r'=\((?P<names>[^()]*)\)(?P<params>(?:;[a-z]+(?:="[^"\\]*"|=[0-9]+)?)*)')
_TEXT_PARAMETER = re.compile(r';([a-z]+)="([^"\\]*)"')
_ONCE_ONLY = frozenset({"host", "signature", "signature-input"})


class Headers(Protocol):
    """A dict, or a multidict whose items() gives every field line."""

    def items(self) -> ItemsView[str, str]:
        """All field lines in order."""
        ...


class Signer(Protocol):
    """Whoever holds a read key: gateway.keys opens one."""

    @property
    def vkey(self) -> VerifierKey:
        """The public half, with its name."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of message."""
        ...


def key_name(vkey: VerifierKey) -> str:
    """The keyid of a signature: name, `+`, eight hex digits."""
    return f"{vkey.name}+{vkey.key_id.hex()}"


def split_target(raw: str) -> tuple[str, str]:
    """(path, query without its `?`) of a request target as it was sent."""
    path, _, query = raw.partition("?")
    return path, query


def authority_of(host: str) -> str:
    """A Host header or a URL's host and port, as @authority has it: lower case (RFC 9421, section 2.2.3)."""
    return host.strip().lower()


def fresh_nonce() -> str:
    """A nonce for a dated signature: 128 random bits."""
    return secrets.token_urlsafe(16)


class _Ed25519(HTTPSignatureAlgorithm):
    """The library's slot for an algorithm, filled with the strict check of docs/format.md, section 4."""

    algorithm_id = "ed25519"

    def __init__(self, public_key: bytes | None = None, private_key: object = None) -> None:
        self._public = public_key or b""

    def verify(self, signature: bytes, message: bytes) -> None:
        if not ed25519.verify(self._public, message, signature):
            raise HTTPMessageSignaturesException("the signature does not verify")


@dataclass(frozen=True, slots=True)
class _Message:
    """What the library reads of a request."""

    method: str
    url: str
    headers: Headers


def _message(method: str, authority: str, path: str, query: str, headers: Headers) -> _Message:
    if not _AUTHORITY.fullmatch(authority):
        raise AuthError("the authority is not a host and port")
    if not path.startswith("/"):
        raise AuthError("the request target is not a path")
    url = f"https://{authority}{path}?{query}" if query else f"https://{authority}{path}"
    return _Message(method, url, headers)


def sign(
    signer: Signer,
    method: str,
    authority: str,
    path: str,
    query: str = "",
    *,
    nonce: str,
    created: int | None = None,
    expires: int | None = None,
) -> dict[str, str]:
    """The headers `Signature-Input` and `Signature` for a request without a body.

    authority: host:port as the Host header will carry it (no port where it is the scheme's default). path and query:
    as they go over the wire, percent-encoded, query without its `?`. created, expires: Unix seconds; with neither of
    them and a challenge's nonce it answers that challenge. Raises AuthError when the request cannot be signed.
    """
    if (created is None) != (expires is None):
        raise AuthError("a signature carries both created and expires, or, to a challenge, neither")
    message = _message(method, authority_of(authority), path, query, {})
    library = HTTPMessageSigner(signature_algorithm=_Ed25519)
    try:
        prepared = library.prepare(
            message,
            key_id=key_name(signer.vkey),
            created=_moment(created or 0),
            expires=None if expires is None else _moment(expires),
            nonce=nonce,
            tag=TAG,
            label=LABEL,
            include_alg=False,
            covered_component_ids=COMPONENTS,
        )
        if created is None:  # the library always dates a signature; apply() below checks that base and parameters agree
            params = prepared.signature_params.replace(";created=0", "", 1)
            base = prepared.signature_base.replace(b";created=0;keyid=", b";keyid=", 1)
            prepared = replace(prepared, signature_params=params, signature_base=base)
        library.apply(message, prepared, signer.sign(prepared.signature_base))
    except (HTTPMessageSignaturesException, ValueError, TypeError, OverflowError) as error:
        raise AuthError(f"this request cannot be signed: {error}") from error
    return dict(message.headers.items())


def sign_now(signer: Signer, method: str, authority: str, path: str, query: str = "", *, now: float) -> dict[str, str]:
    """The dated form at Unix time now, with a fresh nonce and the longest life that a checker takes."""
    created = int(now)
    expires = created + limits.SIGNATURE_AGE_S
    return sign(signer, method, authority, path, query, nonce=fresh_nonce(), created=created, expires=expires)


def challenge_nonce(accept_signature: str) -> str | None:
    """The nonce of a 401's Accept-Signature header (RFC 9421, section 5); None where it asks for something else."""
    if len(accept_signature) > limits.SIGNATURE_INPUT_CHARS:
        return None
    wanted = _WANTED.fullmatch(accept_signature.strip())
    if wanted is None or sorted(wanted["names"].split()) != sorted(_COVERED):
        return None
    params = dict(_TEXT_PARAMETER.findall(wanted["params"]))
    nonce = params.get("nonce", "")
    return nonce if params.get("tag") == TAG and _NONCE.fullmatch(nonce) else None


def _moment(seconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


class _Keys(HTTPSignatureKeyResolver):
    def __init__(self, keys: Mapping[str, VerifierKey]) -> None:
        self._keys = keys

    def resolve_public_key(self, key_id: str) -> bytes | None:
        vkey = self._keys.get(key_id)
        return vkey.public if vkey else None


class _Verifier(HTTPMessageVerifier):
    """The library's verifier without its own clock: Checker judges the times."""

    require_created = False

    def validate_created_and_expires(self, sig_input: Any, max_age: Any = None) -> None:
        """Nothing here: Checker does it, on the clock that it was handed."""


class _Nonces:
    """The nonces that one key has used, each until its signature expires. Owned by one Checker."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._used: set[bytes] = set()
        self._ends: list[tuple[float, bytes]] = []

    def use(self, nonce: str, now: float, end: float) -> None:
        """Spend nonce at now until end, monotonic seconds. Raises AuthError when it was used or there is no room."""
        while self._ends and self._ends[0][0] < now:
            self._used.discard(heapq.heappop(self._ends)[1])
        digest = sha256(nonce.encode()).digest()[:16]
        if digest in self._used:
            raise AuthError("the nonce was used before")
        if len(self._used) >= self._capacity:
            raise AuthError("too many requests by this key are still valid")
        self._used.add(digest)
        heapq.heappush(self._ends, (end, digest))


class _Challenges:
    """Challenges without memory: a nonce carries its time of issue and a MAC, so nobody can fill a table by asking."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._begin = monotonic()
        self._secret = secrets.token_bytes(32)

    def issue(self) -> str:
        """The value of an Accept-Signature header."""
        issued = int((self._monotonic() - self._begin) * 1000)
        claim = issued.to_bytes(8, "big") + secrets.token_bytes(8)
        nonce = (claim + self._mac(claim)).hex()
        components = " ".join(f'"{name}"' for name in COMPONENTS)
        return f'{LABEL}=({components});nonce="{nonce}";tag="{TAG}"'

    def end(self, nonce: str) -> float:
        """When this nonce ends, on the monotonic clock. Raises AuthError unless it is one of ours and still valid."""
        try:
            data = bytes.fromhex(nonce)
        except ValueError:
            data = b""
        claim, mac = data[:16], data[16:]
        if nonce != data.hex() or not hmac.compare_digest(mac, self._mac(claim)):
            raise AuthError("the nonce is not one that was issued here")
        end = self._begin + int.from_bytes(claim[:8], "big") / 1000 + limits.CHALLENGE_AGE_S
        if self._monotonic() > end:
            raise AuthError("the challenge is too old")
        return end

    def _mac(self, claim: bytes) -> bytes:
        return hmac.digest(self._secret, claim, "sha256")[:16]


class Checker:
    """Decides whose request this is. One loop owns it.

    keys: keyid (`key_name`) -> read key. now: Unix seconds, None while the clock is not synchronised.
    monotonic: seconds.
    authorities: the host:port forms under which this server is reached, lower case.
    A key's nonces are remembered apart from the others', so one reader cannot use up another's room.
    """

    def __init__(
        self,
        keys: Mapping[str, VerifierKey],
        now: Callable[[], float | None],
        monotonic: Callable[[], float],
        authorities: Collection[str],
    ) -> None:
        self._keys: dict[str, VerifierKey] = {}
        self._nonces: dict[str, _Nonces] = {}
        self.change(keys)
        self._now = now
        self._monotonic = monotonic
        self._authorities = frozenset(authority_of(authority) for authority in authorities)
        self._challenges = _Challenges(monotonic)
        self._verifier = _Verifier(signature_algorithm=_Ed25519, key_resolver=_Keys(self._keys))

    def change(self, keys: Mapping[str, VerifierKey]) -> None:
        """Takes the requests of these keys from now on. What the others of them have used stays used."""
        for name, vkey in keys.items():
            if vkey.algorithm != ED25519 or name != key_name(vkey):
                raise FormatError("not an Ed25519 read key under its own key id", where=name)
        self._nonces = {name: self._nonces.get(name) or _Nonces(limits.NONCES_REMEMBERED) for name in keys}
        self._keys.clear()
        self._keys.update(keys)

    def check(self, method: str, authority: str, path: str, query: str, headers: Headers) -> VerifierKey:
        """The reader's key. Raises AuthError, with a challenge while the clock is not synchronised.

        authority: the Host header. path, query: as sent (`split_target`). headers: all field lines of the request.
        """
        now = self._now()
        try:
            return self._check(now, method, authority_of(authority), path, query, headers)
        except AuthError as error:
            if now is not None:
                raise
            raise AuthError(error.what, challenge=self._challenges.issue()) from error

    def _check(
        self, now: float | None, method: str, authority: str, path: str, query: str, headers: Headers
    ) -> VerifierKey:
        _refuse_odd_headers(headers)
        if authority not in self._authorities:
            raise AuthError("the request was sent to another authority")
        result = self._verify(_message(method, authority, path, query, headers))
        params = result.parameters
        keyid, nonce = str(params.get("keyid")), params.get("nonce")
        if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):
            raise AuthError("the nonce is missing or malformed")
        monotonic = self._monotonic()
        end = self._challenge_end(params, nonce) if now is None else monotonic + _life(params, now)
        self._nonces[keyid].use(nonce, monotonic, end)
        return self._keys[keyid]

    def _verify(self, message: _Message) -> VerifyResult:
        """The one signature, verified and with exactly our components and tag."""
        try:
            results = self._verifier.verify(message, max_age=None)
        except (HTTPMessageSignaturesException, ValueError, TypeError) as error:
            raise AuthError(f"the signature is refused: {error}") from error
        if len(results) != 1:
            raise AuthError("a request carries one signature")
        result = results[0]
        if set(result.covered_components) - {'"@signature-params"'} != _COVERED:
            raise AuthError("the signature does not cover exactly " + " ".join(COMPONENTS))
        if result.parameters.get("tag") != TAG:
            raise AuthError("the signature has another tag")
        return result

    def _challenge_end(self, params: Mapping[str, int | str], nonce: str) -> float:
        """The challenge form: neither created nor expires."""
        if "created" in params or "expires" in params:
            raise AuthError("this clock is not synchronised: a dated signature cannot be judged")
        return self._challenges.end(nonce)


def _life(params: Mapping[str, int | str], now: float) -> float:
    """Seconds for which a dated signature is still valid. Raises AuthError when it is not."""
    created, expires = params.get("created"), params.get("expires")
    if not isinstance(created, int) or not isinstance(expires, int):
        raise AuthError("created or expires is missing")
    if abs(now - created) > limits.SIGNATURE_AGE_S:
        raise AuthError("created is too far from this clock")
    if not created <= expires <= created + limits.SIGNATURE_AGE_S:
        raise AuthError(f"expires is not within {limits.SIGNATURE_AGE_S} s after created")
    if expires < now:
        raise AuthError("the signature has expired")
    return expires - now


def _refuse_odd_headers(headers: Headers) -> None:
    """Each of the headers that decide comes once, and not too long."""
    seen: set[str] = set()
    for name, value in headers.items():
        lower = name.lower()
        if lower not in _ONCE_ONLY:
            continue
        if lower in seen:
            raise AuthError(f"the header {lower} comes twice")
        if len(value) > limits.SIGNATURE_INPUT_CHARS or not value.isascii() or not value.isprintable():
            raise AuthError(f"the header {lower} is too long or not printable ASCII")
        seen.add(lower)
    if not seen >= {"signature", "signature-input"}:
        raise AuthError("the request is not signed")
