"""Signatures of certificates and time stamps, by their algorithm identifiers (RFC 5280, RFC 4055, RFC 5758, GM/T 0015).

RSA (PKCS #1 version 1.5 and PSS) from 2,048 bits on, ECDSA over P-256, P-384 and P-521, SM2 with SM3. In Python, and
over public values alone. SHA-1 is not taken.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from gateway.core import curves, der
from gateway.core.asn1 import BITS, INTEGER, OID, SEQUENCE, Item, explicit, read
from gateway.core.sm3 import sm3
from gateway.errors import FormatError

SHA256, SM3 = "2.16.840.1.101.3.4.2.1", "1.2.156.10197.1.401"

DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    SHA256: lambda data: hashlib.sha256(data).digest(),
    "2.16.840.1.101.3.4.2.2": lambda data: hashlib.sha384(data).digest(),
    "2.16.840.1.101.3.4.2.3": lambda data: hashlib.sha512(data).digest(),
    SM3: sm3,
}
"""What makes the digest of an identifier."""

_RSA, _PSS, _MGF1 = "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10", "1.2.840.113549.1.1.8"
_RSA_WITH = {
    "1.2.840.113549.1.1.11": SHA256,
    "1.2.840.113549.1.1.12": "2.16.840.1.101.3.4.2.2",
    "1.2.840.113549.1.1.13": "2.16.840.1.101.3.4.2.3",
}
_EC = "1.2.840.10045.2.1"
_ECDSA_WITH = {
    "1.2.840.10045.4.3.2": SHA256,
    "1.2.840.10045.4.3.3": "2.16.840.1.101.3.4.2.2",
    "1.2.840.10045.4.3.4": "2.16.840.1.101.3.4.2.3",
}
_SM2_WITH_SM3 = ("1.2.156.10197.1.501", "1.2.156.10197.1.301.1")  # X.509; GM/T 0010
_CURVES = {
    "1.2.840.10045.3.1.7": curves.P256,
    "1.3.132.0.34": curves.P384,
    "1.3.132.0.35": curves.P521,
    "1.2.156.10197.1.301": curves.SM2,
}
_RSA_BITS = (2_048, 8_192)
_EXPONENT_BITS = 33


class Algorithm(NamedTuple):
    """An AlgorithmIdentifier. `parameters`: the item behind the identifier, if any."""

    oid: str
    parameters: Item | None

    @classmethod
    def of(cls, item: Item) -> "Algorithm":
        """The one in a SEQUENCE."""
        reader = item.reader()
        oid, parameters = reader.take(OID).oid(), reader.any()
        reader.end()
        return cls(oid, parameters)


def digest(algorithm: str, data: bytes) -> bytes:
    """By a digest's identifier. FormatError for one that is not taken here."""
    if algorithm not in DIGESTS:
        raise FormatError(f"the digest {algorithm} is not taken", cure="SHA-256, SHA-384, SHA-512 and SM3 are")
    return DIGESTS[algorithm](data)


def check(spki: Item, algorithm: Algorithm, message: bytes, signature: bytes, hashed: str = "") -> None:
    """FormatError unless the key in a SubjectPublicKeyInfo signed the message.

    hashed: the digest's identifier where it stands beside the algorithm, as in a CMS signature by plain "RSA".
    """
    reader = spki.reader()
    kind, bits = Algorithm.of(reader.take(SEQUENCE)), reader.take(BITS).bits()
    reader.end()
    if kind.oid in (_RSA, _PSS):
        good = _is_rsa(bits, algorithm, message, signature, hashed)
    elif kind.oid == _EC:
        good = _is_ec(kind, bits, algorithm, message, signature)
    else:
        raise FormatError(f"a key of the kind {kind.oid} is not taken", cure="RSA, ECDSA and SM2 are")
    if not good:
        raise FormatError("a signature is not by the key that it names")


def _is_ec(kind: Algorithm, bits: bytes, algorithm: Algorithm, message: bytes, signature: bytes) -> bool:
    named = kind.parameters.oid() if kind.parameters and kind.parameters.tag == OID else ""
    curve = _CURVES.get(named)
    if curve is None:
        raise FormatError(f"a key on the curve {named or 'without a name'} is not taken")
    if bits[:1] != b"\x04":
        raise FormatError("a public key is not an uncompressed point")
    public = curve.point(bits)
    pair = read(signature, SEQUENCE).reader()
    r, s = pair.take(INTEGER).integer(), pair.take(INTEGER).integer()
    pair.end()
    if curve is curves.SM2:
        return algorithm.oid in _SM2_WITH_SM3 and curves.is_sm2(public, message, r, s)
    if algorithm.oid not in _ECDSA_WITH:
        raise FormatError(f"the signature algorithm {algorithm.oid} is not taken for this key")
    return curves.is_ecdsa(curve, public, digest(_ECDSA_WITH[algorithm.oid], message), r, s)


def _is_rsa(bits: bytes, algorithm: Algorithm, message: bytes, signature: bytes, hashed: str) -> bool:
    reader = read(bits, SEQUENCE).reader()
    n, e = reader.take(INTEGER).integer(), reader.take(INTEGER).integer()
    reader.end()
    least, most = _RSA_BITS
    if not (least <= n.bit_length() <= most and n & e & 1 and e >= 3 and e.bit_length() <= _EXPONENT_BITS):
        raise FormatError(f"an RSA key has from {least} to {most} bits and a small odd exponent")
    size, number = (n.bit_length() + 7) // 8, int.from_bytes(signature, "big")
    if len(signature) != size or number >= n:
        return False
    block = pow(number, e, n).to_bytes(size, "big")
    if algorithm.oid == _PSS:
        return _is_pss(block, n.bit_length() - 1, message, algorithm)
    name = _RSA_WITH.get(algorithm.oid) or (hashed if algorithm.oid == _RSA else "")
    if not name:
        raise FormatError(f"the signature algorithm {algorithm.oid} is not taken for this key")
    info = _info(name, message)
    return block == b"\x00\x01" + b"\xff" * (size - len(info) - 3) + b"\x00" + info  # RFC 8017, section 9.2


def _info(name: str, message: bytes) -> bytes:
    """DigestInfo (RFC 8017, appendix A.2.4)."""
    return der.sequence(der.sequence(der.oid(name), der.null()), der.octets(digest(name, message)))


def _is_pss(block: bytes, bits: int, message: bytes, algorithm: Algorithm) -> bool:
    """RFC 8017, section 9.1.2, with MGF1 over the same digest (RFC 4055)."""
    name, salt_bytes = _pss_parameters(algorithm)
    hashed = digest(name, message)
    size = (bits + 7) // 8
    beyond, block = block[: len(block) - size], block[len(block) - size :]
    masked, h, last = block[: -len(hashed) - 1], block[-len(hashed) - 1 : -1], block[-1]
    zeros = 8 * size - bits
    if any(beyond) or last != 0xBC or len(masked) < salt_bytes + 1 or masked[0] >> (8 - zeros):
        return False
    mask, counter = b"", 0
    while len(mask) < len(masked):
        mask += digest(name, h + counter.to_bytes(4, "big"))
        counter += 1
    clear = bytearray(a ^ b for a, b in zip(masked, mask, strict=False))
    clear[0] &= 0xFF >> zeros
    padding, salt = clear[: len(clear) - salt_bytes], clear[len(clear) - salt_bytes :]
    if padding != bytes(len(padding) - 1) + b"\x01":
        return False
    return h == digest(name, bytes(8) + hashed + bytes(salt))


def _pss_parameters(algorithm: Algorithm) -> tuple[str, int]:
    """The digest's identifier and the salt's length; the defaults (SHA-1) are not taken."""
    wrong = FormatError("the parameters of an RSA-PSS signature are not taken", cure="One digest for all, not SHA-1")
    if algorithm.parameters is None:
        raise wrong
    reader = algorithm.parameters.reader()
    hashed, mask, salt = (reader.maybe(explicit(number)) for number in (0, 1, 2))
    reader.end()
    if hashed is None or mask is None:
        raise wrong
    name = Algorithm.of(read(hashed.content, SEQUENCE)).oid
    mgf = Algorithm.of(read(mask.content, SEQUENCE))
    if mgf.oid != _MGF1 or mgf.parameters is None or Algorithm.of(mgf.parameters).oid != name:
        raise wrong
    length = read(salt.content, INTEGER).integer() if salt else 20
    if not 0 <= length <= 64:
        raise wrong
    return name, length
