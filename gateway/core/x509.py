"""Certificates (RFC 5280), as far as it takes to know that one was issued under a root and for what it may sign.

Revocation is not looked at: there is no network where this runs, and no list from the time that counts.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

from gateway.core import signed
from gateway.core.asn1 import (
    BITS,
    BOOLEAN,
    INTEGER,
    OCTETS,
    OID,
    SEQUENCE,
    SET,
    TIME,
    UTC_TIME,
    Item,
    Reader,
    explicit,
    implicit,
    read,
)
from gateway.core.limits import CHAIN_CERTIFICATES, CHAIN_TRIES
from gateway.core.text import plain
from gateway.errors import FormatError

_BASIC, _USAGE, _PURPOSES = "2.5.29.19", "2.5.29.15", "2.5.29.37"
_IGNORED = frozenset({"2.5.29.14", "2.5.29.31", "2.5.29.32", "2.5.29.35", "1.3.6.1.5.5.7.1.1"})
"""May be critical: they name keys, lists, policies and places, and narrow nothing."""

_SIGNS, _COMMITS, _CERTIFIES = 0, 1, 5  # bits of keyUsage
_COMMON_NAME = "2.5.4.3"


class Extension(NamedTuple):
    """One extension's value, which is DER."""

    critical: bool
    value: bytes


class Certificate:
    """A certificate as parsed; nothing of it is verified by that. FormatError for what is none."""

    def __init__(self, data: bytes) -> None:
        whole = read(data, SEQUENCE).reader()
        self._body, outer = whole.take(SEQUENCE), whole.take(SEQUENCE)
        self._signature = whole.take(BITS).bits()
        whole.end()
        self.digest = sha256(data).digest()
        self.data, self._algorithm = data, signed.Algorithm.of(outer)
        body = self._body.reader()
        body.maybe(explicit(0))
        self.serial = body.take(INTEGER).content
        if body.take(SEQUENCE).raw != outer.raw:
            raise FormatError("a certificate names two algorithms of its signature")
        self.issuer = body.take(SEQUENCE).raw
        validity = body.take(SEQUENCE).reader()
        self.begins_ms, self.ends_ms = (validity.take(UTC_TIME, TIME).time_ms() for _ in range(2))
        subject = body.take(SEQUENCE)
        self.subject, self.name = subject.raw, _common_name(subject)
        self.key = body.take(SEQUENCE)
        for number in (1, 2):
            body.maybe(implicit(number))
        held = body.maybe(explicit(3))
        body.end()
        self.extensions = extensions(read(held.content, SEQUENCE).reader()) if held else {}

    @property
    def is_own_issuer(self) -> bool:
        """Whether it claims to be a root."""
        return self.issuer == self.subject

    def check_signed_by(self, issuer: "Certificate") -> None:
        """FormatError unless the issuer's key signed it."""
        try:
            signed.check(issuer.key, self._algorithm, self._body.raw, self._signature)
        except FormatError as exc:
            raise self._fault(f"is not signed by {issuer.name}: {exc.what}") from exc

    def check_valid_at(self, at_ms: int) -> None:
        """FormatError unless that time lies within its validity."""
        if at_ms < self.begins_ms:
            raise self._fault(f"was not valid before {_day(self.begins_ms)}")
        if at_ms > self.ends_ms + 999:
            raise self._fault(f"had expired on {_day(self.ends_ms)}")

    def check_known(self) -> None:
        """FormatError where a critical extension is not understood here (RFC 5280, section 4.2)."""
        for oid, extension in self.extensions.items():
            if extension.critical and oid not in _IGNORED and oid not in (_BASIC, _USAGE, _PURPOSES):
                raise self._fault(f"has a critical extension that is not known here ({oid})")

    def check_may_certify(self, below: int) -> None:
        """FormatError unless it is an authority's, for a chain with so many authorities below it."""
        basic = self.extensions.get(_BASIC)
        reader = read(basic.value, SEQUENCE).reader() if basic else Reader(b"")
        flag, length = reader.maybe(BOOLEAN), reader.maybe(INTEGER)
        reader.end()
        if flag is None or not flag.boolean() or not self._may(_CERTIFIES):
            raise self._fault("is not an authority's")
        if length is not None and length.integer() < below:
            raise self._fault("may not stand so high in a chain")

    def check_purpose(self, purpose: str, called: str) -> None:
        """FormatError unless it is for that purpose alone, says so critically, and may sign (RFC 3161, section 2.3)."""
        extension = self.extensions.get(_PURPOSES)
        found = [one.oid() for one in read(extension.value, SEQUENCE).reader().rest(OID)] if extension else []
        if extension is None or found != [purpose] or not extension.critical:
            raise self._fault(f"is not for {called} alone")
        if not (self._may(_SIGNS) or self._may(_COMMITS)):
            raise self._fault("may not sign")

    def _may(self, bit: int) -> bool:
        usage = self.extensions.get(_USAGE)
        return usage is None or bit in read(usage.value, BITS).flags()

    def _fault(self, what: str) -> FormatError:
        return FormatError(f"the certificate of {self.name} {what}")


def chain(
    leaf: Certificate, others: Sequence[Certificate], ends: Callable[[Certificate], bool], at_ms: int
) -> list[Certificate]:
    """From the leaf up to one at which a chain may end, each valid at a time and signed by the next.

    FormatError where there is none: what stands against the first way that was tried.
    """
    leaf.check_valid_at(at_ms)
    leaf.check_known()
    search = _Search(others, ends, at_ms)
    found = search.climb([leaf])
    if found is None:
        raise FormatError(search.reasons[0])
    return found


class _Search:
    """For a way up to the end of a chain. reasons: what stands against the ways that were tried."""

    def __init__(self, others: Sequence[Certificate], ends: Callable[[Certificate], bool], at_ms: int) -> None:
        self._others, self._ends, self._at_ms = others, ends, at_ms
        self._left = CHAIN_TRIES
        self.reasons: list[str] = []

    def climb(self, way: list[Certificate]) -> list[Certificate] | None:
        """The way so far and what goes on for it; None where nothing does, and there is a reason then."""
        last = way[-1]
        if self._ends(last):
            return way
        if len(way) > CHAIN_CERTIFICATES or last.is_own_issuer:
            self.reasons.append(f"the chain ends in {last.name}, which is no root that is asked for")
            return None
        issuers = [one for one in self._others if one.subject == last.issuer and one not in way]
        if not issuers:
            self.reasons.append(f"no certificate of the issuer of {last.name} is there")
        for issuer in issuers:
            if not self._left:
                break
            self._left -= 1
            try:
                issuer.check_known()
                issuer.check_may_certify(len(way) - 1)
                last.check_signed_by(issuer)
                issuer.check_valid_at(self._at_ms)
            except FormatError as exc:
                self.reasons.append(exc.what)
                continue
            found = self.climb([*way, issuer])
            if found is not None:
                return found
        return None


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _common_name(subject: Item) -> str:
    """To be shown: the last common name, or else something of it."""
    name = ""
    for part in subject.reader().rest(SET):
        for pair in part.reader().rest(SEQUENCE):
            reader = pair.reader()
            oid, value = reader.take(OID).oid(), reader.any()
            if oid == _COMMON_NAME and value is not None:
                name = value.content.decode("utf-8", "replace")
    return plain(name)[:64] or "no name"


def extensions(held: Reader) -> dict[str, Extension]:
    """What a list of extensions holds (RFC 5280, section 4.1). FormatError where one is there twice."""
    found: dict[str, Extension] = {}
    for item in held.rest(SEQUENCE):
        reader = item.reader()
        oid, critical = reader.take(OID).oid(), reader.maybe(BOOLEAN)
        value = reader.take(OCTETS).content
        reader.end()
        if oid in found:
            raise FormatError(f"the extension {oid} is there twice")
        found[oid] = Extension(critical is not None and critical.boolean(), value)
    return found
