import json
from typing import Any

import pytest
from fakes.decoding import decode
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.api import OUT_OF_RANGE, Reject, Sample
from drivers.codecs.json_map import JsonMap, parse, parse_pointer, resolve
from drivers.codecs.values import MISSING, TimeMap, Unfit, ValueMap
from drivers.limits import INTEGER_MAX, JSON_DEPTH, PAYLOAD_BYTES, TEXT_BYTES

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
CLIMATE = {"temp": ValueMap(pointer="/temperature", unit="Cel"), "rh": ValueMap(pointer="/humidity", unit="%RH")}


def read(payload: bytes, values: dict[str, ValueMap] | None = None, **options: Any) -> Sample | Reject:
    return decode(
        JsonMap(CLIMATE if values is None else values, options.get("time")), "s", payload, options.get("now", NOW)
    )


def records(payload: bytes, **values: ValueMap) -> Any:
    got = read(payload, values)
    assert isinstance(got, Sample), got
    return got.records


def reason(payload: bytes, values: dict[str, ValueMap] | None = None) -> str:
    got = read(payload, values)
    assert isinstance(got, Reject), got
    assert got.source == "s"
    assert payload.startswith(got.example)
    return got.reason


def test_pointers_names_and_units() -> None:
    payload = b'{"temperature": 21.5, "humidity": 55}'
    got = read(payload)
    assert got == Sample("s", [("temp", "Cel", 21.5), ("rh", "%RH", 55)], payload)


def test_nested_pointers_arrays_and_escapes() -> None:
    payload = b'{"a": [{"b/c": 1, "m~n": 2}, 7], "": {"": 3}}'
    got = records(
        payload,
        one=ValueMap(pointer="/a/0/b~1c"),
        two=ValueMap(pointer="/a/0/m~0n"),
        seven=ValueMap(pointer="/a/1"),
        three=ValueMap(pointer="//"),
    )
    assert [value for _, _, value in got] == [1, 2, 7, 3]


def test_a_payload_that_is_one_value() -> None:
    assert records(b"21.5", temp=ValueMap(pointer="", unit="Cel")) == [("temp", "Cel", 21.5)]


def test_an_absent_pointer_is_the_name() -> None:
    assert records(b'{"a/b": 1}', **{"a/b": ValueMap()}) == [("a/b", None, 1)]


def test_scale_and_offset() -> None:
    assert records(b'{"t": 235}', t=ValueMap(scale=0.1, unit="Cel")) == [("t", "Cel", 23.5)]
    assert records(b'{"t": 3}', t=ValueMap(scale=0.1)) == [("t", None, 0.3)]  # not 0.30000000000000004
    assert records(b'{"f": 212.0}', f=ValueMap(scale=5 / 9, offset=-160 / 9, unit="Cel")) == [("f", "Cel", 100.0)]


def test_a_unit_that_senml_does_not_know_travels_as_text() -> None:
    assert records(b'{"co2": 900}', co2=ValueMap(unit="ppm")) == [("co2", None, 900), ("co2.unit", None, "ppm")]


def test_text_and_bool() -> None:
    got = records(b'{"state": "on", "open": true}', state=ValueMap(type="text"), open=ValueMap(type="bool"))
    assert got == [("state", None, "on"), ("open", None, True)]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", "empty"),
        (b"nope", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"temperature": 21.5, "humidity": 55} x', "invalid_json"),
        (b'{"temperature": NaN, "humidity": 55}', "invalid_json"),
        (b'{"temperature": Infinity, "humidity": 55}', "invalid_json"),
        (b'{"temperature": -Infinity, "humidity": 55}', "invalid_json"),
        (b'{"temperature": 1e999, "humidity": 55}', "invalid_json"),
        (b'{"temperature": 01, "humidity": 55}', "invalid_json"),
        (b"\xef\xbb\xbf" + b'{"temperature": 1, "humidity": 55}', "invalid_json"),
        (b'{"temperature": 1, "humidity": 5, "x": "\\ud800"}', "invalid_json"),
        (b'{"temperature": 1, "humidity": 5, "x": "\xf8"}', "invalid_utf8"),
        (b'{"temperature": 1, "humidity": 5, "\xf8": 0}', "invalid_utf8"),
        (b'{"temperature": 1, "temperature": 2, "humidity": 5}', "duplicate_key"),
        (b'{"temperature": 1, "temperature" :2, "humidity": 5}', "duplicate_key"),
        (b'{"temperature": 1, "temp\\u0065rature": 2, "humidity": 5}', "duplicate_key"),
        (b'{"temperature": 1, "humidity": 5, "x": {"a": 1, "b": [{"c": 1, "c": 1}]}}', "duplicate_key"),
        (b'{"temperature": 1, "humidity": 5, "x": 1, "x"\n\t:1, "time": "12:00:00"}', "duplicate_key"),
        (b'{"temperature": 1}', "missing_value"),
        (b'{"temperature": 1, "humidity": null}', "missing_value"),
        (b"[]", "missing_value"),
        (b"12", "missing_value"),
        (b'{"temperature": 1, "humidity": "55"}', "wrong_type"),
        (b'{"temperature": "30.11 \xc2\xb0C", "humidity": 55}', "wrong_type"),
        (b'{"temperature": true, "humidity": 55}', "wrong_type"),
        (b'{"temperature": [1], "humidity": 55}', "wrong_type"),
        (b'{"temperature": {"v": 1}, "humidity": 55}', "wrong_type"),
    ],
)
def test_every_fault_has_its_reason(payload: bytes, expected: str) -> None:
    assert reason(payload) == expected


def test_colons_in_strings_are_no_members() -> None:
    payload = json.dumps(
        {"temperature": 1, "humidity": 2, "time": "2026-01-01T00:00:00", "odd": 'a":b', "list": [{"k": " :"}]}
    ).encode()
    assert isinstance(read(payload), Sample)


def test_depth_at_the_limit_and_one_past() -> None:
    parse(b"[" * JSON_DEPTH + b"]" * JSON_DEPTH)
    parse(b'{"a":' * JSON_DEPTH + b"1" + b"}" * JSON_DEPTH)
    for open_, close in ((b"[", b"]"), (b'{"a":', b"}")):
        for depth in (JSON_DEPTH + 1, 30_000 // len(open_)):
            with pytest.raises(Unfit) as info:
                parse(open_ * depth + b"1" + close * depth)
            assert info.value.reason in {"too_deep", "invalid_json"}


def test_size_at_the_limit_and_one_past() -> None:
    assert parse(b'"' + b"x" * (PAYLOAD_BYTES - 2) + b'"')
    with pytest.raises(Unfit, match="too_long"):
        parse(b'"' + b"x" * (PAYLOAD_BYTES - 1) + b'"')


def test_integers_at_the_limit_and_one_past() -> None:
    for value in (INTEGER_MAX, -INTEGER_MAX):
        assert records(b'{"n": %d}' % value, n=ValueMap()) == [("n", None, value)]
    for value in (INTEGER_MAX + 1, -INTEGER_MAX - 1, 2**64, 10**400):
        assert records(b'{"n": %d}' % value, n=ValueMap()) == [("n", None, str(value))]
    assert reason(b'{"n": 1%s}' % (b"0" * 1100), {"n": ValueMap()}) == "text_too_long"
    assert reason(b'{"n": 1%s}' % (b"0" * 400), {"n": ValueMap(scale=2.0)}) == "wrong_type"


def test_text_at_the_limit_and_one_past() -> None:
    text = {"s": ValueMap(type="text")}
    for char, most in (("x", TEXT_BYTES), ("é", TEXT_BYTES // 2)):
        assert isinstance(read(json.dumps({"s": char * most}, ensure_ascii=False).encode(), text), Sample)
        assert reason(json.dumps({"s": char * (most + 1)}, ensure_ascii=False).encode(), text) == "text_too_long"


def test_a_sentinel_is_no_value() -> None:
    values = {"lux": ValueMap(unit="lx", sentinels=(65535.0, "---")), "t": ValueMap(unit="Cel")}
    got = read(b'{"lux": 65535, "t": 3.5}', values)
    assert isinstance(got, Sample)
    assert (got.records, got.quality) == ([("t", "Cel", 3.5)], OUT_OF_RANGE)
    got = read(b'{"lux": "---", "t": 3.5}', values)
    assert isinstance(got, Sample)
    assert got.quality == OUT_OF_RANGE
    got = read(b'{"lux": 65535}', {"lux": values["lux"]})
    assert isinstance(got, Sample)
    assert (got.records, got.quality) == ([], OUT_OF_RANGE)


def test_an_optional_value_may_be_absent_but_not_all_of_them() -> None:
    values = {"a": ValueMap(optional=True), "b": ValueMap(optional=True)}
    assert records(b'{"a": null, "b": 2}', **values) == [("b", None, 2)]
    assert reason(b'{"a": null}', values) == "missing_value"


@pytest.mark.parametrize(
    ("format_", "written", "expected"),
    [
        ("iso8601", '"2026-01-01T00:00:30Z"', NOW + 30),
        ("iso8601", '"2026-01-01T01:00:30.5+01:00"', NOW + 30.5),
        ("iso8601", '"2026-01-01T00:00:30"', None),  # local, nobody knows where
        ("iso8601", '"1970-01-01T00:00:30Z"', None),
        ("iso8601", '"yesterday"', None),
        ("iso8601", "17", None),
        ("unix", str(NOW - 5), NOW - 5),
        ("unix", '"1767225590"', NOW - 10),
        ("unix", str(NOW + 61), None),
        ("unix", str(NOW + 60), NOW + 60),
        ("unix", "true", None),
        ("unix", "1e300", None),
        ("unix", str(10**400), None),
        ("unix_ms", str(int(NOW) * 1000 + 250), NOW + 0.25),
        ("unix_ms", "null", None),
    ],
)
def test_the_devices_time_is_taken_where_it_can_be_trusted(format_: Any, written: str, expected: float | None) -> None:
    time = TimeMap(pointer="/time", format=format_)
    payload = b'{"temperature": 1, "humidity": 2, "time": %s}' % written.encode()
    got = read(payload, time=time)
    assert isinstance(got, Sample)
    assert got.time == expected
    nobody_knows = read(payload, time=time, now=None)
    assert isinstance(nobody_knows, Sample)
    assert nobody_knows.time is None


def test_no_time_is_no_fault() -> None:
    got = read(b'{"temperature": 1, "humidity": 2}', time=TimeMap())
    assert isinstance(got, Sample)
    assert got.time is None


@pytest.mark.parametrize("pointer", ["temperature", "/a~2", "/~"])
def test_what_is_no_pointer(pointer: str) -> None:
    with pytest.raises(ValueError, match="JSON pointer"):
        parse_pointer(pointer)


@pytest.mark.parametrize("pointer", ["/a/2", "/a/01", "/a/-1", "/a/-", "/a/x", "/b", "/a/0/0", "/a/99999999999"])
def test_pointers_that_point_nowhere(pointer: str) -> None:
    assert resolve({"a": [1, 2]}, parse_pointer(pointer)) is MISSING


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON, st.booleans())
def test_json_means_what_pythons_json_says(value: Any, spaced: bool) -> None:
    payload = json.dumps(value, ensure_ascii=False, separators=(" : ", " ,\n")[::-1] if spaced else None).encode(
        errors="replace"
    )
    assert parse(payload) == json.loads(payload)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", ":", '"', "\\", ""]), st.integers(0, 9)), max_size=5), st.data())
def test_no_key_stands_twice(pairs: list[tuple[str, int]], data: st.DataObject) -> None:
    spaces = st.sampled_from(["", " ", "\t", "\r\n"])
    members = [f"{json.dumps(key)}{data.draw(spaces)}:{data.draw(spaces)}{value}" for key, value in pairs]
    payload = ("{" + ",".join(members) + "}").encode()
    if len({key for key, _ in pairs}) == len(pairs):
        assert parse(payload) == dict(pairs)
    else:
        with pytest.raises(Unfit, match="duplicate_key"):
            parse(payload)


@settings(deadline=None)
@given(st.binary() | st.text().map(str.encode) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_a_sample_or_a_reject(payload: bytes) -> None:
    values = {"x": ValueMap(pointer="", scale=2.0), "y": ValueMap(pointer="/a", optional=True, type="text")}
    assert isinstance(read(payload, values, time=TimeMap(pointer="/0")), Sample | Reject)
