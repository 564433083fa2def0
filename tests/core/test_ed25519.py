"""What a strict checker accepts and refuses (docs/format.md section 4), on points made here and on published ones."""

import json
from hashlib import sha512

import pytest
from nacl.signing import SigningKey

from gateway.core import ed25519

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
I = pow(2, (P - 1) // 4, P)  # noqa: E741 - the square root of -1

Point = tuple[int, int]
IDENTITY: Point = (0, 1)


def x_of(y: int) -> int | None:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * I % P
    return x if x * x % P == square else None


def add(a: Point, b: Point) -> Point:
    product = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + product, -1, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P)
    return x % P, y % P


def multiply(n: int, point: Point) -> Point:
    result = IDENTITY
    while n:
        if n & 1:
            result = add(result, point)
        point = add(point, point)
        n >>= 1
    return result


def encode(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


_base_y = 4 * pow(5, -1, P) % P
_base_x = x_of(_base_y)
assert _base_x is not None
BASE: Point = (_base_x if _base_x % 2 == 0 else P - _base_x, _base_y)


def torsion_generator() -> Point:
    """A point of order 8: L times one that is not in the subgroup."""
    for y in range(2, 100):
        x = x_of(y)
        if x is not None and multiply(4, point := multiply(L, (x, y))) != IDENTITY:
            return point
    raise AssertionError


TORSION = [multiply(k, torsion_generator()) for k in range(8)]
SCALAR, NONCE = 0x1234567890ABCDEF1234567890ABCDEF % L, 0xFEDCBA987654321 % L
MESSAGE = b"entry"


def challenge(r: bytes, a: bytes) -> int:
    return int.from_bytes(sha512(r + a + MESSAGE).digest(), "little") % L


def sign(a_torsion: Point = IDENTITY, r_torsion: Point = IDENTITY) -> tuple[bytes, bytes, int]:
    """(A, R, S) with points of low order mixed in; the equation then holds times the cofactor, and may hold without."""
    a = encode(add(multiply(SCALAR, BASE), a_torsion))
    r = encode(add(multiply(NONCE, BASE), r_torsion))
    return a, r, (NONCE + challenge(r, a) * SCALAR) % L


def holds(a_torsion: Point, r_torsion: Point, k: int) -> bool:
    """Whether the torsion parts cancel, so that SB = R + kA without the cofactor."""
    return add(r_torsion, multiply(k, a_torsion)) == IDENTITY


def check(a: bytes, r: bytes, s: int) -> bool:
    return ed25519.verify(a, MESSAGE, r + s.to_bytes(32, "little"))


def test_the_first_two_vectors_of_rfc_8032():
    for public, message, signature in (
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ):
        assert ed25519.verify(*map(bytes.fromhex, (public, message, signature)))


def test_any_change_of_a_signed_thing_is_refused():
    key = SigningKey(bytes(range(32)))
    public, signature = bytes(key.verify_key), key.sign(MESSAGE).signature
    assert ed25519.verify(public, MESSAGE, signature)
    assert not ed25519.verify(public, MESSAGE + b"\0", signature)
    for bit in range(512):
        assert not ed25519.verify(public, MESSAGE, flip(signature, bit))
    for bit in range(256):
        assert not ed25519.verify(flip(public, bit), MESSAGE, signature)


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("length", [0, 31, 33, 63, 64, 65])
def test_other_lengths_are_refused_and_nothing_is_raised(length):
    key = SigningKey(bytes(32))
    public, signature = bytes(key.verify_key), key.sign(MESSAGE).signature
    padded = (signature * 2)[:length]
    assert ed25519.verify(public, MESSAGE, padded) is (length == 64)
    assert ed25519.verify((public * 3)[:length], MESSAGE, signature) is False


def test_the_arithmetic_here_makes_signatures_that_hold():
    a, r, s = sign()
    assert check(a, r, s)


def test_s_must_be_below_the_order():
    a, r, s = sign()
    for times in range(1, 2**256 // L):
        if s + times * L < 2**256:
            assert not check(a, r, s + times * L)
    assert not check(a, r, L)
    assert not check(a, r, 2**256 - 1)


def test_no_point_of_low_order_signs_or_is_committed_to():
    assert len({encode(point) for point in TORSION}) == 8
    for low in TORSION:
        encoded = encode(low)
        assert not ed25519.is_strict_point(encoded)
        # A of low order: S = nonce and R = nonce B satisfy the equation for each k that clears A.
        assert not check(encoded, encode(multiply(NONCE, BASE)), NONCE)
        a = encode(multiply(SCALAR, BASE))
        assert not check(a, encoded, challenge(encoded, a) * SCALAR % L)
        for other in TORSION:
            assert not check(encoded, encode(other), 0)


def test_every_encoding_that_is_not_canonical_is_refused():
    for y in range(19):  # y + p still fits 255 bits
        for sign_bit in (0, 1 << 255):
            assert not ed25519.is_strict_point((y + P | sign_bit).to_bytes(32, "little"))
    canonical = [y for y in range(2, 19) if x_of(y) is not None]
    assert canonical
    assert all(ed25519.is_strict_point(y.to_bytes(32, "little")) for y in canonical)
    assert ed25519.is_strict_point((P - 2).to_bytes(32, "little"))
    assert not ed25519.is_strict_point(P.to_bytes(32, "little"))


def test_points_with_a_low_order_part_count_only_without_the_cofactor():
    accepted = refused = 0
    for a_torsion in TORSION:
        for r_torsion in TORSION:
            a, r, s = sign(a_torsion, r_torsion)
            expected = holds(a_torsion, r_torsion, challenge(r, a))
            assert check(a, r, s) is expected
            accepted += expected
            refused += not expected
    assert accepted > 1
    assert refused > 1


STRICT = frozenset(["low_order_component_A", "low_order_component_R"])
"""The only flags of a signature that is accepted: mixed points whose low-order parts cancel (no residue)."""


def test_published_edge_cases(vectors):
    cases = json.loads((vectors / "ed25519-cctv.json").read_text())
    assert len(cases) == 914
    accepted = 0
    for case in cases:
        public, signature = bytes.fromhex(case["key"]), bytes.fromhex(case["sig"])
        expected = set(case["flags"] or []) <= STRICT
        assert ed25519.verify(public, case["msg"].encode(), signature) is expected, case
        accepted += expected
    assert accepted == 43
