"""Strict Ed25519 checking (docs/format.md section 4).

RFC 8032 leaves room in which two implementations may disagree on one signature. Here: S < L, canonical encodings of A
and R, neither of low order, and the equation without the cofactor. libsodium holds to all of it today; the rules on
the encodings are checked here as well, because what is a valid entry must not change with a library's release.
"""

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

KEY_BYTES = 32
SIGNATURE_BYTES = 64

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_Y = 2**255 - 1  # the y coordinate's bits; the one above is the sign of x
_LOW_ORDER = frozenset(
    [
        0,
        1,
        _P - 1,
        int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
        int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
    ]
)
"""The y coordinates of the eight points whose order divides 8."""


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) is `public`'s (32 bytes) over `message`; False for other lengths or encodings."""
    if len(public) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    if not (is_strict_point(public) and is_strict_point(signature[:32])):
        return False
    if int.from_bytes(signature[32:], "little") >= _L:
        return False
    try:
        crypto_sign_open(signature + message, public)
    except BadSignatureError:
        return False
    return True


def is_strict_point(encoded: bytes) -> bool:
    """Whether 32 bytes have a canonical y coordinate (below p) that belongs to no point of low order."""
    y = int.from_bytes(encoded, "little") & _Y
    return y < _P and y not in _LOW_ORDER
