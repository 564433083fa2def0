"""Time stamps (RFC 3161): a request, and what an authority answered, checked whole without a network.

A token is a CMS SignedData (RFC 5652) over a TSTInfo, in DER. Its signed attributes bind TSTInfo and the authority's
certificate (RFC 5035, RFC 5816), which is for time stamps alone and was valid then, as was each of its chain.
"""

from collections.abc import Callable, Sequence
from hashlib import sha1, sha256
from typing import NamedTuple

from gateway.core import der, signed
from gateway.core.asn1 import (
    BITS,
    BOOLEAN,
    INTEGER,
    OCTETS,
    OID,
    SEQUENCE,
    SET,
    TIME,
    UTF8,
    Item,
    Reader,
    explicit,
    implicit,
    read,
)
from gateway.core.limits import ACCURACY_S, ANCHOR_TICKET_BYTES, TOKEN_CERTIFICATES
from gateway.core.signed import SHA256, Algorithm
from gateway.core.text import plain
from gateway.core.x509 import Certificate, chain, extensions
from gateway.errors import FormatError

_SIGNED_DATA, _TST_INFO = "1.2.840.113549.1.7.2", "1.2.840.113549.1.9.16.1.4"
_SIGNED_DATA_GM = "1.2.156.10197.6.1.4.2.2"  # GM/T 0010-2012
_CONTENT_TYPE, _MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
_SIGNING_CERTIFICATE_2 = "1.2.840.113549.1.9.16.2.47"
_SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12"
_TIME_STAMPING = "1.3.6.1.5.5.7.3.8"

_SAID_CHARS, _REASONS = 120, 3  # that are shown of what an authority says

_STATUS = ("granted", "granted with changes", "rejected", "waiting", "warning of revocation", "revoked")
_FAILURES = {
    0: "it does not take this digest",
    2: "it does not do this",
    5: "it finds the request malformed",
    14: "its clock is away",
    15: "it does not have this policy",
    16: "it does not have an extension",
    17: "it cannot give what was asked for",
    25: "it has a fault",
}
"""PKIFailureInfo (RFC 3161, section 2.4.2)."""


class Request(NamedTuple):
    """What an authority is asked for: a time stamp over a digest."""

    algorithm: str
    imprint: bytes
    policy: str
    nonce: int

    def encode(self) -> bytes:
        """TimeStampReq, with the certificate asked for; an empty policy is left to the authority."""
        algorithm = der.sequence(der.oid(self.algorithm), der.null())
        policy = [der.oid(self.policy)] if self.policy else []
        imprint = der.sequence(algorithm, der.octets(self.imprint))
        return der.sequence(der.integer(1), imprint, *policy, der.integer(self.nonce), der.boolean(True))

    @classmethod
    def decode(cls, data: bytes) -> "Request":
        """What `encode` wrote."""
        reader = read(data, SEQUENCE).reader()
        reader.take(INTEGER)
        algorithm, imprint = _imprint(reader.take(SEQUENCE))
        policy = reader.maybe(OID)
        return cls(algorithm, imprint, policy.oid() if policy else "", reader.take(INTEGER).integer())


class Stamp(NamedTuple):
    """A token that is good. digest: SHA-256 of its TSTInfo; chain: from the authority's certificate up to the end."""

    policy: str
    algorithm: str
    imprint: bytes
    serial: int
    time_ms: int
    nonce: int | None
    digest: bytes
    chain: tuple[Certificate, ...]
    accuracy_ms: int = 0

    @property
    def not_later_s(self) -> int:
        """Unix seconds by which it was made, whichever way the authority's clock was off within its accuracy."""
        return -(-(self.time_ms + self.accuracy_ms) // 1000)


def token_in(response: bytes) -> bytes:
    """The token of a TimeStampResp. FormatError with the authority's reason where it gave none."""
    reader = read(response, SEQUENCE).reader()
    told, token = reader.take(SEQUENCE).reader(), reader.maybe(SEQUENCE)
    reader.end()
    status, texts, failures = told.take(INTEGER).integer(), told.maybe(SEQUENCE), told.maybe(BITS)
    told.end()
    if status not in (0, 1):
        called = _STATUS[status] if 0 <= status < len(_STATUS) else "none that is known"
        reasons = [_FAILURES.get(bit, f"failure {bit}") for bit in sorted(failures.flags())] if failures else []
        said = texts.reader().rest(UTF8) if texts else []
        reasons += [plain(text.content.decode("utf-8", "replace"))[:_SAID_CHARS] for text in said]
        raise FormatError(": ".join([f"the authority's answer is {called}", *reasons[:_REASONS]]))
    if token is None:
        raise FormatError("the authority says that it granted a time stamp, and sent none")
    return token.raw


def check(token: bytes, beside: Sequence[bytes], ends: Callable[[Certificate], bool]) -> Stamp:
    """The token, checked whole; FormatError with what stands against it.

    beside: further certificates for its chain. ends: at which certificate that may end. What it is over, its policy and
    its nonce are for the caller to look at.
    """
    if len(token) > ANCHOR_TICKET_BYTES:
        raise FormatError(f"a time stamp of {len(token)} bytes is longer than {ANCHOR_TICKET_BYTES}")
    content = _unwrapped(token)
    content.take(INTEGER)
    content.take(SET)
    info = _wrapped_info(content.take(SEQUENCE))
    certificates = content.maybe(explicit(0))
    content.maybe(explicit(1))
    (signer,) = _one(content.take(SET))
    content.end()
    held = [item.raw for item in certificates.reader().rest(SEQUENCE)] if certificates else []
    if len(held) + len(beside) > TOKEN_CERTIFICATES:
        raise FormatError(f"more than {TOKEN_CERTIFICATES} certificates are with the time stamp")
    others = [Certificate(data) for data in dict.fromkeys([*held, *beside])]
    leaf = _check_signer(signer, info, others)
    found = _info(info)
    leaf.check_purpose(_TIME_STAMPING, "time stamps")
    return found._replace(chain=tuple(chain(leaf, others, ends, found.time_ms)))


def _unwrapped(token: bytes) -> Reader:
    wrapper = read(token, SEQUENCE).reader()
    kind, inner = wrapper.take(OID).oid(), wrapper.take(explicit(0))
    wrapper.end()
    if kind not in (_SIGNED_DATA, _SIGNED_DATA_GM):
        raise FormatError("the time stamp is no signed data")
    return read(inner.content, SEQUENCE).reader()


def _wrapped_info(item: Item) -> bytes:
    reader = item.reader()
    kind, inner = reader.take(OID).oid(), reader.take(explicit(0))
    reader.end()
    if kind != _TST_INFO:
        raise FormatError("what is signed is no time stamp")
    return read(inner.content, OCTETS).content


def _one(item: Item) -> list[Item]:
    found = item.reader().rest(SEQUENCE)
    if len(found) != 1:
        raise FormatError(f"a time stamp has one signer, not {len(found)}")
    return found


def _check_signer(signer: Item, info: bytes, certificates: Sequence[Certificate]) -> Certificate:
    """The certificate whose key signed the attributes, which hold the digest of `info` and name that certificate."""
    reader = signer.reader()
    reader.take(INTEGER)
    named = reader.take(SEQUENCE, implicit(0))
    hashed = Algorithm.of(reader.take(SEQUENCE)).oid
    attributes = reader.take(explicit(0))
    algorithm, signature = Algorithm.of(reader.take(SEQUENCE)), reader.take(OCTETS).content
    reader.maybe(explicit(1))
    reader.end()
    values = _attributes(attributes)
    if read(_value(values, _CONTENT_TYPE), OID).oid() != _TST_INFO:
        raise FormatError("the signature is over something else than a time stamp")
    if read(_value(values, _MESSAGE_DIGEST), OCTETS).content != signed.digest(hashed, info):
        raise FormatError("the signature is over another time stamp")
    leaf = _signing_certificate(values, certificates)
    if named.tag == SEQUENCE and not _is_named(named, leaf):
        raise FormatError("the signer is another than the certificate that the signature is bound to")
    message = bytes([SET]) + attributes.raw[1:]  # RFC 5652, section 5.4
    signed.check(leaf.key, algorithm, message, signature, hashed)
    return leaf


def _is_named(named: Item, leaf: Certificate) -> bool:
    reader = named.reader()
    issuer, serial = reader.take(SEQUENCE).raw, reader.take(INTEGER).content
    reader.end()
    return (issuer, serial) == (leaf.issuer, leaf.serial)


def _attributes(item: Item) -> dict[str, bytes]:
    """Each attribute's one value. An attribute of several values, or twice, is refused."""
    found: dict[str, bytes] = {}
    for attribute in item.reader().rest(SEQUENCE):
        reader = attribute.reader()
        oid, held = reader.take(OID).oid(), reader.take(SET).reader()
        value = held.any()
        if value is None or held or oid in found:
            raise FormatError("a signed attribute has not one value")
        reader.end()
        found[oid] = value.raw
    return found


def _value(values: dict[str, bytes], oid: str) -> bytes:
    if oid not in values:
        raise FormatError(f"the signature lacks an attribute that it must have ({oid})")
    return values[oid]


def _signing_certificate(values: dict[str, bytes], certificates: Sequence[Certificate]) -> Certificate:
    """The certificate whose digest is the first that the attribute names (RFC 5035, sections 3 and 4)."""
    if _SIGNING_CERTIFICATE_2 in values:
        first = _first(values[_SIGNING_CERTIFICATE_2])
        algorithm = first.maybe(SEQUENCE)
        hashed = Algorithm.of(algorithm).oid if algorithm else SHA256
        wanted = first.take(OCTETS).content
        found = [one for one in certificates if signed.digest(hashed, one.data) == wanted]
    else:
        wanted = _first(_value(values, _SIGNING_CERTIFICATE)).take(OCTETS).content
        found = [one for one in certificates if sha1(one.data, usedforsecurity=False).digest() == wanted]
    if not found:
        raise FormatError("the certificate that the signature is bound to is not there")
    return found[0]


def _first(value: bytes) -> Reader:
    listed = read(value, SEQUENCE).reader().take(SEQUENCE).reader()
    return listed.take(SEQUENCE).reader()


def _imprint(item: Item) -> tuple[str, bytes]:
    reader = item.reader()
    algorithm, imprint = Algorithm.of(reader.take(SEQUENCE)).oid, reader.take(OCTETS).content
    reader.end()
    return algorithm, imprint


def _info(data: bytes) -> Stamp:
    """What TSTInfo says (RFC 3161, section 2.4.2), without a chain."""
    reader = read(data, SEQUENCE).reader()
    if reader.take(INTEGER).integer() != 1:
        raise FormatError("the time stamp is of another version than 1")
    policy = reader.take(OID).oid()
    algorithm, imprint = _imprint(reader.take(SEQUENCE))
    serial, time_ms = reader.take(INTEGER).integer(), reader.take(TIME).time_ms()
    accuracy_ms = _accuracy_ms(reader.maybe(SEQUENCE))
    reader.maybe(BOOLEAN)  # ordering
    nonce = reader.maybe(INTEGER)
    reader.maybe(explicit(0))  # the authority's name
    held = reader.maybe(explicit(1))
    for oid, extension in (extensions(held.reader()) if held else {}).items():
        if extension.critical:
            raise FormatError(f"the time stamp has a critical extension that is not known here ({oid})")
    reader.end()
    digest = sha256(data).digest()
    number = nonce.integer() if nonce else None
    return Stamp(policy, algorithm, imprint, serial, time_ms, number, digest, (), accuracy_ms)


def _accuracy_ms(held: Item | None) -> int:
    """Milliseconds, rounded up (RFC 3161, section 2.4.2). FormatError for more than ACCURACY_S."""
    if held is None:
        return 0
    reader = held.reader()
    parts = [reader.maybe(tag) for tag in (INTEGER, implicit(0), implicit(1))]
    reader.end()
    seconds, millis, micros = (part.integer() if part else 0 for part in parts)
    if not (0 <= seconds <= ACCURACY_S and 0 <= millis < 1000 and 0 <= micros < 1000):
        raise FormatError(f"the time stamp's accuracy is none, or more than {ACCURACY_S} s")
    return seconds * 1000 + millis + (micros > 0)
