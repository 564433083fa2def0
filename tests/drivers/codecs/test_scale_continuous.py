"""Mettler Toledo's continuous output: frames made by hand from the tables of its status words."""

import itertools
from typing import Any

import msgspec
import pytest
from fakes.streaming import play, reasons, same_for_any_chunking, values
from hypothesis import given
from hypothesis import strategies as st

from drivers.codecs.base import Found, Refused, StreamCodec
from drivers.codecs.scale_continuous import check_byte
from drivers.limits import EXAMPLE_BYTES
from drivers.scale import ScaleOptions, codec
from drivers.simulators import quay, scales

NET, NEGATIVE, OUT, MOTION, KG, NOT_ZEROED = 1, 2, 4, 8, 16, 64


def make(*, drop_first: bool = False, **more: Any) -> StreamCodec:
    table = {"variant": "mt-continuous", "port": "/dev/null", **more}
    return codec(msgspec.convert(table, ScaleOptions), drop_first=drop_first)


def frame(weight: str = "  1234", tare: str = "000000", *, point: int = 2, b: int = KG, c: int = 0) -> bytes:
    """STX to CR, without the checksum."""
    return b"\x02" + bytes((0x28 | point, 0x20 | b, 0x20 | c)) + f"{weight:>6}{tare:>6}".encode() + b"\r"


def checked(body: bytes) -> bytes:
    return body + bytes((check_byte(body),))


def test_the_checksum_makes_the_sum_zero() -> None:
    body = bytes.fromhex("02 2B 30 20 30 30 31 32 33 34 30 30 30 30 30 30 0D")
    assert sum(body) + check_byte(body) & 0x7F == 0
    assert check_byte(body) == (0x80 - sum(body) % 0x80) % 0x80


@pytest.mark.parametrize(
    ("point", "mass"),
    [(0, 123400.0), (1, 12340.0), (2, 1234.0), (3, 123.4), (4, 12.34), (5, 1.234), (6, 0.1234), (7, 0.01234)],
)
def test_the_decimal_point_of_word_a(point: int, mass: float) -> None:
    found = values(play(make(), frame(point=point)))
    assert found == [{"mass": mass, "mode": "gross", "tare": 0.0}]


@pytest.mark.parametrize(("b", "c", "kilograms"), [(KG, 0, 1.0), (0, 0, 0.45359237), (KG, 1, 0.001), (0, 2, 1000.0)])
def test_the_units_of_words_b_and_c(b: int, c: int, kilograms: float) -> None:
    (found,) = values(play(make(), frame("1", b=b, c=c)))
    assert found["mass"] == kilograms


def test_net_negative_and_the_tare() -> None:
    found = play(make(checksum=True), checked(frame("000250", "001000", point=3, b=KG | NET | NEGATIVE)))
    assert values(found) == [{"mass": -25.0, "mode": "net", "tare": 100.0}]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"b": KG | MOTION}, "in_motion"),
        ({"b": KG | OUT}, "overload"),
        ({"b": KG | OUT | MOTION}, "overload"),
        ({"b": KG | OUT | NEGATIVE}, "underload"),
        ({"b": KG | NOT_ZEROED}, "not_zeroed"),
        ({"c": 16}, "expanded"),
        ({"c": 6}, "unknown_unit"),
        ({"c": 7}, "unknown_unit"),
        ({"weight": "12 34"}, "no_match"),
        ({"weight": "      "}, "no_match"),
        ({"weight": "------"}, "no_match"),
    ],
)
def test_what_is_no_weight(more: dict[str, Any], reason: str) -> None:
    assert reasons(play(make(), frame(**more))) == {reason: 1}
    assert reasons(play(make(checksum=True), checked(frame(**more)))) == {reason: 1}


def test_motion_that_is_kept_is_never_called_a_mass() -> None:
    (found,) = play(make(keep_motion=True), frame(b=KG | MOTION))
    assert isinstance(found, Found)
    assert [name for name, _, _ in found.records] == ["mass_in_motion", "mode", "tare"]
    assert found.quality == 2


def test_status_words_that_are_none() -> None:
    for at, byte in ((1, 0x4A), (2, 0x10), (3, 0x00), (1, 0xAA)):
        body = bytearray(frame())
        body[at] = byte
        assert reasons(play(make(), bytes(body))) == {"no_match": 1}


def test_a_wrong_checksum() -> None:
    right = checked(frame())
    wrong = right[:-1] + bytes((right[-1] ^ 1,))
    found = play(make(checksum=True), wrong + right)
    assert (reasons(found), len(values(found))) == ({"checksum": 1}, 1)


def test_a_checksum_that_is_not_configured_is_no_noise_where_it_is_right() -> None:
    assert play(make(), checked(frame()) * 3) == play(make(), frame() * 3)
    found = play(make(), frame() + b"x" + frame())
    assert (reasons(found), len(values(found))) == ({"noise": 1}, 2)


@pytest.mark.parametrize("special", [0x02, 0x0D, 0x00])
def test_a_checksum_that_looks_like_a_mark(special: int) -> None:
    """A weight at rest repeats it for hours: a reader that takes it for STX never finds a frame again."""
    bodies = (frame(str(10**n - 1), str(m), b=b) for b in (0, KG) for n in range(6) for m in range(1000))
    body = next(body for body in bodies if check_byte(body) == special)
    data = checked(body) * 4
    for more in ({}, {"checksum": True}):
        for start in (0, 5, 16, 17):
            found = play(make(**more), data[start:], chunk=1)
            assert len(values(found)) == 4 - (start > 0), (more, start)


def test_a_weighbridge_that_is_met_in_the_middle() -> None:
    data = b"".join(itertools.islice(quay.weighbridge(3, "mt-continuous"), 60))
    found = same_for_any_chunking(lambda: make(drop_first=True, checksum=True), data[4:], (1, 5, 17, 18))
    assert reasons(found) == {"partial_line": 1, "in_motion": 23}
    frames = [scales.FORMS["mt-continuous"](True, int(one["mass"])) for one in values(found)]
    assert len(frames) == 36
    assert all(one in data for one in frames)


def test_seven_bits_with_parity_read_as_eight() -> None:
    data = bytes(byte | (0x80 if byte.bit_count() % 2 else 0) for byte in checked(frame()) * 2)
    assert values(play(make(checksum=True), data)) == []
    assert len(values(play(make(checksum=True, mask_bit7=True), data))) == 2


def test_a_frame_goes_on_behind_a_silence_and_one_that_is_cut_off_is_told_at_the_end() -> None:
    stream = make()
    assert stream.feed(frame()[:9], None) == []
    assert stream.gap(None) == []
    assert len(values(stream.feed(frame()[9:], None))) == 1
    assert reasons(play(make(), frame()[:-1])) == {"noise": 1}


def test_noise_is_told_once_and_bounded() -> None:
    stream = make()
    found = [one for _ in range(100) for one in stream.feed(b"\x02x" * 500, None)]
    assert [len(one.example) for one in found if isinstance(one, Refused)] == [EXAMPLE_BYTES]
    assert len(values(stream.feed(frame(), None))) == 1
    assert reasons(stream.feed(b"y" * EXAMPLE_BYTES, None)) == {"noise": 1}


@given(
    st.lists(st.binary(max_size=30) | st.sampled_from([checked(frame()), frame(), frame(b=MOTION)]), max_size=6),
    st.integers(1, 30),
    st.booleans(),
)
def test_whatever_comes_is_found_or_refused(parts: list[bytes], chunk: int, checksum: bool) -> None:
    data = b"".join(parts)
    found = same_for_any_chunking(lambda: make(checksum=checksum), data, (chunk,))
    assert sum(len(one.raw or b"") for one in found if isinstance(one, Found)) <= len(data)
