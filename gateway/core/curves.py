"""Signatures over short Weierstrass curves, checked: ECDSA over P-256, P-384, P-521 (FIPS 186-5) and secp256k1
(SEC 2), and SM2 (GB/T 32918.2, with the curve of GB/T 32918.5).

In Python, so that a proof is checked where nothing else is installed: some 2 ms a signature on a desktop. Only public
values are handled, so its time may tell of them. Nothing here signs.
"""

from dataclasses import dataclass
from functools import cache

from gateway.core.sm3 import sm3
from gateway.errors import FormatError

SM2_ID = b"1234567812345678"
"""GM/T 0009: who signs, where nothing else was agreed."""

Point = tuple[int, int]
_Jacobian = tuple[int, int, int]  # (X / Z^2, Y / Z^3); Z = 0 at infinity
_INFINITY: _Jacobian = (1, 1, 0)
_WIDTH, _BASE_WIDTH = 5, 7  # bits of a signed digit: more take larger tables


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
        """The point in x and y, 64 bytes on most curves, or with 04 before. FormatError where it is off the curve."""
        size = (self.p.bit_length() + 7) // 8
        if len(data) == 1 + 2 * size and data[0] == 4:
            data = data[1:]
        if len(data) != 2 * size:
            raise FormatError(
                f"a {self.name} key is a bare point of {1 + 2 * size} bytes, 04 first, not {len(data)} bytes",
                cure="Write the point alone in hexadecimal: no certificate, no compressed form",
            )
        x, y = int.from_bytes(data[:size], "big"), int.from_bytes(data[size:], "big")
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
P384 = Curve(
    "P-384",
    2**384 - 2**128 - 2**96 + 2**32 - 1,
    -3,
    0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    (
        0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
        0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
    ),
)
P521 = Curve(
    "P-521",
    2**521 - 1,
    -3,
    int(
        "0051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1bf07"
        "3573df883d2c34f1ef451fd46b503f00",
        16,
    ),
    2**521 - 0x5AE79787C40D069948033FEB708F65A2FC44A36477663B851449048E16EC79BF7,
    (
        int(
            "00c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de"
            "3348b3c1856a429bf97e7e31c2e5bd66",
            16,
        ),
        int(
            "011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761"
            "353c7086a272c24088be94769fd16650",
            16,
        ),
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
    """Whether (r, s) is an ECDSA signature over a digest, of which as many bits count as n has.

    A high s is for the caller to refuse.
    """
    n = curve.n
    if not (0 < r < n and 0 < s < n):
        return False
    inverse = pow(s, -1, n)
    e = int.from_bytes(digest, "big") >> max(0, 8 * len(digest) - n.bit_length())
    x = _combine(curve, e * inverse % n, public, r * inverse % n)
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
    """u times the base point and v times another, 0 <= u, v < n; None at infinity.

    Both by signed digits, of which few are not zero, over tables of odd multiples (Handbook of Elliptic and
    Hyperelliptic Curve Cryptography, algorithms 9.35 and 9.23).
    """
    own, theirs = _base_multiples(curve), _multiples(curve, other, _WIDTH)
    result = _INFINITY
    for mine, its in zip(_digits(curve, u, _BASE_WIDTH), _digits(curve, v, _WIDTH), strict=True):
        result = _double(curve, result)
        if mine:
            result = _add(curve, result, own[mine])
        if its:
            result = _add(curve, result, theirs[its])
    return _affine(curve, result)


def _digits(curve: Curve, number: int, width: int) -> list[int]:
    """A number below n, as digits of powers of 2, the highest first: 0, or odd and less than 2^(width - 1) off it."""
    digits, at = [0] * (curve.n.bit_length() + 1), 0
    while number:
        zeros = (number & -number).bit_length() - 1
        number >>= zeros
        at += zeros
        digit = number & (1 << width) - 1
        digit -= digit >> width - 1 << width
        digits[at] = digit
        number -= digit
    return digits[::-1]


@cache
def _base_multiples(curve: Curve) -> dict[int, _Jacobian]:
    """Those of the base point, each with Z = 1, which is added faster: made once, in some milliseconds."""
    points = [(key, _affine(curve, one)) for key, one in _multiples(curve, curve.base, _BASE_WIDTH).items()]
    return {key: (*point, 1) for key, point in points if point is not None}


def _multiples(curve: Curve, point: Point, width: int) -> dict[int, _Jacobian]:
    """The multiples of a point that digits of a width ask for."""
    found: list[_Jacobian] = [(*point, 1)]
    twice = _double(curve, found[0])
    while len(found) < 1 << width - 2:
        found.append(_add(curve, found[-1], twice))
    ahead = {2 * place + 1: one for place, one in enumerate(found)}
    return ahead | {-key: (x, -y % curve.p, z) for key, (x, y, z) in ahead.items()}


def _affine(curve: Curve, point: _Jacobian) -> Point | None:
    """Its x and y; None at infinity."""
    x, y, z = point
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
    zz1 = z1 * z1 % p
    u1, u2 = x1, x2 * zz1 % p
    s1, s2 = y1, y2 * z1 % p * zz1 % p
    z3 = z1
    if z2 != 1:
        zz2 = z2 * z2 % p
        u1, s1, z3 = x1 * zz2 % p, y1 * z2 % p * zz2 % p, z1 * z2 % p
    if u1 == u2:
        return _double(curve, one) if s1 == s2 else _INFINITY
    h, r = u2 - u1, s2 - s1
    hh = h * h % p
    hhh, v = h * hh % p, u1 * hh % p
    x3 = (r * r - hhh - 2 * v) % p
    return x3, (r * (v - x3) - s1 * hhh) % p, z3 * h % p
