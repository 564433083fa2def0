"""What is believed of bytes and messages, and the tables that are suggested for what no driver knows."""

import json
import tomllib
from typing import Any

import msgspec
import pytest
from fakes import recordings
from fakes.recordings import Recording
from hypothesis import example, given
from hypothesis import strategies as st

from drivers import probing, recorded, registry, suggesting
from drivers.codecs.base import Found
from drivers.kinds import Kind
from drivers.lines import LineOptions, stream
from drivers.probing import Heard, Way

WAYS = probing.ways()
TOLD = [  # recordings of what a line says by itself, in a form of its own
    pytest.param(kind, recording, id=f"{kind.name}{number}")
    for kind in recordings.kinds()
    if kind.shape == "stream" and kind.name not in ("serial_line", "replay")
    for number, recording in enumerate(recordings.of(kind))
    if recording.stream and recording.options.get("variant") != "ticket"
]


def with_parity(data: bytes, odd: int) -> bytes:
    """As 7 data bits and a parity arrive where 8 data bits are read."""
    return bytes(byte | (byte.bit_count() + odd) % 2 << 7 for byte in data)


@pytest.mark.parametrize(("kind", "recording"), TOLD)
def test_a_protocol_is_known_by_what_it_says(kind: Kind, recording: Recording) -> None:
    best = probing.judge(recording.stream * 2, WAYS)[0]
    assert best.way.kind is kind
    assert best.sure
    if "variant" in recording.options:
        assert best.way.options["variant"] == recording.options["variant"]
    options = msgspec.convert({**kind.recorded, **best.way.options}, kind.options)
    assert kind.codec is not None
    codec = kind.codec(options)
    assert any(isinstance(one, Found) for one in [*codec.feed(recording.stream, None), *codec.end(None)])


@given(st.binary(max_size=2_000))
def test_nothing_is_sure_of_noise(noise: bytes) -> None:
    assert not any(one.sure and one.noticed == 0 and one.frames > 20 for one in probing.judge(noise, WAYS))
    suggesting.lines(noise)


def test_a_wrong_checksum_is_no_evidence_and_a_right_one_is() -> None:
    good, bad = recordings.SHIP, recordings.SHIP.replace(b"*", b"*0")
    ways = [way for way in WAYS if way.kind.name == "nmea0183"]
    (verdict,) = probing.judge(good, ways)
    assert verdict.noticed > 1
    assert "with the right checksum" in verdict.evidence
    assert probing.judge(bad, ways) == []


@pytest.mark.parametrize(("odd", "told"), [(0, "even"), (1, "odd")])
@pytest.mark.parametrize("share", [1, 3])
def test_a_parity_is_told_from_text(odd: int, told: str, share: int) -> None:
    text = recordings.SHIP[: len(recordings.SHIP) // share]
    assert probing.parity(with_parity(text, odd)) == told
    assert probing.parity(text) is None


@given(st.binary(max_size=400))
def test_a_parity_is_of_text_alone(data: bytes) -> None:
    told = probing.parity(data)
    assert told in (None, "even", "odd")
    if told is not None:
        assert sum(chr(byte & 0x7F).isprintable() for byte in data) > 0.5 * len(data)


def taken(table: dict[str, Any], data: bytes) -> list[dict[str, object]]:
    codec = stream(msgspec.convert(table, LineOptions))
    found = [one for one in [*codec.feed(data, None), *codec.end(None)] if isinstance(one, Found)]
    return [{name: value for name, _, value in one.records} for one in found]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        (b"4.54pH 24.7\xf8C ATC\r\n", {"value1": 4.54, "value2": 24.7}),
        (b"T=-3.5;RH= 44 %\r\n", {"value1": -3.5, "value2": 44}),
        (b"17.25\n", {"value": 17.25}),
        (b'{"t": 21.5, "a": {"b c": true}}\n', {"t": 21.5, "a.b-c": True}),
        (b"2026-11-23 06:30:00, 12.5 (ok)\n", {"value1": 2026, "value7": 12.5}),
    ],
)
def test_lines_that_no_driver_knows_get_a_table_that_reads_them(line: bytes, values: dict[str, object]) -> None:
    table = suggesting.lines(line[5:] + line * 4)
    assert table is not None
    told = tomllib.loads(suggesting.toml("source.x", table))["source"]["x"]
    assert told == json.loads(json.dumps(table))
    samples = taken(told, line * 3)
    assert len(samples) == 3
    for name, value in values.items():
        assert samples[0][name] == value


@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=5))
def test_whatever_is_suggested_is_a_table_that_loads(parts: list[bytes]) -> None:
    data = b"\n".join(parts) + b"\n"
    table = suggesting.lines(data)
    if table is not None:
        assert taken(tomllib.loads(suggesting.toml("source.x", table))["source"]["x"], data)


def test_no_table_for_lines_without_a_number() -> None:
    assert suggesting.lines(b"ready\nready\nready\n") is None
    assert suggesting.lines(b"") is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
        max_leaves=8,
    )
)
@example({"a\x7f": True, "a/b": {"~": "x"}, "\U00010000b": 1})
def test_values_of_json_are_found_where_the_table_says(document: object) -> None:
    payload = json.dumps(document).encode()
    values = suggesting.json_values(payload)
    if values is None:
        return
    kind = registry.kind("mqtt")
    text = suggesting.toml("source.x", {"broker": "b", "topic": "t", "values": values})
    options = msgspec.convert(tomllib.loads(text)["source"]["x"], kind.options)
    assert kind.codec is not None
    (one,) = recorded.message(kind.codec(options), "t", payload, None)
    assert isinstance(one, Found)
    assert {name for name, _, _ in one.records} == set(values)


def test_a_profile_is_known_by_its_topics() -> None:
    noise = [Heard("x/y", b"\xff\x00"), Heard("$SYS/uptime", b"17 seconds"), Heard("a", b"")]
    for kind in recordings.kinds():
        for recording in recordings.of(kind) if kind.shape == "subscribe" and kind.name != "mqtt" else ():
            if recording.options:
                continue
            heard = [Heard(topic, payload) for topic, payload in recording.messages]
            found = [*probing.profiles([*noise, *heard], None), *probing.of_any_topic([*noise, *heard], None)]
            assert kind.name in [one.kind.name for one in found]
            for one in found:
                assert one.samples
                assert one.topics <= {message.topic for message in heard}
                text = suggesting.toml("source.x", {"broker": "b", **one.options})
                msgspec.convert(tomllib.loads(text)["source"]["x"], one.kind.options)


def test_every_way_has_a_codec_of_its_own() -> None:
    assert all(way.codec() is not way.codec() for way in WAYS)
    assert Way(registry.kind("scale"), {"variant": "st-gs"}) in WAYS
