"""Scales whose weight stands in a line: each form by hand from its manual, and recordings of real ones."""

import ast
import itertools
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.streaming import play, reasons, same_for_any_chunking, values
from hypothesis import given
from hypothesis import strategies as st

from drivers.api import UNSTABLE
from drivers.codecs.base import Found, Refused, StreamCodec
from drivers.codecs.mass import UNITS, Rules, Weight, said
from drivers.codecs.values import Unfit
from drivers.limits import LINE_BYTES
from drivers.scale import ScaleOptions, codec, variants
from drivers.simulators import quay, scales

LINES = ("mt-sics", "st-gs", "kern", "ohaus", "rinstrum")


def make(variant: str, *, drop_first: bool = False, **more: Any) -> StreamCodec:
    table = {"variant": variant, "port": "/dev/null", **more}
    return codec(msgspec.convert(table, ScaleOptions), drop_first=drop_first)


def one(variant: str, line: bytes, **more: Any) -> Found | Refused:
    (found,) = play(make(variant, **more), line + b"\r\n")
    return found


WEIGHTS: list[tuple[str, bytes, dict[str, Any]]] = [
    ("mt-sics", b"S S     100.00 g", {"mass": 0.1}),
    ("mt-sics", b"S S     -12.50 kg", {"mass": -12.5}),
    ("mt-sics", b"S S   100.0[4] g", {"mass": 0.1, "unverified_digit": 4}),
    ("mt-sics", b"S S         12 PCS", {"pieces": 12.0}),
    ("mt-sics", b"S S      50.00 %", {"ratio": 0.5}),
    ("mt-sics", b"TA A      10.00 g", {"tare": 0.01}),
    ("st-gs", b"ST,GS,+  4.876kg", {"mass": 4.876, "mode": "gross"}),
    ("st-gs", b"ST,NT,-  0.200kg", {"mass": -0.2, "mode": "net"}),
    ("st-gs", b"ST,TR,+00012.34kg", {"tare": 12.34}),
    ("st-gs", b"ST,GS    20.7g  ", {"mass": 0.0207, "mode": "gross"}),
    ("st-gs", b"ST,GS,   245.6 g", {"mass": 0.2456, "mode": "gross"}),
    ("st-gs", b"ST,+00123.45  g", {"mass": 0.12345}),
    ("st-gs", b"STGR   12.34kg", {"mass": 12.34, "mode": "gross"}),
    ("st-gs", b"STNT-  12.34 t", {"mass": -12340.0, "mode": "net"}),
    ("st-gs", b"ST,GS,  18.000kg", {"mass": 18.0, "mode": "gross"}),
    ("st-gs", b"ST,GS,1\xe0,+  12.345 kg", {"mass": 12.345, "mode": "gross"}),
    ("st-gs", b"ST,GS,+   12.34 t", {"mass": 12340.0, "mode": "gross"}),
    ("st-gs", b"ST,GS,+  100.00lb", {"mass": 45.359237, "mode": "gross"}),
    ("st-gs", b"ST,+00001.23 ct", {"mass": 0.000246}),
    ("st-gs", b"QT,+00012345 PC", {"pieces": 12345.0}),
    ("st-gs", b"ST,+0001234.5  %", {"ratio": 12.345}),
    ("kern", b"+0026.90 G S", {"mass": 0.0269}),
    ("kern", b"-0026.90 G S", {"mass": -0.0269}),
    ("kern", b"   26.90 G S", {"mass": 0.0269}),
    ("kern", b"+00127.20 G S", {"mass": 0.1272}),
    ("kern", b"+002014.8CT S", {"mass": 0.40296}),
    ("kern", b"+000012 PC S", {"pieces": 12.0}),
    ("kern", b"+000100  % S", {"ratio": 1.0}),
    ("kern", b"+01.2345OT S", {"mass": 0.0383972421096}),
    ("kern", b"+007.12/3 G S", {"mass": 0.00712, "unverified_digit": 3}),
    ("ohaus", b"-  1.640 kg    N", {"mass": -1.64, "mode": "net"}),
    ("ohaus", b"   0.360 kg    G", {"mass": 0.36, "mode": "gross"}),
    ("ohaus", b"    20.0 kg    ", {"mass": 20.0}),
    ("ohaus", b"    1.50 lb     T", {"tare": 0.680388555}),
    ("rinstrum", b"\x02   12.34G\x03", {"mass": 12.34, "mode": "gross"}),
    ("rinstrum", b"\x02-  12.34N\x03", {"mass": -12.34, "mode": "net"}),
    ("rinstrum", b"\x02    1234G Z- kg\x03", {"mass": 1234.0, "mode": "gross"}),
    ("rinstrum", b"\x02-   1.23N  1  t\x03", {"mass": -1230.0, "mode": "net"}),
    ("rinstrum", b"\x02   12.34GSIZ  \x03", {"mass": 12.34, "mode": "gross"}),
    ("rinstrum", b"   12.34KG ", {"mass": 12.34, "mode": "gross"}),
    ("rinstrum", b"-  0.123TN", {"mass": -123.0, "mode": "net"}),
]


@pytest.mark.parametrize(("variant", "line", "expected"), WEIGHTS)
def test_a_weight(variant: str, line: bytes, expected: dict[str, Any]) -> None:
    more = {"unit": "kg"} if variant == "rinstrum" else {}
    found = one(variant, line, **more)
    assert isinstance(found, Found), found
    assert values([found]) == [expected]
    assert {unit for name, unit, _ in found.records if name in ("mass", "tare")} <= {"kg"}
    assert found.quality == 0
    assert found.time is None
    assert found.raw == line.strip(b"\x02\x03")


@pytest.mark.parametrize(("variant", "line", "expected"), WEIGHTS)
def test_no_other_variant_takes_it_for_one_of_its_own(variant: str, line: bytes, expected: dict[str, Any]) -> None:
    for table in variants():
        if table["variant"] != variant:
            found = play(make(**table, unit="kg"), line + b"\r\n")
            assert [one for one in found if isinstance(one, Found)] == [], table


REFUSED: list[tuple[str, bytes, str]] = [
    ("mt-sics", b"S D     100.00 g", "in_motion"),
    ("mt-sics", b"S I", "busy"),
    ("mt-sics", b"S +", "overload"),
    ("mt-sics", b"S -", "underload"),
    ("mt-sics", b"ES", "device_error"),
    ("mt-sics", b"ET", "device_error"),
    ("mt-sics", b"S S 100.00 g", "no_match"),  # no field of its width: not what SICS sends
    ("mt-sics", b"S S     100.00 tl", "unknown_unit"),
    ("mt-sics", b"S S     ------ g", "no_match"),
    ("st-gs", b"US,GS,+  4.876kg", "in_motion"),
    ("st-gs", b"OL,GS,+         ", "overload"),
    ("st-gs", b"OL", "overload"),
    ("st-gs", b"OLGR         kg", "overload"),
    ("st-gs", b"USGR   12.34kg", "in_motion"),
    ("st-gs", b"OL,-9999999E+19", "underload"),
    ("st-gs", b"ST,GS,+       kg", "no_match"),
    ("st-gs", b"ST,+00123.45  t", "unknown_unit"),  # a balance: tonne or tola
    ("st-gs", b"ST,GS,+ 12.34   ", "no_unit"),
    ("st-gs", b"S    20.7g  ", "no_match"),
    ("st-gs", b"ST,GS,+  4.8.76kg", "no_match"),
    ("kern", b"+0026.90 G U", "in_motion"),
    ("kern", b"+0000.00 G E", "overload"),
    ("kern", b"+0026.90 G  ", "no_match"),  # says nothing of rest
    ("kern", b"+0026.90TL S", "unknown_unit"),
    ("kern", b"+0026.90   S", "no_unit"),
    ("kern", b"0026.90 G S", "no_match"),
    ("ohaus", b"-  1.640 kg   ?N", "in_motion"),
    ("ohaus", b"    20.0 kg   ?", "in_motion"),
    ("ohaus", b"   0.360 kg   ", "no_match"),  # cut short
    ("ohaus", b"    20.0 k", "no_match"),
    ("ohaus", b" G", "no_match"),
    ("rinstrum", b"\x02   12.34M\x03", "in_motion"),
    ("rinstrum", b"\x02   12.34O\x03", "overload"),
    ("rinstrum", b"\x02   12.34U\x03", "underload"),
    ("rinstrum", b"\x02   12.34E\x03", "device_error"),
    ("rinstrum", b"\x02    1234GM -   \x03", "in_motion"),
    ("rinstrum", b"\x02    1234O  - kg\x03", "overload"),
    ("rinstrum", b"\x02   12.34GMI   \x03", "in_motion"),
    ("rinstrum", b"\x02   12.34GSO   \x03", "overload"),
    ("rinstrum", b"   12.34KGM", "in_motion"),
    ("rinstrum", b"   12.34KGO", "overload"),
    ("rinstrum", b"\x02  12.34GSI   \x03", "no_match"),
    ("rinstrum", b"\x02   12.34G\x03", "no_unit"),
    ("rinstrum", b":01050026:     1234 kg", "no_match"),
]


@pytest.mark.parametrize(("variant", "line", "reason"), REFUSED)
def test_what_is_no_weight(variant: str, line: bytes, reason: str) -> None:
    found = one(variant, line)
    assert isinstance(found, Refused), found
    assert found.reason == reason
    assert found.example == line.strip(b"\x02\x03")


@pytest.mark.parametrize(("variant", "line", "reason"), [case for case in REFUSED if case[2] == "in_motion"])
def test_motion_that_is_kept_is_never_called_a_mass(variant: str, line: bytes, reason: str) -> None:
    found = one(variant, line, keep_motion=True, unit="kg")
    assert isinstance(found, Found), found
    names = [name for name, _, _ in found.records]
    assert "mass_in_motion" in names
    assert "mass" not in names
    assert found.quality == UNSTABLE


@pytest.mark.parametrize(("variant", "line", "reason"), [case for case in REFUSED if case[2] != "in_motion"])
def test_nothing_else_is_kept_with_it(variant: str, line: bytes, reason: str) -> None:
    found = one(variant, line, keep_motion=True)
    assert isinstance(found, Refused)
    assert found.reason == reason


def test_a_unit_that_is_configured_is_for_frames_that_have_none() -> None:
    assert values([one("rinstrum", b"\x02   12.34G\x03", unit="t")]) == [{"mass": 12340.0, "mode": "gross"}]
    assert values([one("st-gs", b"ST,GS,+   12.34kg", unit="t")]) == [{"mass": 12.34, "mode": "gross"}]


@given(st.integers(-999_999, 999_999), st.integers(0, 5), st.sampled_from(sorted(UNITS)))
def test_a_mass_is_what_the_decimal_digits_say(digits: int, places: int, unit: str) -> None:
    number = Decimal(digits).scaleb(-places)
    found = said(Weight(f"{number:f}", unit), Rules())
    assert found.records[0][2] == float(f"{number * UNITS[unit][2]:.12g}")


def test_a_number_is_ascii_and_has_an_end() -> None:
    for number in ("", "-", ".", "1e3", "١٢", "1" * 13, "1/23", "1/", "1[2", "0x1", "nan", "1 2"):
        with pytest.raises(Unfit, match="no_match"):
            said(Weight(number, "kg"), Rules())


@pytest.mark.parametrize("variant", LINES)
def test_a_weighbridge_that_is_met_in_the_middle(variant: str) -> None:
    frames = list(itertools.islice(quay.weighbridge(3, variant), 60))
    data = b"\x00\x00\x7f\x7f" + frames[0][6:] + b"".join(frames[1:])
    found = same_for_any_chunking(lambda: make(variant, drop_first=True), data, (1, 5, 13, 64))
    assert reasons(found) == {"partial_line": 1, "in_motion": 60 // 10 * 4 - 1}
    assert len(values(found)) == 36
    at_rest = [scales.FORMS[variant](True, int(one["mass"])) for one in values(found)]
    assert set(at_rest) <= set(frames)


def test_seven_bits_read_as_eight() -> None:
    data = bytes(byte | (0x80 if byte.bit_count() % 2 else 0) for byte in b"ST,GS,+  4.876kg\r\n")
    assert values(play(make("st-gs"), data)) == []
    assert values(play(make("st-gs", mask_bit7=True), data)) == [{"mass": 4.876, "mode": "gross"}]


@given(
    st.sampled_from(LINES),
    st.lists(st.binary(max_size=40) | st.sampled_from([line for _, line, _ in WEIGHTS + REFUSED]), max_size=8),  # type: ignore[operator]
    st.integers(1, 20),
)
def test_whatever_comes_is_found_or_refused(variant: str, lines: list[bytes], chunk: int) -> None:
    found = same_for_any_chunking(lambda: make(variant), b"\r\n".join(lines), (chunk,))
    assert all(len(one.example) <= 512 for one in found if isinstance(one, Refused))
    assert all(one.records for one in found if isinstance(one, Found))


def test_a_line_without_an_end_is_bounded() -> None:
    for variant in LINES:
        stream = make(variant)
        found = [one for _ in range(50) for one in stream.feed(b"7" * 1000, None)]
        assert [one.reason for one in found if isinstance(one, Refused)] == ["too_long"]
    assert LINE_BYTES < 50_000


def expected(captures: Path, name: str) -> dict[str, Any]:
    known: dict[str, Any] = json.loads((captures / "expected.json").read_text())[f"scale/{name}.bin"]
    return known


@pytest.mark.parametrize(
    ("variant", "name", "grams"),
    [
        ("st-gs", "tscale_nhb", True),
        ("st-gs", "tscale_nhb2", True),
        ("st-gs", "tscale_qhw", True),
        ("ohaus", "ohaus_defender3000_hex", False),
        ("ohaus", "weight_spun_text", False),
        ("kern", "weight_qa_legal_digit", True),
    ],
)
def test_recordings_of_scales(captures: Path, variant: str, name: str, grams: bool) -> None:
    known = expected(captures, name)
    data = (captures / "scale" / f"{name}.bin").read_bytes()
    strict = play(make(variant), data)
    assert len(values(strict)) == known["matching"] - known["unstable"]
    assert reasons(strict).get("in_motion", 0) == known["unstable"]
    assert reasons(strict).get("no_match", 0) == known["not_matching"]
    all_of_them = values(play(make(variant, keep_motion=True), data))
    assert len(all_of_them) == known["matching"]
    masses = [Decimal(str(one.get("mass", one.get("mass_in_motion")))) * (1000 if grams else 1) for one in all_of_them]
    assert (float(min(masses)), float(max(masses))) == (known["min"], known["max"])
    assert [ast.literal_eval(line).encode() for line in known["bad_examples"]] == [
        one.example for one in strict if isinstance(one, Refused) and one.reason == "no_match"
    ]


def test_recordings_of_a_kern_balance(captures: Path) -> None:
    for path in sorted((captures / "scale").glob("kern_*.bin")):
        known = expected(captures, path.stem)
        found = play(make("kern"), path.read_bytes())
        assert len(values(found)) == known["stable"], path.name
        cut = 1 if known["tail"].strip("'") else 0
        assert len(found) == known["records"] + cut, path.name
        counted = reasons(found)
        assert counted.pop("no_match", 0) == cut
        assert set(counted) <= {"in_motion", "overload"}


def test_recordings_are_no_other_variants(captures: Path) -> None:
    family = {"tscale": "st-gs", "ohaus": "ohaus", "weight_spun": "ohaus", "weight_qa": "kern", "kern": "kern"}
    for path in sorted((captures / "scale").glob("*.bin")):
        own = [variant for start, variant in family.items() if path.name.startswith(start)]
        takes = [table["variant"] for table in variants() if values(play(make(**table, unit="kg"), path.read_bytes()))]
        assert set(takes) <= set(own), path.name
