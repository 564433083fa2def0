"""What a device sends where it has no value is marked, in every format of lines, and is never passed off as one."""

from typing import Any

import msgspec
import pytest
from fakes.streaming import play, reasons, values
from hypothesis import given
from hypothesis import strategies as st

from drivers.api import OUT_OF_RANGE
from drivers.codecs.base import Found
from drivers.codecs.values import ValueMap
from drivers.lines import LineOptions, stream


def lines(data: bytes, **table: Any) -> list[Any]:
    return play(stream(msgspec.convert(table, LineOptions)), data)


WELL_KNOWN = [
    ([65535], "65535", "65534"),
    ([85], "85.00", "84.9375"),
    ([85], "85", "-85"),
    ([-9999], "-9999.0", "-9998.9"),
    ([-9999], "-  9999", "9999"),
    ([-127], "-127", "127"),
    ([0x7FFF], "32767", "32766"),
    ([0x7FFF], "0x7FFF", "32766"),
    ([0x7FFF], "0x7fff", "32766"),
    (["0x7FFF"], "32767", "-32767"),
    (["0x7FFF"], "0X7fff", "-32767"),
    (["---"], "---", "3"),
    (["ERR", 9999], "ERR", "3"),
    (["ERR", 9999], "9999", "3"),
    (["-9999..-9990"], "-9992", "-9989.9"),
    (["-9999..-9990"], "-9999", "-9999.1"),
    (["-9999..-9990"], "-9990.0", "0"),
    (["0.5..2"], "1", "2.01"),
    ([], "nan", "0"),
    ([], "-Infinity", "0"),
]


@pytest.mark.parametrize(("sentinels", "without", "with_value"), WELL_KNOWN)
def test_in_a_column_of_csv(sentinels: list[Any], without: str, with_value: str) -> None:
    data = f"{without},1\n{with_value},2\n".encode()
    found = lines(data, format="csv", columns=["v", "n"], values={"v": {"sentinels": sentinels}, "n": {}})
    assert [one.quality for one in found] == [OUT_OF_RANGE, 0]
    assert values(found) == [{"n": 1}, {"v": float(with_value), "n": 2}]


@pytest.mark.parametrize(("sentinels", "without", "with_value"), WELL_KNOWN)
def test_in_a_group_of_a_pattern_and_alone(sentinels: list[Any], without: str, with_value: str) -> None:
    data = f"{without}\n{with_value}\n".encode()
    value = {"v": {"sentinels": sentinels}}
    for table in ({"format": "regex", "pattern": "(?P<v>.*)"}, {"format": "text"}):
        found = lines(data, values=value, **table)
        assert [one.quality for one in found] == [OUT_OF_RANGE, 0]
        assert values(found) == [{}, {"v": float(with_value)}]
        assert isinstance(found[0], Found)
        assert found[0].raw == without.encode()  # the evidence is kept


@pytest.mark.parametrize(
    ("sentinels", "without", "with_value"),
    [
        ([65535], "65535", "65534"),
        ([85], "85.0", "84.9"),
        ([85], "8.5e1", "84.9"),
        ([-9999], "-9999", "9999"),
        (["0x7FFF"], "32767", "32766"),
        (["0x7FFF"], '"0x7fff"', "32766"),
        (["ERR"], '"ERR"', "1"),
        (["-9999..-9990"], "-9991.5", "-9989"),
    ],
)
def test_in_json_lines(sentinels: list[Any], without: str, with_value: str) -> None:
    data = f'{{"v": {without}, "n": 1}}\n{{"v": {with_value}, "n": 2}}\n'.encode()
    found = lines(data, format="json", values={"v": {"sentinels": sentinels}, "n": {}})
    assert [one.quality for one in found] == [OUT_OF_RANGE, 0]
    assert values(found) == [{"n": 1}, {"v": float(with_value), "n": 2}]


def test_it_is_what_was_sent_not_what_it_becomes() -> None:
    table = {"format": "text", "values": {"t": {"scale": 0.1, "offset": -40, "sentinels": [65535, "65530..65534"]}}}
    found = lines(b"65535\n65532\n500\n", **table)
    assert values(found) == [{}, {}, {"t": 10.0}]
    assert values(lines(b"6513.5\n", **table)) == [{"t": 611.35}]


def test_a_decimal_comma() -> None:
    found = lines(b"-9999,0\n85,00\n1,5\n", format="text", decimal=",", values={"t": {"sentinels": [-9999, 85]}})
    assert values(found) == [{}, {}, {"t": 1.5}]


def test_hexadecimal_digits_are_no_number_otherwise() -> None:
    assert reasons(lines(b"0x7FFE\n", format="text", values={"v": {"sentinels": [0x7FFF]}})) == {"wrong_type": 1}


def test_a_text_has_sentinels_of_text_alone() -> None:
    value = {"v": {"type": "text", "sentinels": ["n/a", "0x7FFF", "1..3"]}}
    assert values(lines(b"n/a\n0x7FFF\n0x7fff\n2\n1..3\n", format="text", values=value)) == [
        {}, {}, {"v": "0x7fff"}, {"v": "2"}, {}
    ]  # fmt: skip


def test_a_range_whose_end_comes_first() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"9..1 is a range"):
        msgspec.convert({"sentinels": ["9..1"]}, ValueMap)
    msgspec.convert({"sentinels": ["9..1"], "type": "text"}, ValueMap)


@given(st.floats(-1e6, 1e6).map(lambda number: round(number, 3)), st.integers(-1000, 0), st.integers(0, 1000))
def test_a_range_has_both_its_ends(value: float, low: int, high: int) -> None:
    table = {"format": "text", "values": {"v": {"sentinels": [f"{low}..{high}"]}}}
    (found,) = values(lines(f"{value:.3f}\n".encode(), **table))
    assert (found == {}) == (low <= value <= high)
