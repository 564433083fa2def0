"""Anchors of the kind `rfc3161`: a time stamp authority's word that it saw a statement (docs/format.md, section 12).

::

    evidence = [ authority, token, [ certificate, ... ] ]        ; the name it has here, RFC 3161 in DER, X.509 in DER

A pin is `rfc3161 AUTHORITY root SHA256`: the certificate at which the chain must end, by its fingerprint.
"""

from collections.abc import Sequence

from gateway.core import cbor, signed, timestamp
from gateway.core.anchor import STAMPED, Anchored, Pin, Statement, of_chain
from gateway.core.timestamp import Request, Stamp
from gateway.core.x509 import Certificate
from gateway.errors import FormatError

KIND = STAMPED


def check(statement: Statement, evidence: cbor.Value, pins: Sequence[Pin]) -> Anchored:
    """A gateway.core.anchor_kinds.Check. `number` is the time, too, in Unix seconds: an authority has no blocks."""
    match evidence:
        case [str(authority), bytes(token), list(held)]:
            beside = [data for data in held if isinstance(data, bytes)]
        case _:
            raise FormatError("the evidence is no authority's name, time stamp and certificates")
    if len(beside) != len(held):
        raise FormatError("a certificate of the evidence is none")
    roots = {_root(pin) for pin in of_chain(pins, KIND, authority)}
    stamp = check_stamp(statement, token, beside, roots)
    root = stamp.chain[-1]
    by = f"the pinned root {root.name}" if roots else ""
    return Anchored(KIND, authority, stamp.not_later_s, stamp.digest, stamp.not_later_s, by)


def check_stamp(statement: Statement, token: bytes, beside: Sequence[bytes], roots: set[bytes]) -> Stamp:
    """The token, which is over the statement. Its chain ends at one of the roots (SHA-256); at any, without them.

    A root's signature over itself proves nothing, and is not looked at: many were made with SHA-1.
    """

    def ends(certificate: Certificate) -> bool:
        return certificate.digest in roots if roots else certificate.is_own_issuer

    stamp = timestamp.check(token, beside, ends)
    if signed.digest(stamp.algorithm, statement.encode()) != stamp.imprint:
        raise FormatError("the time stamp is over something else")
    return stamp


def accept(
    statement: Statement, request: Request, response: bytes, beside: Sequence[bytes], roots: set[bytes]
) -> tuple[bytes, Stamp]:
    """The token of an authority's response, and what it says: good, and what was asked for."""
    token = timestamp.token_in(response)
    stamp = check_stamp(statement, token, beside, roots)
    if stamp.algorithm != request.algorithm:
        raise FormatError("the time stamp is over another digest than was asked for")
    if stamp.nonce != request.nonce:
        raise FormatError("the time stamp has another nonce than the request: it answers another one")
    if request.policy and stamp.policy != request.policy:
        raise FormatError(f"the time stamp is by the policy {stamp.policy}, not by {request.policy}")
    return token, stamp


def _root(pin: Pin) -> bytes:
    try:
        (text,) = pin.values
        root = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        root = b""
    if pin.word != "root" or len(root) != 32:
        raise pin.fault("a pin of a time stamp authority is `root` and the SHA-256 of a certificate in hexadecimal")
    return root
