import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.codecs.base import Found, Framed, Refused
from drivers.codecs.sdi12 import SdiReader, SdiValue, announced, crc, values
from drivers.codecs.values import Unfit
from drivers.framing import LineFramer
from drivers.limits import SDI12_VALUES


def findings(data: bytes, **table: dict[str, object]) -> list[Found | Refused]:
    made = Framed(LineFramer(), SdiReader(msgspec.convert(table, dict[str, SdiValue])), mask_bit7=True)
    return [*made.feed(data, None), *made.end(None)]


def test_the_crc_of_the_specification() -> None:
    """SDI-12 1.4, 4.4.12.2: the examples of a sensor that answers 0D0! with 0+3.14."""
    assert crc(b"0+3.14") == b"OqZ"
    assert values(b"0+3.14OqZ", checked=True) == values(b"0+3.14OqZ", checked=None) == [3.14]


def test_announcements_and_values() -> None:
    assert announced(b"00132") == ("0", 13, 2)
    assert announced(b"C00208") == ("C", 2, 8)
    assert values(b"C+000.72+001.90+005.20-3", checked=False) == [0.72, 1.9, 5.2, -3.0]
    assert values(b"0", checked=False) == []
    assert values(b"0-.5+7.", checked=False) == [-0.5, 7.0]
    for line in (b"", b"0013", b"0+1", b"+1+2", b"000132+"):
        with pytest.raises(Unfit, match="no_match"):
            announced(line)
    for line in (b"", b"+1", b"0+", b"0+1x", b"0+1+", b"0 +1", b"0+1,2"):
        with pytest.raises(Unfit):
            values(line, checked=False)
    for line in (b"0+3.14OqY", b"0+3.15OqZ", b"0+3.14", b"0"):
        with pytest.raises(Unfit):
            values(line, checked=True)


@given(st.lists(st.integers(-9_999, 9_999), max_size=3), st.integers(0, 40), st.integers(1, 255))
def test_a_damaged_byte_is_seen(numbers: list[int], at: int, flip: int) -> None:
    line = b"7" + b"".join(b"%+d" % one for one in numbers)
    whole = line + crc(line)
    assert values(whole, checked=True) == numbers
    damaged = bytearray(whole)
    damaged[at % len(whole)] ^= flip
    with pytest.raises(Unfit):
        values(bytes(damaged), checked=True)


def test_a_recorded_bus_with_commands_and_without() -> None:
    expected = [("v1", None, 0.72), ("v2", None, 1.9), ("v3", None, 5.2)]
    for data in (
        b"CC0!\r\nC00203\r\nCD0!\r\nC+000.72+001.90\r\nCD1!\r\nC+005.20\r\n",
        b"CC0!C00203\r\nCD0!C+000.72+001.90\r\nCD1!C+005.20",
        b"C00203\nC\nC+000.72+001.90\nC+005.20\n",
        b"C+000.72+001.90+005.20\r\n",
    ):
        (found,) = findings(data)
        assert isinstance(found, Found)
        assert (found.records, found.device) == (expected, "C")
        assert found.raw is not None
        assert b"C+000.72" in found.raw


def test_two_sensors_in_turn_with_a_table_and_a_crc() -> None:
    first, second = b"0+3.14", b"1-9999"
    data = b"0MC!00011\n1MC!10011\n0D0!" + first + crc(first) + b"\n1D0!" + second + crc(second) + b"\n"
    one, two = findings(data, ec={"index": 1, "unit": "S/m", "scale": 0.1})
    assert isinstance(one, Found)
    assert isinstance(two, Found)
    assert (one.device, one.records, one.quality) == ("0", [("ec", "S/m", 0.314)], 0)
    assert (two.device, two.records, two.quality) == ("1", [], 8)
    (refused,) = findings(b"0MC!00011\n0D0!0+3.14\n")
    assert isinstance(refused, Refused)
    assert refused.reason in ("checksum", "no_match")


def test_a_measurement_that_is_not_finished_is_told_when_the_next_begins() -> None:
    refused, found = findings(b"0M!00014\n0D0!0+1+2\n0M!00011\n0D0!0+5\n")
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.example) == ("incomplete", b"0+1+2")
    assert isinstance(found, Found)


def test_as_many_values_as_there_may_be_and_one_more() -> None:
    line = b"0" + b"+1" * 33
    (found,) = findings(b"0C!000099\n" + (line + b"\n") * 3)
    assert isinstance(found, Found)
    assert len(found.records) == SDI12_VALUES
    (refused,) = findings(b"0" + b"+1" * (SDI12_VALUES + 1))
    assert isinstance(refused, Refused)
    assert refused.reason == "too_many_values"


def test_other_commands_say_nothing() -> None:
    assert findings(b"?!0\n0I!014VENDOR  MODEL123\n0A1!1\n0!0\n") == []
