"""Keys that sign calls to others' services (gateway/core/bsn.py): ECDSA by `cryptography`, or SM2."""

from importlib import import_module
from typing import Protocol

from gateway import sm2
from gateway.core import der
from gateway.core.curves import P256, SECP256K1, Curve
from gateway.core.note import b64decode
from gateway.core.sm3 import sm3
from gateway.errors import BugError, EngineError, FormatError, KeyFileError

_CURVES = {"p256": P256, "secp256k1": SECP256K1}
_HAZMAT = "cryptography.hazmat.primitives."
_SECRET = bytes.fromhex("0201010420")
"""What stands before the 32 bytes of the secret in a PKCS#8 file of an elliptic key (RFC 5915)."""
_OIDS = {
    "p256": bytes.fromhex("06082a8648ce3d030107"),
    "secp256k1": bytes.fromhex("06052b8104000a"),
    "sm2": bytes.fromhex("06082a811ccf5501822d"),
}
_INSTALL = "It is a part of the program: install that anew"
_ONE_LINE = "Write it as one line: openssl pkcs8 -topk8 -nocrypt -outform DER -in key.pem | base64 -w0"


class AccessKey(Protocol):
    """A private key that signs calls."""

    @property
    def public(self) -> bytes:
        """Its bare point, 65 bytes."""

    def sign(self, message: bytes) -> bytes:
        """DER over the SHA-256 of the message, with a low s; for SM2 over its SM3 as a message."""


class _EcdsaKey:
    """It shows its public half only."""

    __slots__ = ("_curve", "_secret", "public")

    def __init__(self, curve: Curve, secret: bytes) -> None:
        ec, serialization = (import_module(_HAZMAT + name) for name in ("asymmetric.ec", "serialization"))
        named = {P256.name: ec.SECP256R1, SECP256K1.name: ec.SECP256K1}[curve.name]()
        self._curve, self._secret = curve, ec.derive_private_key(int.from_bytes(secret, "big"), named)
        self.public: bytes = self._secret.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

    def sign(self, message: bytes) -> bytes:
        ec, hashes = (import_module(_HAZMAT + name) for name in ("asymmetric.ec", "hashes"))
        r, s = der.read_signature(self._secret.sign(message, ec.ECDSA(hashes.SHA256())))
        return der.signature(r, min(s, self._curve.n - s))

    def __repr__(self) -> str:
        return f"<{self._curve.name} key {self.public.hex()}>"

    def __reduce__(self) -> str:
        raise BugError("a private key is not copied or pickled")


class _Sm2Key:
    __slots__ = ("_key", "public")

    def __init__(self, secret: bytes) -> None:
        self._key = sm2.Key(secret)
        self.public = self._key.public

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(sm3(message))


def parse_access_key(text: str, algorithm: str, *, where: str) -> AccessKey:
    """The key in the base64 of an unencrypted PKCS#8 file, of one of core/bsn.py's algorithms.

    KeyFileError where it is none, of another curve, or cannot sign here. `where` is for the message, which shows
    nothing of the text.
    """
    try:
        head, marked, rest = b64decode(text, "the key").partition(_SECRET)
        if not marked or _OIDS[algorithm] not in head or len(rest) < 32:
            raise FormatError("another kind of key")
        secret = rest[:32]
        return _Sm2Key(secret) if algorithm == "sm2" else _EcdsaKey(_CURVES[algorithm], secret)
    except (FormatError, ValueError):
        raise KeyFileError(f"this is no private key for {algorithm} in PKCS#8", where=where, cure=_ONE_LINE) from None
    except ImportError:
        raise KeyFileError(
            "the package cryptography, which signs with it, is not installed", where=where, cure=_INSTALL
        ) from None
    except EngineError as exc:
        raise KeyFileError(exc.what, where=where, cure=exc.cure) from exc
