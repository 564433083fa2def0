"""Weighing tickets of several lines, by hand and recorded."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.streaming import play, reasons, same_for_any_chunking, values
from hypothesis import given
from hypothesis import strategies as st

from drivers.codecs.base import Found, Refused, StreamCodec
from drivers.limits import TICKET_BYTES, TICKET_LINES
from drivers.scale import ScaleOptions, codec

KG = {"unit": "kg"}
SLIP: dict[str, Any] = {
    "begin": "WEIGHBRIDGE [0-9]+",
    "end": "-+",
    "pattern": r"WEIGHBRIDGE .*\nGROSS +(?P<gross>[\d.]+)(?P<unstable>~)? kg\nTARE +(?P<tare>[\d.]+) kg\n(?:.*\n)*-+",
    "values": {"gross": KG, "tare": KG},
}
PRINTED = b"WEIGHBRIDGE 1\r\nGROSS    38120 kg\r\nTARE     12040 kg\r\nThank you\r\n\r\n----\r\n"


def make(**more: Any) -> StreamCodec:
    table = {"variant": "ticket", "port": "/dev/null", **SLIP, **more}
    return codec(msgspec.convert(table, ScaleOptions))


def test_a_ticket_is_one_reading_with_all_its_lines() -> None:
    found = same_for_any_chunking(make, PRINTED * 2, (1, 3, 50))
    assert values(found) == [{"gross": 38120, "tare": 12040}] * 2
    assert isinstance(found[0], Found)
    assert found[0].raw == PRINTED.replace(b"\r\n\r\n", b"\r\n").replace(b"\r\n", b"\n").rstrip()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"hello\r\n" + PRINTED, {"no_match": 1}),
        (PRINTED[:40] + b"\r\n" + PRINTED, {"incomplete": 1}),
        (PRINTED + PRINTED[:40], {"incomplete": 1}),
        (PRINTED.replace(b"TARE", b"TIRE") + PRINTED, {"no_match": 1}),
        (PRINTED.replace(b"38120", b"38120~") + PRINTED, {"in_motion": 1}),
        (PRINTED.replace(b"38120", b"3.8.1") + PRINTED, {"wrong_type": 1}),
    ],
)
def test_what_is_no_ticket_harms_no_other(data: bytes, expected: dict[str, int]) -> None:
    found = same_for_any_chunking(make, data, (1, 9))
    assert reasons(found) == expected
    assert values(found) == [{"gross": 38120, "tare": 12040}]


def test_a_ticket_in_motion_is_kept_where_that_is_wanted() -> None:
    (found,) = play(make(keep_motion=True), PRINTED.replace(b"38120", b"38120~"))
    assert isinstance(found, Found)
    assert found.quality == 2


def test_a_ticket_has_limits() -> None:
    top, bottom = PRINTED.split(b"Thank you\r\n\r\n")
    lines = TICKET_LINES - 4
    assert len(values(play(make(), top + b"x\n" * lines + bottom))) == 1
    assert reasons(play(make(), top + b"x\n" * (lines + 1) + bottom))["too_long"] == 1
    room = TICKET_BYTES - len(PRINTED.replace(b"\r", b"").replace(b"Thank you\n\n", b""))
    filler = b"y" * 4000 + b"\n"
    assert room > 2 * len(filler)
    fits = filler * 2 + b"z" * (room - 2 * len(filler) - 1) + b"\n"
    assert len(values(play(make(), top + fits + bottom, chunk=500))) == 1
    found = play(make(), top + b"z" + fits + bottom, chunk=500)
    assert reasons(found)["too_long"] == 1
    assert all(len(one.example) <= 512 for one in found if isinstance(one, Refused))


def test_the_limits_are_of_one_ticket() -> None:
    assert len(values(play(make(), PRINTED * 300, chunk=1000))) == 300


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"begin": ""}, "needs begin"),
        ({"end": ""}, "needs end"),
        ({"pattern": ""}, "needs pattern"),
        ({"values": {}}, "needs values"),
        ({"begin": "("}, "begin is no regular expression"),
        ({"pattern": "(?P<x>.)"}, "pattern has no group gross"),
        ({"variant": "kern"}, "begin belongs to variant ticket"),
    ],
)
def test_options_that_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        make(**wrong)


@given(
    st.lists(st.sampled_from([PRINTED, b"----\n", b"WEIGHBRIDGE 1\n", PRINTED[:30], b"\x00\xff"])), st.integers(1, 40)
)
def test_whatever_comes_is_found_or_refused(parts: list[bytes], chunk: int) -> None:
    same_for_any_chunking(make, b"".join(parts), (chunk,))


def test_recorded_tickets(captures: Path) -> None:
    jik = {
        "begin": r"\^KJIK000",
        "end": "~P1",
        "pattern": r"[^\n]*\n[\d-]+\n[\d:]+\n *(?P<tare>[\d.]+) kg\n *(?P<gross>[\d.]+) kg\n.*\n.*\n"
        r" *(?P<net>[\d.]+) kg\n[^\0]*",
        "values": {"tare": KG, "gross": KG, "net": KG},
    }
    data = (captures / "scale" / "jadever_jik_1.bin").read_bytes()
    assert values(play(make(**jik), data)) == [{"tare": 0.0, "gross": 1.94, "net": 1.94}]
    counter = {
        "begin": "DATE & TIME .*",
        "end": r"TARE +[\d.]+",
        "pattern": r"[^\0]*\nGROSS WEIGHT +(?P<gross>[\d.]+)\nNET WEIGHT +(?P<net>[\d.]+)\nTARE +(?P<tare>[\d.]+)",
        "values": {"tare": KG, "gross": KG, "net": KG},
    }
    data = (captures / "scale" / "tfo3_counter_hex.bin").read_bytes()
    found = play(make(**counter), data)
    assert len(values(found)) == data.count(b"GROSS WEIGHT")
    assert reasons(found) == {"incomplete": 1}
    assert all(round(one["gross"] - one["tare"] - one["net"], 6) == 0 for one in values(found))  # type: ignore[operator]
