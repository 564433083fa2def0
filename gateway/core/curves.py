"""Signatures over short Weierstrass curves, checked: ECDSA over P-256 (FIPS 186-5) and secp256k1 (SEC 2), and SM2
(GB/T 32918.2, with the curve of GB/T 32918.5).

In Python, so that a proof is checked where nothing else is installed: some 3 ms a signature on a desktop. Only public
values are handled, so its time may tell of them. Nothing here signs.
"""

from dataclasses import dataclass

from gateway.core.sm3 import sm3
from gateway.errors import FormatError

SM2_ID = b"1234567812345678"
"""GM/T 0009: who signs, where nothing else was agreed."""

Point = tuple[int, int]
_Jacobian = tuple[int, int, int]  # (X / Z^2, Y / Z^3); Z = 0 at infinity
_INFINITY: _Jacobian = (1, 1, 0)


@dataclass(frozen=True, slots=True)
class Curve:
    """y^2 = x^3 + ax + b over the integers modulo p (3 modulo 4), with a base point of prime order n."""

    name: str
    p: int
    a: int
    b: int
    n: int
    base: Point

    def point(self, data: bytes) -> Point:
        """The point in 64 bytes, x and y, or in 65 that begin with 04. FormatError where it is not on the curve."""
        if len(data) == 65 and data[0] == 4:
            data = data[1:]
        if len(data) != 64:
            raise FormatError(
                f"a {self.name} key is a bare point of 65 bytes, 04 first, not {len(data)} bytes",
                cure="Write the point alone in hexadecimal: no certificate, no compressed form",
            )
        x, y = int.from_bytes(data[:32], "big"), int.from_bytes(data[32:], "big")
        if x >= self.p or y >= self.p or (y * y - x * x * x - self.a * x - self.b) % self.p:
            raise FormatError(f"the point is not on {self.name}", cure="Check the key, and which algorithm it is for")
        return x, y


P256 = Curve(
    "P-256",
    0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF,
    -3,
    0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    (
        0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    ),
)
SECP256K1 = Curve(
    "secp256k1",
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFC2F,
    0,
    7,
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
    (
        0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
        0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
    ),
)
SM2 = Curve(
    "SM2",
    0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF,
    -3,
    0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93,
    0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123,
    (
        0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
        0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
    ),
)


def is_ecdsa(curve: Curve, public: Point, digest: bytes, r: int, s: int) -> bool:
    """Whether (r, s) is an ECDSA signature over a digest of 32 bytes. A high s is for the caller to refuse."""
    n = curve.n
    if not (0 < r < n and 0 < s < n):
        return False
    inverse = pow(s, -1, n)
    x = _combine(curve, int.from_bytes(digest, "big") * inverse % n, public, r * inverse % n)
    return x is not None and x[0] % n == r


def recover(curve: Curve, digest: bytes, r: int, s: int, odd: int) -> Point:
    """The key whose ECDSA signature over a digest of 32 bytes this is; `odd`, 0 or 1, is the parity of R's y.

    An R whose x is n or more is refused: no signature has it but by construction.
    """
    n, p = curve.n, curve.p
    if not (0 < r < n and 0 < s < n) or odd not in (0, 1):
        raise FormatError("a signature's r, s or parity is out of range")
    square = (r * r * r + curve.a * r + curve.b) % p
    y = pow(square, (p + 1) // 4, p)
    if y * y % p != square:
        raise FormatError("no point of the curve belongs to the signature's r")
    if y & 1 != odd:
        y = p - y
    inverse = pow(r, -1, n)
    public = _combine(curve, -int.from_bytes(digest, "big") * inverse % n, (r, y), s * inverse % n)
    if public is None:
        raise FormatError("the signature belongs to no key")
    return public


def is_sm2(public: Point, message: bytes, r: int, s: int, *, identity: bytes = SM2_ID) -> bool:
    """Whether (r, s) is an SM2 signature with SM3 over a message of any length (GB/T 32918.2 section 7)."""
    n = SM2.n
    if not (0 < r < n and 0 < s < n) or (t := (r + s) % n) == 0:
        return False
    point = _combine(SM2, s, public, t)
    e = int.from_bytes(sm3(sm2_za(public, identity) + message), "big")
    return point is not None and (e + point[0]) % n == r


def sm2_za(public: Point, identity: bytes = SM2_ID) -> bytes:
    """The 32 bytes that stand before the message: who signs, the curve, the key (GB/T 32918.2 section 5.5)."""
    values = (SM2.a % SM2.p, SM2.b, *SM2.base, *public)
    return sm3(
        (8 * len(identity)).to_bytes(2, "big") + identity + b"".join([value.to_bytes(32, "big") for value in values])
    )


def _combine(curve: Curve, u: int, other: Point, v: int) -> Point | None:
    """u times the base point and v times another, 0 <= u, v < n; None at infinity."""
    base, point = (*curve.base, 1), (*other, 1)
    both = _add(curve, base, point)
    table = (_INFINITY, base, point, both)
    result = _INFINITY
    for bit in range(max(u.bit_length(), v.bit_length()) - 1, -1, -1):
        result = _double(curve, result)
        chosen = (u >> bit & 1) | (v >> bit & 1) << 1
        if chosen:
            result = _add(curve, result, table[chosen])
    x, y, z = result
    if z == 0:
        return None
    inverse = pow(z, -1, curve.p)
    square = inverse * inverse % curve.p
    return x * square % curve.p, y * square * inverse % curve.p


def _double(curve: Curve, point: _Jacobian) -> _Jacobian:
    x, y, z = point
    p = curve.p
    if z == 0 or y == 0:
        return _INFINITY
    yy = y * y % p
    s = 4 * x * yy % p
    zz = z * z % p
    m = (3 * x * x + curve.a * zz * zz) % p
    x3 = (m * m - 2 * s) % p
    return x3, (m * (s - x3) - 8 * yy * yy) % p, 2 * y * z % p


def _add(curve: Curve, one: _Jacobian, two: _Jacobian) -> _Jacobian:
    p = curve.p
    x1, y1, z1 = one
    x2, y2, z2 = two
    if z1 == 0:
        return two
    if z2 == 0:
        return one
    zz1, zz2 = z1 * z1 % p, z2 * z2 % p
    u1, u2 = x1 * zz2 % p, x2 * zz1 % p
    s1, s2 = y1 * zz2 * z2 % p, y2 * zz1 * z1 % p
    if u1 == u2:
        return _double(curve, one) if s1 == s2 else _INFINITY
    h, r = u2 - u1, s2 - s1
    hh = h * h % p
    hhh, v = h * hh % p, u1 * hh % p
    x3 = (r * r - hhh - 2 * v) % p
    return x3, (r * (v - x3) - s1 * hhh) % p, z1 * z2 * h % p
