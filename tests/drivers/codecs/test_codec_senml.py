"""SenML: the examples of RFC 8428, sections 5 and 6, and what is wrong with a pack."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.api import OUT_OF_RANGE, STALE
from drivers.codecs.base import Found, Refused
from drivers.codecs.senml import ABSOLUTE_S, Senml
from drivers.codecs.values import AS_TOLD, TimeMap, Unfit
from drivers.limits import DATA_BYTES, NAME_BYTES, RECORDS, SENML_RECORDS, TEXT_BYTES, UNIT_BYTES

NOW = 1_795_500_000.0
WINDOW = TimeMap(format="unix")
LABELS = {"bver": -1, "bn": -2, "bt": -3, "bu": -4, "bv": -5, "bs": -6}
LABELS |= {"n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "s": 5, "t": 6, "ut": 7, "vd": 8}
OW = "urn:dev:ow:10e2073a01080063"


def take(payload: bytes, now: float | None = NOW, topic: str = "senml", level: int = 0) -> Sequence[Found | Refused]:
    return Senml(WINDOW, level).take(topic, payload, now, retained=False)


def samples(pack: object, now: float | None = NOW) -> list[Found]:
    payload = pack if isinstance(pack, bytes) else json.dumps(pack).encode()
    found = take(payload, now)
    assert all(isinstance(one, Found) for one in found), found
    return [one for one in found if isinstance(one, Found)]


def told(payload: bytes) -> list[tuple[str, str | None, Any, float | None]]:
    """Name, unit, value and time of every record, in order, times as they are told."""
    return [(*record, one.time) for one in samples(payload, AS_TOLD) for record in one.records]


def reason(payload: bytes | list[Any]) -> str:
    with pytest.raises(Unfit) as unfit:
        take(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
    return unfit.value.reason


def to_cbor(pack: list[dict[str, Any]]) -> bytes:
    import base64

    rows = []
    for row in pack:
        made = {LABELS.get(label, label): value for label, value in row.items()}
        if 8 in made:
            made[8] = base64.urlsafe_b64decode(made[8] + "=" * (-len(made[8]) % 4))
        rows.append(made)
    return cbor2.dumps(rows)


EXAMPLES: dict[str, tuple[str, list[tuple[str, str | None, Any, float | None]]]] = {
    "5.1.1 single datapoint": (
        '[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]',
        [(OW, "Cel", 23.1, None)],
    ),
    "5.1.2 multiple datapoints": (
        '[{"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},{"n":"current","u":"A","v":1.2}]',
        [(OW + ":voltage", "V", 120.1, None), (OW + ":current", "A", 1.2, None)],
    ),
    "5.1.2 five seconds of current": (
        '[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},'
        '{"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3},{"n":"current","t":-3,"v":1.4},'
        '{"n":"current","t":-2,"v":1.5},{"n":"current","t":-1,"v":1.6},{"n":"current","v":1.7}]',
        [
            ("urn:dev:ow:10e2073a0108006:voltage", "V", 120.1, 1276020076.001),
            *(
                ("urn:dev:ow:10e2073a0108006:current", "A", round(1.7 - ago / 10, 1), round(1276020076.001 - ago, 3))
                for ago in (5, 4, 3, 2, 1, 0)
            ),
        ],
    ),
    "5.1.3 multiple measurements": (
        '[{"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},{"u":"lon","v":24.30621},'
        '{"u":"lat","v":60.07965},{"t":60,"v":20.3},{"u":"lon","t":60,"v":24.30622},{"u":"lat","t":60,"v":60.07965},'
        '{"u":"%EL","t":150,"v":98}]',
        [
            (OW, "%RH", 20, 1320067464),
            (OW, "lon", 24.30621, 1320067464),
            (OW, "lat", 60.07965, 1320067464),
            (OW, "%RH", 20.3, 1320067524),
            (OW, "lon", 24.30622, 1320067524),
            (OW, "lat", 60.07965, 1320067524),
            (OW, "%EL", 98, 1320067614),
        ],
    ),
    "5.1.5 multiple data types": (
        '[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},{"n":"label","vs":"Machine Room"},'
        '{"n":"open","vb":false},{"n":"nfc-reader","vd":"aGkgCg"}]',
        [
            (OW + ":temp", "Cel", 23.1, None),
            (OW + ":label", None, "Machine Room", None),
            (OW + ":open", None, False, None),
            (OW + ":nfc-reader", None, b"hi \n", None),
        ],
    ),
    "5.1.6 collection of resources": (
        '[{"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel","v":25.2},{"n":"humidity","u":"%RH","v":30},'
        '{"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3},{"n":"humidity","u":"%RH","v":67}]',
        [
            ("2001:db8::2/temperature", "Cel", 25.2, 1320078429),
            ("2001:db8::2/humidity", "%RH", 30, 1320078429),
            ("2001:db8::1/temperature", "Cel", 12.3, 1320078429),
            ("2001:db8::1/humidity", "%RH", 67, 1320078429),
        ],
    ),
    "5.1.7 setting an actuator": (
        '[{"bn":"urn:dev:ow:10e2073a01080063:"},{"n":"temp","u":"Cel","v":23.1},{"n":"heat","u":"/","v":1},'
        '{"n":"fan","u":"/","v":0}]',
        [(OW + ":temp", "Cel", 23.1, None), (OW + ":heat", "/", 1, None), (OW + ":fan", "/", 0, None)],
    ),
    "5.1.7 two lights": (
        '[{"bt":1.320078429e+09,"bu":"/","n":"2001:db8::3","v":0.5},{"n":"2001:db8::4","v":0.5},'
        '{"n":"2001:db8::3","t":0.1,"v":0},{"n":"2001:db8::4","t":0.1,"v":0}]',
        [
            ("2001:db8::3", "/", 0.5, 1320078429),
            ("2001:db8::4", "/", 0.5, 1320078429),
            ("2001:db8::3", "/", 0, 1320078429.1),
            ("2001:db8::4", "/", 0, 1320078429.1),
        ],
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_the_rfc_in_json_and_cbor(name: str) -> None:
    text, expected = EXAMPLES[name]
    assert told(text.encode()) == expected
    assert told(to_cbor(json.loads(text))) == expected


def test_the_dump_of_section_6() -> None:
    dump = (
        "87a7 2178 1b75 726e 3a64 6576 3a6f 773a 3130 6532 3037 3361 3031 3038 3030 363a"
        "22fb 41d3 03a1 5b00 1062 2361 4120 0500 6776 6f6c 7461 6765 0161 5602 fb40 5e06 6666 6666 66"
        "a3 0067 6375 7272 656e 7406 2402 fb3f f333 3333 3333 33"
        "a3 0067 6375 7272 656e 7406 2302 fb3f f4cc cccc cccc cd"
        "a3 0067 6375 7272 656e 7406 2202 fb3f f666 6666 6666 66"
        "a3 0067 6375 7272 656e 7406 2102 f93e 00"
        "a3 0067 6375 7272 656e 7406 2002 fb3f f999 9999 9999 9a"
        "a3 0067 6375 7272 656e 7406 0002 fb3f fb33 3333 3333 33"
    )
    assert told(bytes.fromhex(dump)) == EXAMPLES["5.1.2 five seconds of current"][1]


def test_a_sample_has_one_time_and_a_name_once() -> None:
    pack = [{"bn": "a", "v": 1}, {"n": "b", "v": 2}, {"n": "b", "u": "lat", "v": 3}, {"n": "c", "t": -1, "v": 4}]
    got = samples(pack)
    assert [(one.time, [name for name, _, _ in one.records]) for one in got] == [
        (None, ["a", "ab"]),
        (None, ["ab"]),
        (NOW - 1, ["ac"]),
    ]


# Times


def when(time: float, now: float | None) -> tuple[float | None, int]:
    (one,) = samples([{"n": "a", "v": 1, "t": time}], now)
    return one.time, one.quality


def test_relative_times() -> None:
    assert when(0, NOW) == (None, 0)
    assert when(-5.5, NOW) == (NOW - 5.5, 0)
    assert when(10, NOW) == (NOW + 10, 0)
    assert when(ABSOLUTE_S - 1, NOW) == (None, 0)  # in eight years: nobody believes it
    assert when(-5.5, None) == (None, STALE)  # nobody knows the time: that of receipt is later than this
    assert when(0, None) == when(10, None) == (None, 0)
    assert when(-5.5, AS_TOLD) == (None, STALE)
    assert when(-8 * 86_400, NOW) == (None, STALE)


def test_absolute_times_count_only_near_the_time_of_receipt() -> None:
    assert when(NOW - 3, NOW) == (NOW - 3, 0)
    assert when(NOW - WINDOW.max_behind_s, NOW) == (NOW - WINDOW.max_behind_s, 0)
    assert when(NOW - WINDOW.max_behind_s - 1, NOW) == (None, 0)
    assert when(NOW + WINDOW.max_ahead_s, NOW)[0] is not None
    assert when(NOW + WINDOW.max_ahead_s + 1, NOW) == (None, 0)
    assert when(NOW, None) == (None, 0)
    assert when(ABSOLUTE_S, AS_TOLD) == (ABSOLUTE_S, 0)


def test_base_time_and_time_are_added_before_they_are_judged() -> None:
    pack = [{"bn": "a", "bt": ABSOLUTE_S, "t": -1, "v": 1}, {"t": 0, "v": 2}]
    assert [one.time for one in samples(pack, AS_TOLD)] == [None, ABSOLUTE_S]
    assert [one.quality for one in samples(pack, NOW)] == [0, 0]


# Values, sums, units


def test_base_values_and_sums() -> None:
    pack = [
        {"bn": "p", "bu": "W", "bv": 0.1, "bs": 1000, "v": 0.2, "s": 5},
        {"n": "q", "v": 1},
        {"n": "r", "t": 0},
        {"n": "s", "s": 7},
        {"n": "t", "vs": "x"},
        {"n": "u", "vb": True, "s": 1},
    ]
    got = {name: value for one in samples(pack) for name, unit, value in one.records if not name.endswith(".unit")}
    assert got == {
        "p": 0.3,
        "p.sum": 1005,
        "pq": 1.1,
        "pq.sum": 1000,
        "pr": 0.1,
        "pr.sum": 1000,
        "ps.sum": 1007,
        "pt": "x",
        "pu": True,
        "pu.sum": 1001,
    }
    assert ("p.sum.unit", None, "W s") in samples(pack)[0].records
    assert samples([{"n": "a", "s": 5}])[0].records == [("a.sum", None, 5)]


def test_counters_keep_their_digits() -> None:
    assert samples([{"n": "a", "bv": 10**12, "v": 5}])[0].records == [("a", None, 10**12 + 5)]
    assert samples([{"n": "a", "v": 2**53}])[0].records == [("a", None, float(2**53))]
    ((_, _, summed),) = samples([{"n": "a", "bv": 2**53 - 1, "v": 1}])[0].records
    assert isinstance(summed, float)  # an integer so large is none that a reading may carry
    assert summed == 2**53


def test_a_unit_that_is_not_primary_stands_beside() -> None:
    assert samples([{"n": "a", "u": "mm", "v": 3}])[0].records == [("a", None, 3), ("a.unit", None, "mm")]
    assert samples([{"n": "a", "bu": "Cel", "vs": "x"}, {"n": "b", "u": "", "v": 1}])[0].records == [
        ("a", None, "x"),
        ("b", None, 1),
    ]
    names = [
        [name for name, _, _ in one.records]
        for one in samples([{"n": "a.unit", "v": 1}, {"n": "a", "u": "mm", "v": 3}])
    ]
    assert names == [["a.unit"], ["a", "a.unit"]]


def test_what_is_no_finite_number_in_cbor() -> None:
    (one,) = samples(cbor2.dumps([{0: "a", 2: math.nan}, {0: "b", 2: 1}]))
    assert one.records == [("b", None, 1)]
    assert one.quality == OUT_OF_RANGE
    (refused,) = take(cbor2.dumps([{0: "a", 2: math.inf}]))
    assert isinstance(refused, Refused)
    assert refused.reason == "missing_value"


def test_decimal_fractions_of_cbor() -> None:
    from decimal import Decimal

    assert samples(cbor2.dumps([{0: "a", 2: Decimal("23.15"), -3: Decimal("1795500000.5")}]))[0].records == [
        ("a", None, 23.15)
    ]


def test_indefinite_lengths_of_a_stream() -> None:
    payload = b"\x9f\xbf\x00\x7f\x61a\x61b\xff\x02\xf9\x4d\x00\x08" + b"\xff\xff"
    assert reason(payload) == "invalid_cbor"
    payload = b"\x9f\xbf\x00\x7f\x61a\x61b\xff\x02\xf9\x4d\x00\xff\xa2\x00\x61c\x08\x5f\x41\x01\x41\x02\xff\xff"
    assert samples(payload)[0].records == [("ab", None, 20.0), ("c", None, b"\x01\x02")]


# What is unknown, and what is wrong


def test_unknown_labels_are_ignored_unless_they_end_in_an_underscore() -> None:
    pack = [{"n": "a", "v": 1, "l": '[{"href":"humidity"}]', "ct": "60", "ut": 5, "_x": {"deep": [None]}}]
    assert samples(pack)[0].records == samples(to_cbor(pack))[0].records == [("a", None, 1)]
    for label in ("ct_", "_", "v_"):
        assert reason([{"n": "a", "v": 1}, {"n": "b", "v": 1, label: 1}]) == "unknown_label"
        assert reason(cbor2.dumps([{0: "a", 2: 1, label: 1}])) == "unknown_label"


def test_labels_of_cbor_are_its_integers() -> None:
    assert reason(cbor2.dumps([{"n": "a", "v": 1}])) == "unknown_label"
    for label in (9, -7, 23):
        assert reason(cbor2.dumps([{0: "a", 2: 1, label: 1}])) == "unknown_label"


def test_versions() -> None:
    for version in (1, 5, 10, 26):
        assert samples([{"bver": version, "n": "a", "v": 1}, {"bver": version, "n": "b", "v": 1}])
    for version in (0, -1, 11, 27, 42):
        assert reason([{"bver": version, "n": "a", "v": 1}]) == "unsupported_version"
    assert reason([{"n": "a", "v": 1}, {"bver": 5, "n": "b", "v": 1}]) == "unsupported_version"
    assert reason([{"bver": 5, "n": "a", "v": 1}, {"bver": 6, "n": "b", "v": 1}]) == "unsupported_version"
    assert samples([{"n": "a", "v": 1}, {"bver": 10, "n": "b", "v": 1}])


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", "empty"),
        (b"<sensml/>", "unsupported_format"),
        (b"$EXI\xa0", "unsupported_format"),
        (b"{}", "wrong_type"),
        (b"[]", "wrong_type"),
        (b"\x80", "wrong_type"),
        (b"\xd9\xd9\xf7\xa0", "wrong_type"),
        (b"[1]", "wrong_type"),
        (b"nope", "invalid_json"),
        (b'[{"n":"a","v":NaN}]', "invalid_json"),
        (b'[{"n":"a","v":1,"v":2}]', "duplicate_key"),
        (b"\xa0", "invalid_json"),
        (b"\x81\xa2\x00\x61a\x02", "invalid_cbor"),
        (b'[{"n":"a"}]', "missing_value"),
        (b'[{"bn":"a"}]', "missing_value"),
        (b'[{"n":"a","t":5}]', "missing_value"),
        (b'[{"n":"a","v":null}]', "wrong_type"),
        (b'[{"n":"a","v":"1"}]', "wrong_type"),
        (b'[{"n":"a","v":true}]', "wrong_type"),
        (b'[{"n":"a","vb":1}]', "wrong_type"),
        (b'[{"n":"a","vs":1}]', "wrong_type"),
        (b'[{"n":"a","vd":1}]', "wrong_type"),
        (b'[{"n":"a","v":1,"t":"now"}]', "wrong_type"),
        (b'[{"n":5,"v":1}]', "wrong_type"),
        (b'[{"n":"a","v":1,"bver":"10"}]', "wrong_type"),
        (b'[{"n":"a","v":1,"bver":10.0}]', "wrong_type"),
        (b'[{"n":"a","v":1,"vs":"x"}]', "wrong_type"),
        (b'[{"n":"a","v":1,"bt":' + b"9" * 400 + b"}]", "wrong_type"),
        (b'[{"n":"a","vd":"+/=="}]', "invalid_base64"),
        (b'[{"n":"a","vd":"A"}]', "invalid_base64"),
        (b'[{"v":1}]', "bad_name"),
        (b'[{"n":"","v":1}]', "bad_name"),
        (b'[{"n":"_a","v":1}]', "bad_name"),
        (b'[{"n":"a b","v":1}]', "bad_name"),
        (b'[{"n":"a","v":1},{"n":"\xc3\xa9","v":1}]', "bad_name"),
        (b'[{"n":"raw","v":1}]', "bad_name"),
        (b'[{"bn":"raw.","n":"sha256","v":1}]', "bad_name"),
    ],
)
def test_every_fault_has_its_reason(payload: bytes, expected: str) -> None:
    assert reason(payload) == expected


def test_cbor_types_where_json_has_text() -> None:
    for row in ({0: "a", 8: "aGk"}, {0: b"a", 2: 1}, {0: "a", 3: b"x"}, {0: "a", 2: None}, {0: "a", 2: 1, 6: math.nan}):
        assert reason(cbor2.dumps([row])) == "wrong_type"


def test_limits() -> None:
    assert len(samples([{"n": f"n{at}", "v": at} for at in range(SENML_RECORDS)])) == SENML_RECORDS // RECORDS
    assert reason([{"n": f"n{at}", "v": at} for at in range(SENML_RECORDS + 1)]) == "too_many_values"
    assert samples([{"n": "n" * NAME_BYTES, "v": 1}])
    assert reason([{"bn": "n", "n": "n" * NAME_BYTES, "v": 1}]) == "bad_name"
    assert reason([{"n": "n" * NAME_BYTES, "u": "mm", "v": 1}]) == "bad_name"
    assert samples([{"n": "a", "vs": "x" * TEXT_BYTES}])
    assert reason([{"n": "a", "vs": "x" * (TEXT_BYTES + 1)}]) == "text_too_long"
    assert samples([{"n": "a", "u": "x" * UNIT_BYTES, "v": 1}])
    assert reason([{"n": "a", "u": "x" * (UNIT_BYTES + 1), "v": 1}]) == "text_too_long"
    for make in (cbor2.dumps, None):
        for size in (DATA_BYTES, DATA_BYTES + 1):
            row: Any = {0: "a", 8: bytes(size)} if make else {"n": "a", "vd": "A" * math.ceil(size * 4 / 3)}
            payload = cbor2.dumps([row]) if make else json.dumps([row]).encode()
            assert reason(payload) == "too_long" if size > DATA_BYTES else take(payload)


def test_the_topic_names_the_device_where_it_is_asked_to() -> None:
    payload = b'[{"n":"a","v":1}]'
    assert [one.device for one in take(payload, topic="farm/barn-3/senml", level=2)] == ["barn-3"]
    assert [one.device for one in take(payload, topic="farm/barn-3/senml")] == [""]
    with pytest.raises(Unfit) as unfit:
        take(payload, topic="farm", level=2)
    assert unfit.value.reason == "bad_source_id"


NUMBER = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
VALUE = st.one_of(
    st.builds(lambda v: {"v": v}, NUMBER),
    st.builds(lambda v: {"vs": v}, st.text(max_size=20)),
    st.builds(lambda v: {"vb": v}, st.booleans()),
    st.builds(lambda v, s: {"v": v, "s": s}, NUMBER, NUMBER),
    st.builds(lambda v: {"vd": v}, st.sampled_from(["", "AA", "aGkgCg", "-_-_"])),
)
ROW = st.builds(
    lambda name, value, rest: {"n": name, **value, **rest},
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9:./_-]{0,20}", fullmatch=True).filter(lambda name: not name.startswith("raw")),
    VALUE,
    st.fixed_dictionaries(
        {}, optional={"u": st.sampled_from(["Cel", "mm"]), "t": NUMBER, "bv": NUMBER, "bt": NUMBER, "x": NUMBER}
    ),
)


@given(st.lists(ROW, min_size=1, max_size=6), st.sampled_from([NOW, None, AS_TOLD]))
def test_json_and_cbor_say_the_same(pack: list[dict[str, Any]], now: float | None) -> None:
    def of(payload: bytes) -> list[Any]:
        return [one if isinstance(one, Found) else one.reason for one in take(payload, now)]

    assert of(json.dumps(pack).encode()) == of(to_cbor(pack))


# Recorded by the working group


def test_the_working_groups_files(captures: Path) -> None:
    expected = json.loads((captures / "expected.json").read_text())
    seen = 0
    for name, wanted in expected.items():
        if not name.startswith("senml/"):
            continue
        got = told((captures / name).read_bytes())
        seen += 1
        assert len(got) == wanted["records"], name
        for record, of in ((got[0], wanted.get("first")), (got[-1], wanted.get("last"))):
            if of is not None:
                value = next(of[label] for label in ("v", "vs", "vb", "vd") if label in of)
                assert record[:3] == (of["n"], of.get("u"), value), name
                assert record[3] == of["t"], name
    assert seen


def test_every_file_resolves_as_its_resolved_twin(captures: Path) -> None:
    seen = 0
    for resolved in sorted((captures / "senml").glob("*.resolved.json")):
        stem = resolved.name.removesuffix(".resolved.json")
        wanted = told(resolved.read_bytes())
        folder = captures / "senml"
        for file in (
            folder / f"{stem}.json",
            folder / f"{stem.removesuffix('.gen')}.json",
            folder / f"{stem}.wrap.json",
            folder / f"{stem}.cbor",
        ):
            if not file.exists():
                continue
            seen += 1
            got = [record for record in told(file.read_bytes()) if not isinstance(record[2], bytes)]
            assert [record[:3] for record in got] == [record[:3] for record in wanted], file
            if got[0][3] is not None:  # else relative to when the twin was made
                assert got == wanted, file
    assert seen
