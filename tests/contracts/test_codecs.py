"""One suite for every driver's codec, ours and those of other packages: a new one joins it by being registered."""

import gc
import math
import re
import sys
import tomllib
from pathlib import Path
from types import FunctionType, ModuleType

import msgspec
import pytest
from fakes import recordings
from fakes.recordings import Recording
from fuzz.test_fuzz import spoilt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers import recorded, registry
from drivers.api import OUT_OF_RANGE, REPLAYED, STALE, UNSTABLE
from drivers.codecs.base import Ask, Found, Refused, State
from drivers.codecs.units import PRIMARY
from drivers.codecs.values import AS_TOLD, ValueName
from drivers.kinds import Kind
from drivers.limits import EXAMPLE_BYTES, INTEGER_MAX, LINE_BYTES_MAX, PAYLOAD_BYTES, RECORDS, TEXT_BYTES, TOPIC_BYTES

REPOSITORY = Path(__file__).parents[2]
NOW = 1_795_500_000.0
GARBAGE_BYTES, KEPT_BYTES = 96 * 1024, 64 * 1024
NAME = msgspec.json.Decoder(ValueName)

KINDS = [kind for kind in recordings.kinds() if kind.name != "replay"]  # whose codec is serial_line's
ALL = [
    pytest.param(kind, recording, id=f"{kind.name}{number}")
    for kind in KINDS
    for number, recording in enumerate(recordings.of(kind))
]
STREAMS = [one for one in ALL if hasattr(recordings.codec(*one.values), "feed")]
EXAMPLES = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def seeds(recording: Recording) -> list[bytes]:
    return [*recording.payloads, *(payload * 3 for payload in recording.payloads if payload)]


def check(one: recorded.Finding, *, now: float | None) -> None:
    """The law of a finding (drivers/codecs/base.py, drivers/api.py)."""
    if isinstance(one, Refused):
        assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+){0,5}", one.reason)
        assert isinstance(one.example, bytes)
        assert len(one.example) <= EXAMPLE_BYTES
        assert len(one.detail) <= 256
        assert len(one.device) <= TOPIC_BYTES
    elif isinstance(one, Found):
        check_found(one, now=now)
    elif isinstance(one, State):
        assert one.detail
        assert len(one.detail) <= 512
    else:
        assert isinstance(one, Ask)
        assert 0 < len(one.topic.encode()) <= TOPIC_BYTES
        assert not set(one.topic) & {"+", "#", "\0"}
        assert len(one.payload) <= PAYLOAD_BYTES


def check_found(one: Found, *, now: float | None) -> None:
    assert len(one.records) <= 2 * RECORDS
    assert one.records or one.quality, "a sample without a value says by its quality why"
    names = [name for name, _, _ in one.records]
    assert len(set(names)) == len(names)
    assert not {"raw", "raw.sha256"} & set(names)
    for name, unit, value in one.records:
        assert NAME.decode(msgspec.json.encode(name)) == name
        assert unit is None or unit in PRIMARY
        if isinstance(value, bool):
            assert unit is None
        elif isinstance(value, int | float):
            assert math.isfinite(value)
            assert not isinstance(value, int) or abs(value) <= INTEGER_MAX
        elif isinstance(value, str):
            assert len(value.encode()) <= TEXT_BYTES
        else:
            assert isinstance(value, bytes)
            assert len(value) <= PAYLOAD_BYTES
    assert one.quality & ~(UNSTABLE | STALE | OUT_OF_RANGE | REPLAYED) == 0
    assert one.time is None or (now is not None and math.isfinite(one.time))
    assert one.raw is None or len(one.raw) <= max(LINE_BYTES_MAX, PAYLOAD_BYTES) + 16
    assert len(one.device) <= TOPIC_BYTES


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_it_has_a_recording_that_it_takes(kind: Kind) -> None:
    for recording in recordings.of(kind):
        assert list(recordings.found(recordings.findings(kind, recording, NOW))), recording


@pytest.mark.parametrize(("kind", "recording"), STREAMS)
def test_any_chunking_finds_the_same(kind: Kind, recording: Recording) -> None:
    whole = recordings.findings(kind, recording, NOW)
    assert recordings.findings(kind, recording, NOW, cuts=tuple(range(len(recording.stream)))) == whole

    @EXAMPLES
    @given(spoilt(seeds(recording)) | st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=12))
    def chunked(data: bytes, cuts: list[int]) -> None:
        whole = recordings.findings(kind, recording, NOW, data)
        assert recordings.findings(kind, recording, NOW, data, tuple(cuts)) == whole

    chunked()


@pytest.mark.parametrize(("kind", "recording"), ALL)
def test_whatever_comes_obeys_the_rules_of_findings(kind: Kind, recording: Recording) -> None:
    for now in (NOW, None, AS_TOLD):
        for one in recordings.findings(kind, recording, now):
            check(one, now=now)

    @EXAMPLES
    @given(spoilt(seeds(recording)) | st.binary(max_size=300), st.sampled_from([NOW, None, AS_TOLD]))
    def whatever(data: bytes, now: float | None) -> None:
        for one in recordings.findings(kind, recording, now, data):
            check(one, now=now)

    whatever()


@pytest.mark.parametrize(("kind", "recording"), STREAMS)
@pytest.mark.parametrize("drop_first", [False, True])
def test_a_silence_at_any_place(kind: Kind, recording: Recording, *, drop_first: bool) -> None:
    """It may end what there is of a frame, and what comes behind it is read all the same."""
    for at in range(0, len(recording.stream), max(1, len(recording.stream) // 40)):
        made = recordings.codec(kind, recording, drop_first=drop_first)
        found = [*made.feed(recording.stream[:at], NOW), *made.gap(NOW), *made.gap(NOW)]
        found += [*made.feed(recording.stream[at:], NOW), *made.gap(NOW), *made.feed(recording.stream, NOW)]
        for one in found:
            check(one, now=NOW)
        assert list(recordings.found(found))


@pytest.mark.parametrize(("kind", "recording"), STREAMS)
def test_garbage_takes_a_bounded_memory(kind: Kind, recording: Recording) -> None:
    """Bytes without any delimiter, and the beginning of a frame again and again."""
    for piece in (b"\x01", b"U", recording.stream[: len(recording.stream) // 3] or b"$"):
        made = recordings.codec(kind, recording)
        chunk = piece * (4_096 // len(piece))
        before = held(made)
        for _ in range(GARBAGE_BYTES // len(chunk)):
            made.feed(chunk, NOW)
        assert held(made) < before + KEPT_BYTES


def held(codec: object) -> int:
    """Bytes of all that it can reach, but for what is code."""
    seen: dict[int, object] = {}
    waiting = [codec]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and not isinstance(one, type | ModuleType | FunctionType):
            seen[id(one)] = one
            waiting += gc.get_referents(one)
    return sum(map(sys.getsizeof, seen.values()))


@pytest.mark.parametrize(("kind", "recording"), ALL)
def test_the_same_codec_goes_on_behind_what_was_bad(kind: Kind, recording: Recording) -> None:
    if recording.stream:
        made = recordings.codec(kind, recording)
        made.feed(b"\xff\x00garbage\r\n", NOW)
        made.gap(NOW)
        assert list(recordings.found(made.feed(recording.stream, NOW)))
        return
    made = recordings.codec(kind, recording)
    for topic, _ in recording.messages:
        for bad in (b"", b"\xff", b"{", b"[" * 100_000, b"nan"):
            for one in recorded.message(made, topic, bad, NOW):
                check(one, now=NOW)
    heard = [one for topic, payload in recording.messages for one in recorded.message(made, topic, payload, NOW)]
    assert list(recordings.found(heard))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_it_is_by_name(kind: Kind) -> None:
    assert registry.kind(kind.name) is kind
    assert 0 < len(kind.title) <= 72
    assert kind.shape in ("subscribe", "stream", "poll")
    assert (kind.driver is None) == (kind.shape == "subscribe")
    if hasattr(kind.codec, "feed"):
        assert kind.shape != "subscribe"


@pytest.mark.parametrize("name", registry.names())
def test_the_manual_has_a_section_for_it(name: str) -> None:
    manual = (REPOSITORY / "docs" / "drivers.md").read_text()
    assert re.search(rf"^##+ .*\b{name}\b", manual, re.MULTILINE)
    assert f"| `{name}` |" in manual


@pytest.mark.parametrize("name", registry.names())
def test_the_example_configuration_has_a_table_of_it(name: str) -> None:
    """Commented, mostly; tests/config/test_example.py loads the whole file with its comments taken off."""
    text = re.sub(r"^#(?=[a-z_]+ = |\[[a-z])", "", (REPOSITORY / "deploy" / "fieldgate.toml").read_text(), flags=re.M)
    tables = [one for one in tomllib.loads(text)["source"].values() if one["driver"] == name]
    assert tables
    for table in tables:
        given = {key: value for key, value in table.items() if key not in ("driver", "raw")}
        msgspec.convert(given, registry.options_type(name))
