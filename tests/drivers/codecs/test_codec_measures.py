import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.api import OUT_OF_RANGE
from drivers.codecs.measures import Measures, unit, written
from drivers.codecs.octets import base64
from drivers.codecs.recorded import json_messages
from drivers.codecs.units import PRIMARY
from drivers.codecs.values import Unfit
from drivers.limits import FLAT_VALUES, INTEGER_MAX, NAME_BYTES, TEXT_BYTES


def records(document: dict[str, Any], **units: str) -> list[Any]:
    measures = Measures(frozenset(["rssi"]), {name: unit(text) for name, text in units.items()})
    measures.put_all(document)
    return measures.records


@pytest.mark.parametrize(
    ("text", "senml", "value"),
    [
        ("30.11 °C", "Cel", 30.11),
        ("23.59", None, 23.59),
        ("422", None, 422),
        ("0 uS/cm", "S/m", 0.0),
        ("250 µS/cm", "S/m", 0.025),
        ("1.5 mS/cm", "S/m", 0.15),
        ("-3.5°C", "Cel", -3.5),
        ("50 °F", "Cel", 10.0),
        ("1013.2 hPa", "Pa", 101320.0),
        ("3.3 V", "V", 3.3),
        ("3300mV", "V", 3.3),
        ("45 %", "/", 0.45),
        ("45 %RH", "%RH", 45),
        ("36 km/h", "m/s", 10.0),
        ("1 kWh", "J", 3600000.0),
        ("1e-7", None, 1e-7),
        (" 5 ", None, 5),
        ("-0.5", None, -0.5),
    ],
)
def test_a_text_that_says_a_number(text: str, senml: str | None, value: float) -> None:
    assert records({"x": text}) == [("x", senml, value)]


@pytest.mark.parametrize(
    "text",
    [
        "tilt",
        "007",
        "1.2.3",
        "12:30",
        "2026-01-01",
        "12E4",
        "5 apples",
        "0x10",
        "1_000",
        "٣",
        "",
        " ",
        "1,5",
        "- 5",
        "3 of 5",
    ],
)
def test_a_text_that_is_one(text: str) -> None:
    assert records({"x": text}) == [("x", None, text)]


def test_a_unit_that_senml_does_not_know_stands_beside() -> None:
    assert records({"co2": "900 ppm"}) == [("co2", None, 900), ("co2.unit", None, "ppm")]
    assert records({"turbidity": 7}, turbidity="FNU") == [("turbidity", None, 7), ("turbidity.unit", None, "FNU")]


def test_units_of_plain_numbers_and_the_texts_own_unit_before_them() -> None:
    got = records({"a": 1, "b": 20.5, "c": "20 °F", "d": "5", "e": True, "f": "x"}, **dict.fromkeys("abcdef", "hPa"))
    assert got[:2] == [("a", "Pa", 100.0), ("b", "Pa", 2050.0)]
    assert got[2][1] == "Cel"
    assert got[3:] == [("d", "Pa", 500.0), ("e", None, True), ("f", None, "x")]


def test_every_unit_of_the_table_is_one_of_senmls() -> None:
    for text in ("°C", "psi", "l/min", "m3/h", "dS/m", "kvarh"):
        assert unit(text).senml in PRIMARY
    assert unit("Bq") == ("Bq", 1.0, 0.0, "")
    assert unit("furlong") == (None, 1.0, 0.0, "furlong")


def test_nested_values_are_named_by_their_path() -> None:
    document = {
        "wifi": [{"mac": "24:e1", "level": -7}, {"level": -8}],
        "Temp é": 1,
        "none": None,
        "_x": 2,
        "": 3,
        "a/b": 4,
    }
    assert records(document) == [
        ("wifi/0/mac", None, "24:e1"),
        ("wifi/0/level", None, -7),
        ("wifi/1/level", None, -8),
        ("Temp__", None, 1),
        ("x", None, 2),
        ("value", None, 3),
        ("a/b", None, 4),
    ]


def test_names_that_are_taken_get_a_number() -> None:
    got = records({"a b": 1, "a_b": 2, "a?b": 3, "rssi": 4, "raw": 5, "t": "1 ppm", "t.unit": "x"})
    assert [name for name, _, _ in got] == ["a_b", "a_b-2", "a_b-3", "rssi-2", "raw-2", "t", "t.unit", "t.unit-2"]


def test_a_long_name_is_cut_and_stays_itself() -> None:
    one, two = records({"n" * 100 + "1": "1 ppm", "n" * 100 + "2": 2})[::2]
    assert one[0] != two[0]
    assert len(one[0] + "-999.unit") == NAME_BYTES
    assert records({"n" * (NAME_BYTES - 9): 1}) == [("n" * (NAME_BYTES - 9), None, 1)]


def test_what_is_no_number_only_marks_the_sample() -> None:
    measures = Measures()
    measures.put_all({"a": "NaN", "b": "nan °C", "c": "-inf", "d": "9e+999", "e": "1e+308 MHz", "f": 1})
    assert measures.records == [("f", None, 1)]
    assert measures.quality == OUT_OF_RANGE


def test_limits() -> None:
    assert records({"n": INTEGER_MAX, "m": INTEGER_MAX + 1}) == [
        ("n", None, INTEGER_MAX),
        ("m", None, str(INTEGER_MAX + 1)),
    ]
    assert len(records({"x": "é" * (TEXT_BYTES // 2)})) == 1
    for document, reason in (
        ({"x": "é" * (TEXT_BYTES // 2) + "a"}, "text_too_long"),
        ({str(n): n for n in range(FLAT_VALUES + 1)}, "too_many_values"),
        ({str(n): f"{n} ppm" for n in range(FLAT_VALUES // 2 + 1)}, "too_many_values"),
        ({"a": ["9e+999"] * (FLAT_VALUES + 1)}, "too_many_values"),
    ):
        with pytest.raises(Unfit) as unfit:
            records(document)
        assert unfit.value.reason == reason
    assert len(records({str(n): n for n in range(FLAT_VALUES)})) == FLAT_VALUES
    assert len(records({str(n): f"{n} ppm" for n in range(FLAT_VALUES // 2)})) == FLAT_VALUES


@given(st.floats(-1e6, 1e6).map(lambda value: round(value, 3)), st.sampled_from(["", " °C", "°C", " V", " %RH", " kg"]))
def test_any_number_with_a_unit_comes_back(value: float, of: str) -> None:
    ((_, _, got),) = records({"x": f"{value}{of}"})
    assert got == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=80), JSON, max_size=6))
def test_whatever_a_decoder_says_has_names_of_its_own(document: dict[str, Any]) -> None:
    got = records(document)
    names = [name for name, _, _ in got]
    assert len(set(names)) == len(names)
    assert not {"raw", "raw.sha256", "rssi"} & set(names)
    assert all(name[0].isalnum() and name.isascii() and len(name) <= NAME_BYTES for name in names)
    assert all(math.isfinite(value) for _, _, value in got if isinstance(value, float))


def test_written_says_what_it_found() -> None:
    assert written("30.11 °C") == (30.11, unit("°C"))
    assert written("1" * 65) is None


@given(st.binary(max_size=40))
def test_base64_padded_or_not(data: bytes) -> None:
    import base64 as standard

    padded, url = standard.b64encode(data).decode(), standard.urlsafe_b64encode(data).decode()
    for text, of_url in ((padded, False), (padded.rstrip("="), False), (url, True), (url.rstrip("="), True)):
        assert base64(text, "data", most=40, url=of_url) == data


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A", "invalid_base64"),
        ("AAAAA", "invalid_base64"),
        ("AA=", "invalid_base64"),
        ("A===", "invalid_base64"),
        ("AA==AA==", "invalid_base64"),
        ("AA AA", "invalid_base64"),
        ("AAAA\n", "invalid_base64"),
        ("AA-_", "invalid_base64"),
        ("é", "invalid_base64"),
        (5, "wrong_type"),
        ("AAAAAA", "too_long"),
    ],
)
def test_junk_is_no_base64(text: object, reason: str) -> None:
    with pytest.raises(Unfit) as unfit:
        base64(text, "data", most=3)
    assert unfit.value.reason == reason
    with pytest.raises(Unfit):
        base64("AA+/", "vd", most=3, url=True)


def test_recorded_messages_are_taken_apart_as_they_were_written() -> None:
    one, two = b'{"a": 1.50,\n "b": {"result": [1]}}', b'{"a":2,"a":3}'
    for file in (
        one + b"\n" + two,
        one + two + b"\n",
        b"[" + one + b", " + two + b"]",
        b'{"result": ' + one + b'}\n{"result":' + two + b" }\n",
        b"\n\n[" + one + b"]\r\n[[" + two + b"]]",
    ):
        assert list(json_messages(file)) == [one, two]
    assert list(json_messages(one + b"\nnonsense {")) == [one, b"nonsense {"]
    assert list(json_messages(b"\xff{}")) == [b"\xff{}"]
    assert list(json_messages(b" \n")) == []
    assert list(json_messages(b"]")) == [b"]"]


@given(st.lists(st.dictionaries(st.text(max_size=3).filter(lambda key: key != "result"), JSON, max_size=3), max_size=4))
def test_any_messages_come_back(documents: list[dict[str, Any]]) -> None:
    texts = [json.dumps(document).encode() for document in documents]
    assert list(json_messages(b"\n".join(texts))) == texts
    assert list(json_messages(b"[" + b",".join(texts) + b"]")) == texts
