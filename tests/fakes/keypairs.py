"""Elliptic keys for tests, each of a name: made, written down and signed with by `cryptography`."""

import base64
from functools import cache
from hashlib import sha256

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from gateway.core import curves
from gateway.core.sm3 import sm3

ORDERS = {
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp256k1": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
}


def secret(name: str) -> int:
    return int.from_bytes(sha256(name.encode()).digest()) >> 1


def derive(curve: ec.EllipticCurve, name: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(secret(name), curve)


def point(key: ec.EllipticCurvePrivateKey) -> str:
    """The bare point, in hexadecimal."""
    form = serialization.PublicFormat.UncompressedPoint
    return key.public_key().public_bytes(serialization.Encoding.X962, form).hex()


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    form, encoding = serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def sign(key: ec.EllipticCurvePrivateKey, data: bytes, *, high: bool = False) -> bytes:
    """DER over the SHA-256, with the lower s of the two, or the higher."""
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    other = ORDERS[key.curve.name] - s
    return encode_dss_signature(r, max(s, other) if high else min(s, other))


def is_low(key: ec.EllipticCurvePublicKey, signature: bytes) -> bool:
    return 2 * decode_dss_signature(signature)[1] <= ORDERS[key.curve.name]


def sm2(name: str) -> tuple[str, int]:
    """A bare point and its secret."""
    own = secret(name)
    x, y = _times(own)
    return f"04{x:064x}{y:064x}", own


def sm2_sign(secret: int, message: bytes) -> bytes:
    """DER of GB/T 32918.2 section 6, with a k that hangs on the message. A published sample tests what checks it."""
    n = curves.SM2.n
    e = int.from_bytes(sm3(curves.sm2_za(_times(secret)) + message))
    k = int.from_bytes(sha256(b"k" + message).digest()) >> 1
    r = (e + _times(k)[0]) % n
    return encode_dss_signature(r, pow(1 + secret, -1, n) * (k - r * secret) % n)


def sm2_verifies(public: str, signature: bytes, message: bytes) -> bool:
    return curves.is_sm2(curves.SM2.point(bytes.fromhex(public)), message, *decode_dss_signature(signature))


def sm2_line(secret: int) -> str:
    """The secret as the configuration has it: PKCS#8, in base64."""
    head = bytes.fromhex("3041020100301306072a8648ce3d020106082a811ccf5501822d042730250201010420")
    return base64.b64encode(head + secret.to_bytes(32)).decode()


@cache
def _times(secret: int) -> curves.Point:
    point = curves._combine(curves.SM2, secret, curves.SM2.base, 0)
    assert point
    return point
