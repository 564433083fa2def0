"""Signatures over P-256, secp256k1 and SM2: against `cryptography`, published samples, and with anything changed."""

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import curves, der
from gateway.core.sm3 import in_python, sm3
from gateway.errors import FormatError

CURVES = {curves.P256: ec.SECP256R1(), curves.SECP256K1: ec.SECP256K1()}
LONGER = {curves.P384: ec.SECP384R1(), curves.P521: ec.SECP521R1()}
SECRETS = st.integers(1, 2**255)
few = settings(max_examples=15, deadline=None)


def public_of(key):
    numbers = key.public_key().public_numbers()
    return numbers.x, numbers.y


def sign(key, digest):
    return decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_what_another_library_signs(curve):
    @few
    @given(SECRETS, st.binary(max_size=40), st.integers(0, 255))
    def check(secret, message, bit):
        key = ec.derive_private_key(secret, CURVES[curve])
        digest = sha256(message).digest()
        r, s = sign(key, digest)
        public = public_of(key)
        assert curves.is_ecdsa(curve, public, digest, r, s)
        assert curves.is_ecdsa(curve, public, digest, r, curve.n - s)
        flipped = (int.from_bytes(digest, "big") ^ 1 << bit).to_bytes(32, "big")
        assert not curves.is_ecdsa(curve, public, flipped, r, s)
        assert not curves.is_ecdsa(curve, public, digest, r ^ 1 << bit, s)
        assert not curves.is_ecdsa(curve, public, digest, r, s ^ 1 << bit)
        assert public in [curves.recover(curve, digest, r, s, odd) for odd in (0, 1)]

    check()


@pytest.mark.parametrize("curve", [*CURVES, curves.SM2], ids=lambda curve: curve.name)
def test_multiples_add_up(curve):
    """Where points meet, cancel or are nothing, too."""
    n, twice = curve.n, curves._combine(curve, 2, curve.base, 0)
    for u, v in [(0, 0), (0, 1), (n - 1, 1), (n - 2, 1), (n - 1, n - 1), *((u, v) for u in range(5) for v in (2, 9))]:
        assert curves._combine(curve, u, twice, v) == curves._combine(curve, (u + 2 * v) % n, twice, 0)
    assert curves._combine(curve, n - 2, twice, 1) is None
    assert curves._combine(curve, n - 3, twice, 1) == (curve.base[0], curve.p - curve.base[1])


@pytest.mark.parametrize("hashed", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda hashed: hashed.name)
@pytest.mark.parametrize("curve", [curves.P256, *LONGER], ids=lambda curve: curve.name)
def test_digests_and_curves_of_other_lengths(curve, hashed):
    key = ec.generate_private_key({**CURVES, **LONGER}[curve])
    hasher = hashes.Hash(hashed)
    hasher.update(b"message")
    digest = hasher.finalize()
    r, s = decode_dss_signature(key.sign(b"message", ec.ECDSA(hashed)))
    assert curves.is_ecdsa(curve, public_of(key), digest, r, s)
    assert not curves.is_ecdsa(curve, public_of(key), digest[::-1], r, s)
    size = (curve.p.bit_length() + 7) // 8
    assert curve.point(b"\4" + b"".join(value.to_bytes(size, "big") for value in public_of(key))) == public_of(key)


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_numbers_out_of_range(curve):
    digest = bytes(32)
    for r, s in ((0, 1), (1, 0), (curve.n, 1), (1, curve.n)):
        assert not curves.is_ecdsa(curve, curve.base, digest, r, s)
        with pytest.raises(FormatError, match="range"):
            curves.recover(curve, digest, r, s, 0)
    assert not curves.is_sm2(curves.SM2.base, b"", 1, curves.SM2.n - 1)  # r + s = n


@pytest.mark.parametrize("curve", [*CURVES, curves.SM2], ids=lambda curve: curve.name)
def test_points(curve):
    x, y = (value.to_bytes(32, "big") for value in curve.base)
    assert curve.point(x + y) == curve.point(b"\4" + x + y) == curve.base
    assert curves._combine(curve, curve.n - 1, curve.base, 1) is None
    assert curves._combine(curve, curve.n - 1, curve.base, 2) == curve.base
    for wrong in (y + x, x + bytes(32), b"\2" + x, b"\3" + x + y, x + y + x, b"", b"\xff" * 64):
        with pytest.raises(FormatError):
            curve.point(wrong)


def test_the_sample_of_gbt_32918_5():
    public = (
        0x09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020,
        0xCCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13,
    )
    r = 0xF5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3
    s = 0xB1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA
    assert curves.sm2_za(public).hex() == "b2e14c5c79c6df5b85f4fe7ed8db7a262b9da7e07ccb0ea9f4747b8ccda8a4f3"
    assert curves.is_sm2(public, b"message digest", r, s)
    assert not curves.is_sm2(public, b"message digest.", r, s)
    assert not curves.is_sm2(public, b"message digest", r, s, identity=b"another")
    assert not curves.is_sm2(public, b"message digest", s, r)


def test_sm3_samples():
    assert sm3(b"abc").hex() == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
    assert in_python(b"abcd" * 16).hex() == "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300))
def test_sm3_of_anything(data):
    assert in_python(data) == sm3(data)


@given(st.integers(0, 2**256), st.integers(0, 2**256))
def test_der_both_ways(r, s):
    assert der.read_signature(der.signature(r, s)) == (r, s)


@given(st.binary(max_size=10) | st.binary(max_size=12).map(lambda data: b"\x30" + bytes([len(data)]) + data))
def test_der_takes_one_form(data):
    try:
        r, s = der.read_signature(data)
    except FormatError:
        return
    assert der.signature(r, s) == data


@pytest.mark.parametrize(
    "data",
    [
        "",
        "30",
        "3006020101",
        "300602010102010100",  # a byte after it
        "30070201010202007f",  # a superfluous zero
        "3006020181020101",  # a negative number
        "300702010102010100",  # a third item
        "30810602010102 0101",  # a long length
        "3006030101020101",
    ],
)
def test_der_refused(data):
    with pytest.raises(FormatError):
        der.read_signature(bytes.fromhex(data))


def test_der_lengths():
    assert der.octets(bytes(127))[:2] == b"\x04\x7f"
    assert der.octets(bytes(128))[:3] == b"\x04\x81\x80"
    assert der.octets(bytes(256))[:4] == b"\x04\x82\x01\x00"
    assert der.integer(0) == b"\x02\x01\x00"
    assert der.integer(128) == b"\x02\x02\x00\x80"
