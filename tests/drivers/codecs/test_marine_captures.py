"""What others' decoders make of others' recordings of NMEA 0183 and AIS, and its twin on the simulated bridge."""

import json
import re
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from drivers import ais, nmea0183
from drivers.codecs.base import Found, Refused
from drivers.kinds import Kind
from drivers.simulators import nmea
from drivers.simulators.ais import traffic

ADDRESS = re.compile(rb"[$!](P[A-Z0-9]+|[A-Z0-9]{5}),")
MOST = 14  # so many addresses of a file are counted in expected.json, those that sort first


def decoded(kind: Kind, data: bytes, **options: Any) -> list[Found | Refused]:
    assert kind.codec is not None
    codec = kind.codec(kind.options(port="/dev/null", **options))
    found = [one for at in range(0, len(data), 777) for one in codec.feed(data[at : at + 777], None)]
    return [*found, *codec.end(None)]


def files(captures: Path, key: str) -> list[tuple[bytes, dict[str, Any]]]:
    """Those of a folder; of NMEA 0183 also those of AIS, which have such sentences among theirs."""
    expected = json.loads((captures / "expected.json").read_text())
    made = [(name, one) for name, one in expected.items() if name.startswith(f"{key}/")]
    if key == "nmea0183":
        made += [(name, one["nmea_mixed"]) for name, one in expected.items() if "nmea_mixed" in one]
    return [((captures / name).read_bytes(), one) for name, one in made]


def addresses(data: bytes) -> Counter[str]:
    """The sentences with the right checksum, by address: with every formatter asked for as text, each is a sample."""
    formatters = sorted({match[1].decode()[2:] for match in ADDRESS.finditer(data) if match[1][:1] != b"P"})
    found = decoded(nmea0183.KIND, data, text=tuple(formatters))
    starts = [ADDRESS.search(one.raw or b"") for one in found if isinstance(one, Found)]
    return Counter((start[0][:-1].decode().removeprefix("$")) for start in starts if start)


def fixes(data: bytes) -> list[dict[str, Any]]:
    found = (one for one in decoded(nmea0183.KIND, data) if isinstance(one, Found))
    values = ({name: value for name, _, value in one.records} for one in found)
    return [one for one in values if "lat" in one]


def test_nmea0183_agrees(captures: Path) -> None:
    seen = 0
    for data, expected in files(captures, "nmea0183"):
        counted = addresses(data)
        if len(expected["valid_types"]) < MOST:
            assert counted == expected["valid_types"]
        assert expected["valid_types"].items() <= counted.items()
        fixed = fixes(data)
        for which, at in (("first_fix", 0), ("last_fix", -1)):
            if which in expected:
                assert fixed[at]["lat"] == pytest.approx(expected[which]["lat"], abs=1e-6)
                assert fixed[at]["lon"] == pytest.approx(expected[which]["lon"], abs=1e-6)
                seen += 1
        assert bool(fixed) == ("first_fix" in expected)
    assert seen > 20


def test_ais_agrees(captures: Path) -> None:
    for data, expected in files(captures, "ais"):
        found = decoded(ais.KIND, data)
        values = [{name: value for name, _, value in one.records} for one in found if isinstance(one, Found)]
        assert Counter(str(one["type"]) for one in values) == expected["by_type"]
        assert len(values) == expected.get("decoded_messages", 0)
        rejected = Counter(one.reason for one in found if isinstance(one, Refused))
        assert rejected["unfinished_multipart"] == expected["unfinished_multipart"]
        assert rejected["orphan_fragment"] == expected.get("orphan_fragment", 0)
        assert rejected["unknown_type"] == expected.get("decode_errors", 0)
        assert not rejected["undecodable"] + rejected["no_match"]
        if first := expected["first_position"]:
            (one, *_) = (one for one in values if "lat" in one)
            assert (one["mmsi"], one["type"]) == (first["mmsi"], first["type"])
            assert one["lat"] == pytest.approx(first["lat"], abs=1e-6)
            assert one["lon"] == pytest.approx(first["lon"], abs=1e-6)


def test_the_simulated_bridge_agrees_with_what_it_was_made_of() -> None:
    rounds = 30
    data = b"# recorded before the quay\r\n" + b"".join(islice(nmea.bridge(), 2 + 15 * rounds))
    counted = addresses(data)
    assert counted.pop("GPRMC") == counted.pop("GPGGA") == rounds + 1
    assert set(counted.values()) == {rounds}
    assert len(counted) == 13
    fixed = fixes(data)
    assert len(fixed) == 3 * rounds
    assert fixed[0]["lat"] == pytest.approx(53.5405, abs=1e-4)
    assert fixed[-1]["lon"] == pytest.approx(9.9690, abs=1e-4)
    rejected = Counter(one.reason for one in decoded(nmea0183.KIND, data) if isinstance(one, Refused))
    assert rejected == {"no_fix": 2, "missing_value": rounds // 10}


def test_ais_beside_other_sentences() -> None:
    """A receiver's own position among its ships: each driver takes what is its own."""
    ships, bridge = list(islice(traffic(), 22)), list(islice(nmea.bridge(), 2, 17))
    data = b"".join(one for pair in zip(ships, [*bridge, *bridge], strict=False) for one in pair)
    found = decoded(ais.KIND, data)
    assert len(found) == 21
    assert all(isinstance(one, Found) and b"!AIVDM" in (one.raw or b"") for one in found)
    assert not any(b"AIVDM" in (one.raw or b"") for one in decoded(nmea0183.KIND, data) if isinstance(one, Found))
