"""Uplinks of ChirpStack v4 and The Things Stack v3, and the shapes that came before them."""

import base64
import copy
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.codecs.base import Found, Refused, State
from drivers.codecs.chirpstack import Chirpstack
from drivers.codecs.recorded import json_messages
from drivers.codecs.tts import Tts
from drivers.codecs.values import AS_TOLD, TimeMap, Unfit
from drivers.limits import LORAWAN_AGAIN_S, LORAWAN_FRAME_BYTES, LORAWAN_FRAMES

NOW = datetime.fromisoformat("2026-11-24T06:00:30Z").timestamp()
TIME = "2026-11-24T06:00:00.123456789Z"
AT = datetime.fromisoformat(TIME).timestamp()
EUI = "00aabb3344556677"
UP = f"application/7/device/{EUI}/event/up"
DATA = base64.b64encode(bytes(range(8))).decode()

V4: dict[str, Any] = {
    "deduplicationId": "9d0e",
    "time": TIME,
    "deviceInfo": {"applicationId": "7", "deviceName": "soil", "devEui": EUI},
    "devAddr": "01a2b3c4",
    "adr": True,
    "dr": 5,
    "fCnt": 41,
    "fPort": 2,
    "data": DATA,
    "rxInfo": [
        {"gatewayId": "aa", "rssi": -112, "snr": -3.5},
        {"gatewayId": "bb", "rssi": -87, "snr": 7.25},
        {"gatewayId": "cc"},
    ],
    "txInfo": {"frequency": 868300000, "modulation": {"lora": {"bandwidth": 125000, "spreadingFactor": 9}}},
}
V3: dict[str, Any] = {
    "applicationID": "7",
    "applicationName": "farm",
    "deviceName": "soil",
    "devEUI": "ABEiM0RVZnc=",
    "rxInfo": [],
    "fCnt": 41,
    "fPort": 2,
    "data": DATA,
    "objectJSON": "{}",
}
TTS: dict[str, Any] = {
    "end_device_ids": {
        "device_id": "soil",
        "application_ids": {"application_id": "farm"},
        "dev_eui": EUI.upper(),
        "dev_addr": "260B1234",
    },
    "received_at": TIME,
    "uplink_message": {
        "session_key_id": "AYfq",
        "f_port": 2,
        "f_cnt": 41,
        "frm_payload": DATA,
        "rx_metadata": [{"gateway_ids": {"gateway_id": "barn"}, "rssi": -87, "snr": 7.25}],
        "settings": {"data_rate": {"lora": {"bandwidth": 125000, "spreading_factor": 9}}, "frequency": "868300000"},
        "received_at": "2026-11-24T05:59:59Z",
    },
}
V2: dict[str, Any] = {
    "app_id": "farm",
    "dev_id": "soil",
    "hardware_serial": EUI.upper(),
    "port": 2,
    "counter": 41,
    "payload_raw": DATA,
    "metadata": {"time": TIME},
}
OWN = [
    ("data", None, bytes(range(8))),
    ("f_port", None, 2),
    ("f_cnt", None, 41),
    ("rssi", None, -87),
    ("rssi.unit", None, "dBm"),
    ("snr", "dB", 7.25),
    ("frequency", "Hz", 868300000),
    ("spreading_factor", None, 9),
]
CODECS: list[tuple[type[Chirpstack] | type[Tts], dict[str, Any]]] = [(Chirpstack, V4), (Tts, TTS)]
both = pytest.mark.parametrize(("kind", "message"), CODECS, ids=["chirpstack", "tts"])


def take(codec: Any, message: object, now: float | None = NOW, topic: str = UP) -> Any:
    payload = message if isinstance(message, bytes) else json.dumps(message).encode()
    found = codec.take(topic, payload, now, retained=False)
    assert len(found) <= 1
    return found[0] if found else None


def new(kind: Any, **units: str) -> Any:
    return kind(units, TimeMap())


def refused(kind: Any, message: object) -> str:
    with pytest.raises(Unfit) as unfit:
        take(new(kind), message)
    return unfit.value.reason


def inner(message: dict[str, Any]) -> dict[str, Any]:
    """Where a frame's members stand."""
    found: dict[str, Any] = message.get("uplink_message", message)
    return found


NAMES = {
    Chirpstack: {
        "f_cnt": "fCnt",
        "f_port": "fPort",
        "data": "data",
        "decoded": "object",
        "session": "devAddr",
        "rx": "rxInfo",
    },
    Tts: {
        "f_cnt": "f_cnt",
        "f_port": "f_port",
        "data": "frm_payload",
        "decoded": "decoded_payload",
        "session": "session_key_id",
        "rx": "rx_metadata",
    },
}


def changed(kind: Any, message: dict[str, Any], **members: Any) -> dict[str, Any]:
    """The message with other members; ... takes one out."""
    made = copy.deepcopy(message)
    for name, value in members.items():
        if value is ...:
            inner(made).pop(NAMES[kind][name], None)
        else:
            inner(made)[NAMES[kind][name]] = value
    return made


@both
def test_an_undecoded_frame(kind: Any, message: dict[str, Any]) -> None:
    found = take(new(kind), message)
    gateways = 3 if kind is Chirpstack else 1
    assert found == Found([*OWN, ("gateways", "count", gateways)], AT, 0, EUI)


@both
def test_decoded_values_come_first_with_their_units(kind: Any, message: dict[str, Any]) -> None:
    decoded = {
        "temp_SOIL": "30.11 °C",
        "conduct_SOIL": "0 uS/cm",
        "Bat": "3.3 V",
        "state": "tilt",
        "water": 12.5,
        "open": False,
        "none": None,
        "deep": {"list": [1, {"x": "2 ppm"}]},
        "rssi": -1,
        "data": "00",
    }
    found = take(new(kind, water="%"), changed(kind, message, decoded=decoded))
    assert found.records[:-9] == [
        ("temp_SOIL", "Cel", 30.11),
        ("conduct_SOIL", "S/m", 0.0),
        ("Bat", "V", 3.3),
        ("state", None, "tilt"),
        ("water", "/", 0.125),
        ("open", None, False),
        ("deep/list/0", None, 1),
        ("deep/list/1/x", None, 2),
        ("deep/list/1/x.unit", None, "ppm"),
        ("rssi-2", None, -1),
        ("data-2", None, "00"),
    ]
    assert found.records[-9:-1] == OWN


@both
def test_a_schema_that_changes_under_way(kind: Any, message: dict[str, Any]) -> None:
    codec = new(kind)
    first = take(codec, changed(kind, message, f_cnt=1, decoded={"t": "30.11 °C", "c": "0 uS/cm"}))
    then = take(codec, changed(kind, message, f_cnt=2, decoded={"t": "23.59", "c": 422}))
    assert first.records[:2] == [("t", "Cel", 30.11), ("c", "S/m", 0.0)]
    assert then.records[:2] == [("t", None, 23.59), ("c", None, 422)]


@both
def test_absent_counters_are_zero(kind: Any, message: dict[str, Any]) -> None:
    found = take(new(kind), changed(kind, message, f_cnt=..., f_port=..., data=...))
    assert found.records[:2] == [("f_port", None, 0), ("f_cnt", None, 0)]
    assert "data" not in [name for name, _, _ in found.records]


@both
def test_base64_without_its_padding_and_junk(kind: Any, message: dict[str, Any]) -> None:
    found = take(new(kind), changed(kind, message, data=DATA.rstrip("=")))
    assert found.records[0] == OWN[0]
    assert refused(kind, changed(kind, message, data="not base64!")) == "invalid_base64"
    assert refused(kind, changed(kind, message, data=DATA.rstrip("=") + "=====")) == "invalid_base64"
    assert refused(kind, changed(kind, message, data=5)) == "wrong_type"
    longest = base64.b64encode(bytes(LORAWAN_FRAME_BYTES)).decode()
    assert isinstance(take(new(kind), changed(kind, message, data=longest)), Found)
    longer = base64.b64encode(bytes(LORAWAN_FRAME_BYTES + 1)).decode()
    assert refused(kind, changed(kind, message, data=longer)) == "too_long"


# The same frame again


def again(kind: Any, message: dict[str, Any], **members: Any) -> bool:
    codec = new(kind)
    take(codec, message)
    found = take(codec, changed(kind, message, **members))
    if isinstance(found, Found):
        return False
    assert isinstance(found, Refused)
    assert (found.reason, found.device) == ("duplicate", EUI)
    return True


@both
def test_a_frame_that_comes_again_is_refused(kind: Any, message: dict[str, Any]) -> None:
    assert again(kind, message)
    assert again(kind, message, rx=[{"rssi": -50, "snr": 9}])
    assert not again(kind, message, f_cnt=42)
    assert not again(kind, message, session="other")
    assert not again(kind, message, f_cnt=41, data="AAAA")
    assert not again(kind, message, f_port=3)
    first = changed(kind, message, f_cnt=...)
    assert again(kind, first)
    assert again(kind, first, f_cnt=0)
    assert not again(kind, first, session="of a new join")


@both
def test_another_device_with_that_counter_is_another(kind: Any, message: dict[str, Any]) -> None:
    codec, other = new(kind), copy.deepcopy(message)
    if kind is Chirpstack:
        other["deviceInfo"]["devEui"] = EUI[::-1]
    else:
        other["end_device_ids"]["dev_eui"] = EUI[::-1]
    assert [type(take(codec, one)) for one in (message, other, message, other)] == [Found, Found, Refused, Refused]


def later(message: dict[str, Any], seconds: float) -> dict[str, Any]:
    at = datetime.fromtimestamp(AT + seconds).astimezone().isoformat()
    return {**message, "time": at, "received_at": at}


@both
def test_a_counter_that_begins_anew_without_a_new_session(kind: Any, message: dict[str, Any]) -> None:
    codec = new(kind)
    assert isinstance(take(codec, message), Found)
    assert isinstance(take(codec, later(message, LORAWAN_AGAIN_S - 1)), Refused)
    assert isinstance(take(codec, later(message, -LORAWAN_AGAIN_S + 1)), Refused)
    assert isinstance(take(codec, later(message, LORAWAN_AGAIN_S + 1)), Found)
    assert isinstance(take(codec, later(message, LORAWAN_AGAIN_S + 2)), Refused)


@both
def test_so_many_frames_are_remembered_and_no_more(kind: Any, message: dict[str, Any]) -> None:
    codec = new(kind)
    frames = [json.dumps(changed(kind, message, f_cnt=number, rx=[])).encode() for number in range(LORAWAN_FRAMES + 1)]
    for frame in frames[:-1]:
        assert isinstance(take(codec, frame), Found)
    assert isinstance(take(codec, frames[0]), Refused)
    assert isinstance(take(codec, frames[-1]), Found)
    assert isinstance(take(codec, frames[1]), Refused)
    assert isinstance(take(codec, frames[0]), Found)


@both
def test_a_frame_that_was_refused_is_not_remembered(kind: Any, message: dict[str, Any]) -> None:
    codec = new(kind)
    with pytest.raises(Unfit):
        take(codec, changed(kind, message, decoded={"x": "y" * 5000}))
    assert isinstance(take(codec, message), Found)


# Times


@both
def test_the_servers_time_is_believed_near_the_time_of_receipt(kind: Any, message: dict[str, Any]) -> None:
    window = TimeMap()
    for now, time in (
        (AT + window.max_behind_s, AT),
        (AT + window.max_behind_s + 1, None),
        (AT - window.max_ahead_s, AT),
        (AT - window.max_ahead_s - 1, None),
        (None, None),
        (AS_TOLD, AT),
    ):
        assert take(new(kind), message, now).time == time
    for told in ("2026-11-24T06:00:00", "yesterday", 5, None):
        without = {**message, "time": told, "received_at": told}
        assert take(new(kind), without).time == (None if kind is Chirpstack or told else AT - 1.123456)


# Shapes


def test_what_came_before_is_recognised() -> None:
    assert refused(Chirpstack, V3) == "chirpstack_v3"
    assert refused(Tts, V2) == "ttn_v2"
    assert refused(Chirpstack, TTS) == refused(Tts, V4) == "missing_value"
    assert refused(Chirpstack, V2) == refused(Tts, V3) == "missing_value"


def test_events_that_measure_nothing() -> None:
    event = {"time": TIME, "deviceInfo": V4["deviceInfo"], "devAddr": "01a2b3c4"}
    for name in ("status", "ack", "txack", "log", "location", "integration"):
        assert take(new(Chirpstack), event, topic=f"application/7/device/{EUI}/event/{name}") is None
    joined = take(new(Chirpstack), event, topic=f"application/7/device/{EUI}/event/join")
    assert isinstance(joined, State)
    assert (joined.up, joined.device) == (True, EUI)
    ids = {"end_device_ids": TTS["end_device_ids"], "received_at": TIME}
    for name in ("downlink_ack", "downlink_sent", "location_solved", "service_data", "uplink_normalized"):
        assert take(new(Tts), {**ids, name: {}}) is None
    joined = take(new(Tts), {**ids, "join_accept": {"session_key_id": "AYfr"}})
    assert isinstance(joined, State)
    assert (joined.up, joined.device) == (True, EUI)


def test_topics_of_ones_own_bring_uplinks_too() -> None:
    assert isinstance(take(new(Chirpstack), V4, topic="site/3/lora"), Found)


def test_simulated_uplinks_are_none() -> None:
    assert refused(Tts, {**TTS, "simulated": True}) == "simulated"
    assert isinstance(take(new(Tts), {**TTS, "simulated": False}), Found)


def test_a_device_without_an_eui_is_its_device_id() -> None:
    ids = {"device_id": "soil", "application_ids": {"application_id": "farm"}}
    assert take(new(Tts), {**TTS, "end_device_ids": ids}).device == "soil"
    assert refused(Tts, {**TTS, "end_device_ids": {}}) == "missing_value"
    assert refused(Tts, {**TTS, "end_device_ids": {"device_id": "x" * 37}}) == "missing_value"
    assert refused(Tts, {**TTS, "end_device_ids": {"device_id": 5}}) == "wrong_type"


@both
@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"f_cnt": -1}, "wrong_type"),
        ({"f_cnt": 2**32}, "wrong_type"),
        ({"f_cnt": 1.0}, "wrong_type"),
        ({"f_cnt": True}, "wrong_type"),
        ({"f_cnt": "41"}, "wrong_type"),
        ({"f_port": 256}, "wrong_type"),
        ({"decoded": [1]}, "wrong_type"),
        ({"decoded": "x"}, "wrong_type"),
        ({"rx": {}}, "wrong_type"),
        ({"session": 5}, "wrong_type"),
        ({"decoded": {"x": "y" * 1025}}, "text_too_long"),
        ({"decoded": {str(n): n for n in range(200)}}, "too_many_values"),
    ],
)
def test_every_fault_has_its_reason(kind: Any, message: dict[str, Any], members: dict[str, Any], reason: str) -> None:
    assert refused(kind, changed(kind, message, **members)) == reason


@both
def test_the_document_itself(kind: Any, message: dict[str, Any]) -> None:
    for payload, reason in (
        (b"", "empty"),
        (b"\x0a\x24\xff", "invalid_json"),
        (b"[]", "wrong_type"),
        (b"{}", "missing_value"),
        (
            json.dumps(message).encode()[:-1] + b', "time": 1, "time": 2, "received_at": 1, "received_at": 2}',
            "duplicate_key",
        ),
        (json.dumps(message).replace("-87", "NaN").encode(), "invalid_json"),
    ):
        assert refused(kind, payload) == reason
    for eui in ("", "0011", "zz11223344556677", 5, "00112233445566778"):
        wrong = copy.deepcopy(message)
        if kind is Chirpstack:
            wrong["deviceInfo"]["devEui"] = eui
        else:
            wrong["end_device_ids"]["dev_eui"] = eui
        assert refused(kind, wrong) == "wrong_type"


@both
def test_radio_values_that_are_none_are_left_out(kind: Any, message: dict[str, Any]) -> None:
    made = changed(kind, message, rx=[{"rssi": "loud", "snr": None}, 5, {"rssi": "-90", "snr": 1}])
    inner(made)["settings"] = inner(made)["txInfo"] = None
    names = {name: value for name, _, value in take(new(kind), made).records}
    assert names.keys() == {"data", "f_port", "f_cnt", "rssi", "rssi.unit", "snr", "gateways"}
    assert (names["rssi"], names["snr"], names["gateways"]) == (-90, 1, 2)
    assert take(new(kind), changed(kind, message, rx=...)).records[:3] == OWN[:3]


ANY = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
ANY |= st.lists(ANY, max_size=3) | st.dictionaries(st.text(max_size=5), ANY, max_size=3)


@given(st.data())
def test_any_member_may_be_anything(data: st.DataObject) -> None:
    kind, message = data.draw(st.sampled_from(CODECS))
    made = copy.deepcopy(message)
    places = [made, *(value for value in made.values() if isinstance(value, dict)), inner(made)]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(places))
        place[data.draw(st.sampled_from(sorted(place) or ["x"]))] = data.draw(ANY)
    codec = new(kind)
    try:
        found = codec.take(UP, json.dumps(made).encode(), NOW, retained=False)
    except Unfit as unfit:
        assert unfit.reason
    else:
        assert all(isinstance(one, Found | State) for one in found)


# Recorded by other people's devices


@pytest.mark.parametrize(("folder", "kind"), [("lorawan_chirpstack", Chirpstack), ("lorawan_tts", Tts)])
def test_recorded_uplinks(captures: Path, folder: str, kind: Any) -> None:
    expected = json.loads((captures / "expected.json").read_text())
    seen = 0
    for name, wanted in expected.items():
        if not name.startswith(folder + "/"):
            continue
        for message in json_messages((captures / name).read_bytes()):
            seen += 1
            if "note" in wanted:
                assert refused(kind, message) == "chirpstack_v3", name
                continue
            found = take(new(kind), message, AS_TOLD)
            records = {record: value for record, _, value in found.records}
            assert found.device == wanted.get("devEui", wanted.get("dev_eui")).lower(), name
            assert records["f_cnt"] == wanted.get("fCnt", wanted.get("f_cnt")), name
            assert records["f_port"] == wanted.get("fPort", wanted.get("f_port")), name
            assert records["data"].hex() == wanted.get("data_hex", wanted.get("frm_payload_hex")), name
            assert records["gateways"] == wanted["rx"], name
            told = datetime.fromisoformat(wanted.get("time", wanted.get("received_at")))
            assert found.time == told.timestamp(), name
    assert seen
