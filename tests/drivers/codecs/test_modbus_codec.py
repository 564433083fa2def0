"""Modbus codecs: frames written by hand from the protocol, and recordings of others."""

import json
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.api import OUT_OF_RANGE
from drivers.codecs.base import Found, Framed, Refused
from drivers.codecs.modbus import Numbering, RegisterMap, exception, plan, read
from drivers.codecs.modbus_rtu import LONGEST, RtuFramer, RtuReader, answer_in, crc16
from drivers.framing import Broken
from drivers.limits import MODBUS_BITS, MODBUS_REGISTERS, RECORDS


def table(**values: dict[str, Any]) -> dict[str, RegisterMap]:
    return msgspec.convert(values, dict[str, RegisterMap])


def framed(text: str) -> bytes:
    data = bytes.fromhex(text)
    return data + crc16(data).to_bytes(2, "little")


def value(data: str, **options: Any) -> Any:
    """What bytes say; None for a sentinel."""
    (request,) = plan(table(x={"register": 0, **options}), "zero")
    (found,) = read([(request, bytes.fromhex(data))], b"raw")
    assert isinstance(found, Found), found
    if not found.records:
        assert found.quality == OUT_OF_RANGE
        return None
    return found.records[0][2]


def codec(values: dict[str, RegisterMap] | None = None, slave: int = 1) -> Framed:
    return Framed(RtuFramer(), RtuReader(values or {}, "zero", slave))


def findings(data: bytes, **options: Any) -> list[Found | Refused]:
    made = codec(**options)
    return [*made.feed(data, None), *made.end(None)]


def test_the_crc_of_the_specification() -> None:
    assert crc16(bytes.fromhex("0207")).to_bytes(2, "little").hex() == "4112"  # Serial Line V1.02, appendix B
    assert crc16(bytes.fromhex("010304a47146 2cbaa5")) == 0


@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [
        ("ff9c", {"type": "int16", "scale": 0.1}, -10.0),
        ("ff9c", {"type": "uint16"}, 65436),
        ("9cff", {"type": "int16", "order": "BADC"}, -100),
        ("9cff", {"type": "int16", "order": "DCBA"}, -100),
        ("41b80194", {"type": "float32"}, pytest.approx(23.00077, rel=1e-6)),
        ("a471462c", {"type": "float32", "order": "CDAB"}, pytest.approx(11049.11, rel=1e-6)),
        ("b8419401", {"type": "float32", "order": "BADC"}, pytest.approx(23.00077, rel=1e-6)),
        ("9401b841", {"type": "float32", "order": "DCBA"}, pytest.approx(23.00077, rel=1e-6)),
        ("00010002", {"type": "uint32"}, 65538),
        ("00010002", {"type": "int32", "order": "CDAB"}, 131073),
        ("4037000000000000", {"type": "float64"}, 23.0),
        ("0000000000004037", {"type": "float64", "order": "CDAB"}, 23.0),
        ("fffffffffffffffe", {"type": "int64"}, -2),
        ("ffffffffffffffff", {"type": "uint64"}, "18446744073709551615"),
        ("0008", {"type": "bits", "bit": 3}, True),
        ("fff7", {"type": "bits", "bit": 3}, False),
        ("0168", {"type": "bits", "bit": 3, "length": 4}, 13),
        ("534e2d3432202000", {"type": "text", "length": 4}, "SN-42"),
        ("4e53342d2032", {"type": "text", "length": 3, "order": "BADC"}, "SN-42"),
        ("7fc00000", {"type": "float32"}, None),
        ("7f800000", {"type": "float32"}, None),
        ("7fff", {"type": "int16", "sentinels": [0x7FFF]}, None),
        ("8000", {"type": "int16", "sentinels": [0x8000]}, None),
        ("8000", {"type": "int16", "sentinels": [-32768]}, None),
        ("d8f1", {"type": "int16", "sentinels": [-9999], "scale": 0.1}, None),
        ("ffffffff", {"type": "int32", "sentinels": [0xFFFFFFFF]}, None),
        ("ffff", {"type": "uint16", "sentinels": [65535]}, None),
        ("01", {"kind": "coil"}, True),
        ("00", {"kind": "discrete"}, False),
    ],
)
def test_what_registers_say(data: str, options: dict[str, Any], expected: Any) -> None:
    found = value(data, **options)
    assert found == expected
    assert type(found) is type(expected) or isinstance(found, float)


@given(st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"]), st.floats(allow_nan=False, allow_infinity=False))
def test_every_order_is_read_back(order: str, number: float) -> None:
    data = struct.pack(">d", number)
    words = [data[at : at + 2] for at in range(0, 8, 2)]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    assert value(b"".join(words).hex(), type="float64", order=order) == number


@pytest.mark.parametrize(
    ("numbering", "register", "kind", "expected"),
    [
        ("zero", 0, None, (3, 0)),
        ("zero", 65535, "input", (4, 65535)),
        ("one", 1, None, (3, 0)),
        ("one", 65536, "holding", (3, 65535)),
        ("modicon", 40001, None, (3, 0)),
        ("modicon", 49999, None, (3, 9998)),
        ("modicon", 400001, None, (3, 0)),
        ("modicon", 465536, None, (3, 65535)),
        ("modicon", 30010, "input", (4, 9)),
    ],
)
def test_register_numbers(numbering: Numbering, register: int, kind: str | None, expected: tuple[int, int]) -> None:
    (request,) = plan(table(x={"register": register, "kind": kind, "type": "uint16"}), numbering)
    assert (request.function, request.address) == expected


def test_bits_by_modicon_number() -> None:
    for register, expected in ((1, (1, 0)), (10_001, (2, 0)), (165_536, (2, 65535))):
        (request,) = plan(table(x={"register": register}), "modicon")
        assert (request.function, request.address) == expected


@pytest.mark.parametrize(
    ("numbering", "options", "words"),
    [
        ("one", {"register": 0, "type": "uint16"}, "begins at one"),
        ("zero", {"register": 65_536, "type": "uint16"}, "is none"),
        ("zero", {"register": 65_535, "type": "uint32"}, "beyond the last"),
        ("modicon", {"register": 20_000, "type": "uint16"}, "is none of"),
        ("modicon", {"register": 40_001, "kind": "input", "type": "uint16"}, "is a holding"),
        ("zero", {"register": 1}, "write its type"),
        ("zero", {"register": 1, "kind": "coil", "type": "uint16"}, "has no type"),
        ("zero", {"register": 1, "type": "text", "length": 64}, "registers_at_once is 60"),
    ],
)
def test_tables_that_cannot_be(numbering: Numbering, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plan(table(x=options), numbering, 60)


@pytest.mark.parametrize(
    "options",
    [
        {"type": "uint16", "length": 2},
        {"type": "bits", "bit": 12, "length": 5},
        {"type": "uint16", "bit": 1},
        {"type": "text", "scale": 2},
        {"type": "uint16", "scale": 0},
        {"type": "uint16", "register": -1},
    ],
)
def test_values_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        table(x={"register": 0, **options})


def test_what_touches_is_read_at_once_up_to_the_limit() -> None:
    wide = {"type": "uint32"}
    values = table(
        late={"register": 9, **wide},
        c={"register": 4, "type": "uint16"},
        a={"register": 0, **wide},
        b={"register": 2, **wide},
        again={"register": 2, "type": "uint16"},
        other={"register": 5, "kind": "input", "type": "uint16"},
    )
    found = [(one.function, one.address, one.number) for one in plan(values, "zero")]
    assert found == [(3, 0, 5), (3, 9, 2), (4, 5, 1)]
    found = [(one.function, one.address, one.number) for one in plan(values, "zero", 4)]
    assert found == [(3, 0, 4), (3, 4, 1), (3, 9, 2), (4, 5, 1)]


@given(st.dictionaries(st.integers(0, 300), st.sampled_from(["uint16", "uint32", "uint64", None])), st.integers(4, 125))
def test_a_plan_asks_for_every_value_once_and_for_no_more_than_it_may(places: dict[int, Any], at_once: int) -> None:
    values = table(
        **{
            f"v{place}": {"register": place, "type": kind} if kind else {"register": place, "kind": "coil"}
            for place, kind in places.items()
        }
    )
    requests = plan(values, "zero", at_once)
    assert sorted(point.name for one in requests for point in one.points) == sorted(values)
    for one in requests:
        assert 1 <= one.number <= (MODBUS_BITS if one.function == 1 else at_once)
        assert all(one.address <= point.address for point in one.points)
        assert all(point.address + point.count <= one.address + one.number for point in one.points)


def test_a_value_that_does_not_fit_is_refused_alone_and_the_rest_keeps_its_order() -> None:
    values = table(
        b={"register": 2, "type": "uint16"}, name={"register": 1, "type": "text"}, a={"register": 0, "type": "int16"}
    )
    (request,) = plan(values, "zero")
    found, refused = read([(request, bytes.fromhex("0001 8081 0002"))], b"raw")
    assert found == Found([("b", None, 2), ("a", None, 1)], raw=b"raw")
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.example) == ("wrong_type", b"raw")


def test_a_full_table_and_one_more() -> None:
    from drivers.codecs.modbus import check

    full = {f"v{n}": {"register": n, "type": "uint16"} for n in range(RECORDS)}
    check(table(**full), "zero", MODBUS_REGISTERS)
    with pytest.raises(ValueError, match="name 1 to"):
        check(table(**full, more={"register": 99, "type": "uint16"}), "zero", MODBUS_REGISTERS)


def test_exceptions_have_names_and_cures() -> None:
    assert exception(2)[0] == "illegal_data_address"
    assert exception(99)[0] == "unknown_exception"
    (refused,) = findings(framed("05 83 02"))
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.example) == ("illegal_data_address", framed("05 83 02"))
    assert "slave 5, function 3, exception 2" in refused.detail


def test_an_answer_is_a_reading_and_a_question_is_none() -> None:
    question, answer = framed("01 03 0010 0002"), framed("01 03 04 41b80194")
    (found,) = findings(question + answer)
    assert found == Found(
        [("slave", None, 1), ("function", None, 3), ("r0", None, 0x41B8), ("r1", None, 0x0194)], raw=answer
    )
    values = table(flow={"register": 16, "type": "float32"})
    (named,) = findings(question + answer, values=values)
    assert isinstance(named, Found)
    assert named.records == [("flow", None, pytest.approx(23.00077, rel=1e-6))]
    assert findings(question + answer, values=values, slave=2) == []
    assert findings(answer, values=values) == []


def test_an_answer_as_long_as_a_question() -> None:
    question, answer = framed("01 01 0013 0013"), framed("01 01 03 cd6b05")
    (found,) = findings(question + answer)
    assert isinstance(found, Found)
    assert len(found.records) == 2 + 19
    assert [value for _, _, value in found.records[2:10]] == [bool(0xCD >> n & 1) for n in range(8)]
    assert findings(framed("01 01 0313 0001") * 2) == []


def test_an_answer_of_another_length_than_was_asked_for() -> None:
    (refused,) = findings(framed("01 03 0010 0002") + framed("01 03 02 0001"))
    assert isinstance(refused, Refused)
    assert refused.reason == "wrong_length"


def test_many_bits_are_kept_as_bytes() -> None:
    answer = framed("01 01 09 " + "ff" * 9)
    (found,) = findings(answer)
    assert isinstance(found, Found)
    assert found.records[2:] == [("bits", None, b"\xff" * 9)]


def test_damage_is_told_once_and_what_comes_behind_it_is_read() -> None:
    good = framed("01 03 02 0102")
    bad = good[:-1] + bytes([good[-1] ^ 1])
    framer = RtuFramer()
    frames = [*framer.feed(good + bad + good + b"\x00\x01" + good), *framer.gap()]
    assert frames == [good, Broken("checksum", bad), good, Broken("noise", b"\x00\x01"), good]


@pytest.mark.parametrize(
    "text",
    [
        "01 05 0003 ff00",
        "01 06 0001 0055",
        "01 0f 0002 0001 01 01",
        "01 10 0001 0001 02 00aa",
        "01 10 0001 0001",
        "01 07",
        "01 08 0000 a537",
        "01 0b",
        "01 0c",
        "01 11 03 414243",
        "01 14 07 06 0004 0001 0002",
        "01 16 0004 00f2 0025",
        "01 17 0003 0001 000e 0001 02 00ff",
        "01 17 02 00fe",
        "01 18 0006 0002 01b8 1284",
        "01 18 04de",
    ],
)
def test_frames_of_every_function_are_split(text: str) -> None:
    frame = framed(text)
    framer = RtuFramer()
    assert [*framer.feed(frame * 3), *framer.gap()] == [frame] * 3


@given(st.integers(0, 125), st.binary(max_size=40))
def test_an_answer_is_found_behind_whatever_came_before(count: int, noise: bytes) -> None:
    answer = framed(f"05 04 {2 * count:02x} " + "00" * 2 * count)
    found = answer_in(noise + answer, 5, 4)
    assert found == answer or (found and found in noise + answer and not crc16(found))
    assert answer_in(answer[:-1], 5, 4) == b""
    assert answer_in(answer, 6, 4) == answer_in(answer, 5, 3) == b""


def test_the_longest_frame_and_one_byte_more() -> None:
    longest = framed("01 03 fb" + "00" * 251)
    assert len(longest) == LONGEST
    framer = RtuFramer()
    assert [*framer.feed(longest), *framer.gap()] == [longest]
    longer = framed("01 03 fc" + "01" * 252)
    assert longer not in [*framer.feed(longer), *framer.gap()]


@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=8))
def test_framing_hangs_on_no_chunk(data: bytes, cuts: list[int]) -> None:
    data = framed("01 03 0000 0001") + data + framed("01 03 02 0001")
    whole, parts = RtuFramer(), RtuFramer()
    expected = [*whole.feed(data), *whole.gap()]
    found, last = [], 0
    for cut in sorted(cuts):
        found += parts.feed(data[last:cut])
        last = max(last, cut)
    assert [*found, *parts.feed(data[last:]), *parts.gap()] == expected


def test_recorded_buses(captures: Path) -> None:
    from drivers import recorded

    expected = json.loads((captures / "expected.json").read_text())
    names = [name for name in expected if name.startswith("modbus_rtu/")]
    assert names
    for name in names:
        wanted = expected[name]
        for path in (captures / name, (captures / name).with_suffix(".bin")):
            framer = RtuFramer()
            frames = [*framer.feed((captures / name).with_suffix(".bin").read_bytes()), *framer.gap()]
            whole = [frame for frame in frames if isinstance(frame, bytes)]
            assert len(whole) == wanted["crc_ok"]
            assert len(frames) - len(whole) == wanted["crc_bad"]
            assert [frame.hex() for frame in whole[: len(wanted["first_frames"])]] == wanted["first_frames"]
            functions = [str(frame[1]) for frame in whole]
            assert {one: functions.count(one) for one in functions} == wanted["function_codes"]
            kind = recorded.kind("modbus-rtu")
            made = recorded.plan(kind, {})
            reader = made.codec(msgspec.convert(made.table, kind.options))
            found = list(recorded.decode(kind, reader, [path.read_bytes()], topic="", now=None))
            assert len([one for one in found if isinstance(one, Refused)]) == wanted["exceptions"] + wanted["crc_bad"]
            floats = [_floats(one) for one in found if isinstance(one, Found) and len(one.records) == 2 + 15]
            for ours, theirs in zip(floats, wanted.get("float32_BE_ABCD_of_15reg_reads_first3", []), strict=False):
                assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-30)
            assert len(floats) == wanted.get("n_15reg_reads", len(floats))


def _floats(found: Found) -> list[float]:
    words = b"".join(int(value).to_bytes(2, "big") for _, _, value in found.records[2:])  # type: ignore[arg-type]
    return list(struct.unpack(">7f", words[:28]))
