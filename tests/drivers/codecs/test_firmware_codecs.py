"""Tasmota, Shelly and Zigbee2MQTT: what their messages say, by hand from their documentation."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import recorded, registry
from drivers.api import OUT_OF_RANGE
from drivers.codecs.base import Found, State
from drivers.codecs.plain import name_of
from drivers.codecs.shelly import Shelly
from drivers.codecs.tasmota import Tasmota
from drivers.codecs.values import AS_TOLD, TimeMap, Unfit
from drivers.codecs.zigbee2mqtt import Zigbee2Mqtt
from drivers.limits import DESCRIPTION_BYTES, DEVICES, LEARNT_BYTES, NAME_BYTES
from drivers.simulators import firmware

NOW = 1_795_500_000.0  # 2026-11-24T06:00:00Z
WINDOW = TimeMap()
ADDRESS, OTHER = "0x00158d0001dc126a", "0x842e14fffe13ab51"


def payload(document: Any) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def told(codec: Any, topic: str, document: Any, now: float | None = NOW) -> list[Any]:
    return list(codec.take(topic, payload(document), now, retained=False))


def one(codec: Any, topic: str, document: Any, now: float | None = NOW) -> Found:
    (found,) = told(codec, topic, document, now)
    assert isinstance(found, Found)
    return found


def values(found: Found) -> dict[str, tuple[str | None, Any]]:
    return {name: (unit, value) for name, unit, value in found.records}


def reason(codec: Any, topic: str, document: Any) -> str:
    with pytest.raises(Unfit) as unfit:
        told(codec, topic, document)
    return unfit.value.reason


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("DS18B20-1", "DewPoint"), "ds18b20_1_dew_point"),
        (("ENERGY", "ApparentPower", "2"), "energy_apparent_power_2"),
        (("PMS5003", "PM2.5"), "pms5003_pm2_5"),
        (("MHZ19B", "eCO2"), "mhz19b_eco2"),
        (("switch:0", "apower"), "switch_0_apower"),
        (("Größe", ""), "gr_e"),
        (("--",), "value"),
    ],
)
def test_names(path: tuple[str, ...], name: str) -> None:
    assert name_of(path) == name


@given(st.lists(st.text(max_size=80), max_size=4))
def test_a_name_is_one_whatever_the_keys(path: list[str]) -> None:
    name = name_of(path)
    assert 0 < len(name) <= NAME_BYTES
    assert name.replace("_", "").replace("-", "").isalnum()
    assert name.isascii()
    assert name[0] != "_"


# Tasmota


def tasmota(document: Any, topic: str = "tele/barn/SENSOR", now: float | None = NOW) -> Found:
    return one(Tasmota(WINDOW), topic, document, now)


def test_tasmota_nested_sensors_in_the_units_that_it_names() -> None:
    found = tasmota(
        {
            "Time": "2026-11-24T07:00:00",
            "Switch1": "ON",
            "DS18B20-1": {"Id": "012345678901", "Temperature": 50},
            "BME280": {"Temperature": 68.0, "Humidity": 44.2, "DewPoint": 41, "Pressure": 750, "SeaPressure": None},
            "WIND": {"Speed": 36},
            "HX711": {"Weight": 12.5},
            "SR04": {"Distance": 120},
            "TempUnit": "F",
            "PressureUnit": "mmHg",
            "SpeedUnit": "km/h",
        }
    )
    assert (found.device, found.time, found.quality) == ("barn", None, 0)
    assert values(found) == {
        "switch1": (None, "ON"),
        "ds18b20_1_id": (None, "012345678901"),
        "ds18b20_1_temperature": ("Cel", 10.0),
        "bme280_temperature": ("Cel", 20.0),
        "bme280_humidity": ("%RH", 44.2),
        "bme280_dew_point": ("Cel", 5.0),
        "bme280_pressure": ("Pa", 99991.7905613),
        "wind_speed": ("m/s", 10.0),
        "hx711_weight": ("kg", 12.5),
        "sr04_distance": ("m", 1.2),
    }


def test_tasmota_energy_of_one_phase_and_of_three() -> None:
    energy = {"TotalStartTime": "2026-01-01T00:00:00", "Total": 1.5, "Period": 2, "Power": [1, 2], "Factor": 0.5}
    found = values(tasmota({"ENERGY": energy}))
    assert found == {
        "energy_total_start_time": (None, "2026-01-01T00:00:00"),
        "energy_total": ("J", 5_400_000.0),
        "energy_period": ("J", 7200.0),
        "energy_power_1": ("W", 1),
        "energy_power_2": ("W", 2),
        "energy_factor": (None, 0.5),
    }
    assert values(tasmota({"RAIN": {"Total": 3}})) == {"rain_total": (None, 3)}
    assert values(tasmota({"AM": {"Temperature": 3}})) == {"am_temperature": (None, 3)}  # no TempUnit


@pytest.mark.parametrize(
    ("document", "time"),
    [
        ({"Time": "2026-11-24T06:00:00"}, None),  # local, nobody knows where
        ({"Time": "2026-11-24T07:00:00+01:00"}, NOW),
        ({"Time": "2026-11-24T06:00:00", "Epoch": 1795500000}, NOW),
        ({"Time": 1795500000}, NOW),
        ({"Time": "1970-01-01T00:00:30Z"}, None),
        ({"Epoch": True}, None),
        ({}, None),
    ],
)
def test_tasmota_time(document: dict[str, Any], time: float | None) -> None:
    assert tasmota({**document, "A": {"V": 1}}).time == time
    assert tasmota({**document, "A": {"V": 1}}, now=None).time is None


def test_tasmota_temperatures_that_are_none() -> None:
    for value in (85, 85.0, -127, 127):
        found = tasmota({"DS18B20": {"Temperature": value}, "TempUnit": "C"})
        assert (found.records, found.quality) == ([], OUT_OF_RANGE)
    assert values(tasmota({"SHT3X": {"Temperature": 85}, "TempUnit": "C"})) == {"sht3x_temperature": ("Cel", 85)}


def test_tasmota_states_and_answers() -> None:
    codec = Tasmota(WINDOW)
    assert told(codec, "tele/barn/LWT", b"Online") == [State(True, "says Online", "barn")]
    assert told(codec, "tele/a/b/LWT", b"Offline") == [State(False, "says Offline", "a/b")]
    assert told(codec, "tele/barn/LWT", b"") == []  # a retained one was taken back
    assert reason(codec, "tele/barn/LWT", b"{}") == "wrong_type"
    assert told(codec, "tele/barn/INFO1", b"not looked at") == []
    state = tasmota({"Uptime": "1T02:03:04", "UptimeSec": 9, "POWER": "ON", "Wifi": {"Signal": -60}}, "barn/tele/STATE")
    assert state.device == "barn"
    assert values(state)["uptime_sec"] == ("s", 9)
    assert values(state)["wifi_signal"] == (None, -60)
    assert values(state)["wifi_signal.unit"] == (None, "dBm")
    answer = {"StatusSNS": {"Epoch": 1795500000, "SHT3X": {"Humidity": 1}}}
    assert tasmota(answer, "stat/barn/STATUS10").records == [("sht3x_humidity", "%RH", 1)]
    assert tasmota(answer, "stat/barn/STATUS10").time == NOW


def test_tasmota_rejects() -> None:
    codec = Tasmota(WINDOW)
    topic = "tele/barn/SENSOR"
    assert reason(codec, topic, b'{"DHT": {"Temperature": nan}}') == "invalid_json"
    assert reason(codec, topic, {"Time": "2026-11-24T06:00:00", "TempUnit": "C"}) == "missing_value"
    assert reason(codec, topic, b"[]") == "wrong_type"
    assert reason(codec, topic, {"StatusSNS": 1}) == "wrong_type"
    assert reason(codec, topic, {str(n): n for n in range(200)}) == "too_many_values"


# Shelly


def shelly(topic: str, document: Any, **options: Any) -> Found:
    return one(Shelly(WINDOW, **options), topic, document)


@pytest.mark.parametrize(
    ("rest", "text", "record"),
    [
        ("relay/0", b"on", ("relay_0", None, "on")),
        ("relay/0/power", b"12.50", ("relay_0_power", "W", 12.5)),
        ("relay/0/energy", b"60", ("relay_0_energy", "J", 3600.0)),  # Watt-minutes
        ("emeter/1/total", b"2.5", ("emeter_1_total", "J", 9000.0)),  # Watt-hours
        ("emeter/0/voltage", b"231.1", ("emeter_0_voltage", "V", 231.1)),
        ("emeter/0/pf", b"-0.98", ("emeter_0_pf", None, -0.98)),
        ("temperature", b"41.2", ("temperature", "Cel", 41.2)),
        ("ext_temperature/1", b"-3.5", ("ext_temperature_1", "Cel", -3.5)),
        ("sensor/temperature", b"21.5", ("sensor_temperature", "Cel", 21.5)),
        ("sensor/humidity", b"44", ("sensor_humidity", "%RH", 44)),
        ("sensor/battery", b"97", ("sensor_battery", "%EL", 97)),
        ("sensor/flood", b"true", ("sensor_flood", None, True)),
        ("sensor/lux", b"12", ("sensor_lux", "lx", 12)),
        ("input/0", b"1", ("input_0", None, 1)),
        ("roller/0/pos", b"75", ("roller_0_pos", "/", 0.75)),
        ("sensor/state", b"open", ("sensor_state", None, "open")),
    ],
)
def test_shelly_gen1_has_a_value_a_topic(rest: str, text: bytes, record: tuple[str, str | None, Any]) -> None:
    found = shelly(f"shellies/shellyem-B9F60B/{rest}", text)
    assert (found.device, found.records, found.quality) == ("shellyem-B9F60B", [record], 0)


def test_shelly_gen1_other_messages() -> None:
    codec, base = Shelly(WINDOW), "shellies/dw2-1"
    assert told(codec, f"{base}/online", b"false") == [State(False, "says that it is offline", "dw2-1")]
    for rest, text in (("announce", b"{}"), ("info", b"{}"), ("relay/0/command", b"off"), ("temperature_f", b"70")):
        assert told(codec, f"{base}/{rest}", text) == []
    event = shelly(f"{base}/input_event/0", {"event": "S", "event_cnt": 2})
    assert values(event) == {"input_event_0_event": (None, "S"), "input_event_0_event_cnt": (None, 2)}
    assert values(shelly(f"{base}/sensor/temperature", b"50", fahrenheit=True)) == {"sensor_temperature": ("Cel", 10.0)}
    assert shelly(f"{base}/sensor/temperature", b"nan").quality == OUT_OF_RANGE
    assert reason(codec, f"{base}/relay/0", b"") == "empty"
    assert reason(codec, f"{base}/relay/0", b"\xff") == "invalid_text"


def test_shelly_gen2_notifies_of_what_changed_with_its_time() -> None:
    params = {
        "ts": NOW - 1.5,
        "switch:0": {"id": 0, "output": True, "apower": 8.9, "aenergy": {"total": 1.5, "by_minute": [1.0]}},
        "em:0": {"id": 0, "a_act_power": 5.5, "total_current": 2.5, "c_voltage": 231, "n_current": None},
        "emdata:0": {"total_act_energy": 2, "total_act_ret_energy": 1},
        "temperature:100": {"id": 100, "tC": 3.5, "tF": 38.3},
        "humidity:0": {"id": 0, "rh": 42.2},
        "devicepower:0": {"battery": {"V": 4.43, "percent": 80}, "external": {"present": False}},
        "wifi": {"rssi": -51, "ssid": "barn"},
        "sys": {"uptime": 9, "unixtime": 5},
    }
    document = {"src": "shellypro-1", "dst": "x", "method": "NotifyStatus", "params": params}
    found = shelly("farm/pro/events/rpc", document)
    assert (found.device, found.time) == ("farm/pro", NOW - 1.5)
    assert values(found) == {
        "switch_0_output": (None, True),
        "switch_0_apower": ("W", 8.9),
        "switch_0_aenergy_total": ("J", 5400.0),
        "em_0_a_act_power": ("W", 5.5),
        "em_0_total_current": ("A", 2.5),
        "em_0_c_voltage": ("V", 231),
        "emdata_0_total_act_energy": ("J", 7200.0),
        "emdata_0_total_act_ret_energy": ("J", 3600.0),
        "temperature_100": ("Cel", 3.5),
        "humidity_0": ("%RH", 42.2),
        "devicepower_0_battery_v": ("V", 4.43),
        "devicepower_0_battery_percent": ("%EL", 80),
        "devicepower_0_external_present": (None, False),
        "wifi_rssi": (None, -51),
        "wifi_rssi.unit": (None, "dBm"),
        "wifi_ssid": (None, "barn"),
        "sys_uptime": ("s", 9),
    }
    assert shelly("events/rpc", document).device == "shellypro-1"  # recorded without its topic


def test_shelly_gen2_component_status_events_and_presence() -> None:
    codec = Shelly(WINDOW)
    cover = {"id": 0, "state": "closing", "current_pos": 51, "temperature": {"tC": 52.0, "tF": 125.6}}
    expected = {"state": (None, "closing"), "current_pos": ("/", 0.51), "temperature": ("Cel", 52.0)}
    found = shelly("shelly-1/status/cover:0", cover)
    assert found.device == "shelly-1"
    assert values(found) == {f"cover_0_{name}": value for name, value in expected.items()}
    assert values(shelly("events/rpc", cover)) == expected  # recorded without its topic
    pressed = {"component": "input:0", "id": 0, "event": "single_push", "ts": NOW}
    device = {"component": "sys", "event": "ota_begin", "ts": NOW}
    (event,) = told(
        codec, "s/events/rpc", {"method": "NotifyEvent", "params": {"ts": NOW, "events": [device, pressed]}}
    )
    assert (event.records, event.time) == ([("input_0_event", None, "single_push")], NOW)
    assert told(codec, "a/b/online", b"true") == [State(True, "says that it is online", "a/b")]
    assert told(codec, "x/online", b"perhaps") == []
    assert told(codec, "x/rpc", b"whatever") == []
    assert told(codec, "x/status/other", b"whatever") == []


def test_shelly_answers_and_rejects() -> None:
    codec, topic = Shelly(WINDOW), "s/events/rpc"
    status = {"sys": {"unixtime": int(NOW), "mac": "AABBCC"}, "blutrv:200": {"id": 200, "target_C": 19, "errors": []}}
    found = shelly(topic, {"id": 1, "src": "s", "result": status})
    assert found.time == NOW
    assert values(found) == {"sys_mac": (None, "AABBCC"), "blutrv_200_target_temperature": ("Cel", 19)}
    assert shelly(topic, {**status, "sys": {"unixtime": None, "uptime": 1}}).time is None
    assert shelly(topic, {**status, "sys": {"unixtime": 60, "uptime": 1}}).time is None  # its clock has not been set
    assert reason(codec, topic, {"v": 14, "config": {"sys": {}}}) == "unsupported_format"
    assert reason(codec, topic, {"id": 1, "error": {"code": 404, "message": "No handler"}}) == "error_answer"
    assert reason(codec, topic, {"params": {"ts": NOW, "switch:0": {"id": 0}}}) == "missing_value"
    assert reason(codec, topic, b"{") == "invalid_json"
    assert reason(codec, topic, {"params": {"events": [1]}}) == "wrong_type"


def test_shelly_answers_that_others_recorded(captures: Path) -> None:
    kind = recorded.kind("shelly")
    for file in sorted((captures / "mqtt_shelly").glob("*.json")):
        plan = recorded.plan(kind, {})
        codec = plan.codec(registry.options_type("shelly")(**plan.table))
        (found,) = recorded.decode(kind, codec, [file.read_bytes()], topic="", now=AS_TOLD)
        if "Config" in file.name:
            assert getattr(found, "reason", "") == "unsupported_format"
            continue
        assert isinstance(found, Found)
        names = values(found)
        document = json.loads(file.read_bytes())
        if "Cover" in file.name:
            assert names["voltage"] == ("V", document["voltage"])
            assert names["temperature"] == ("Cel", document["temperature"]["tC"])
            assert names["aenergy_total"] == ("J", pytest.approx(document["aenergy"]["total"] * 3600))
        else:
            assert found.time == document["sys"]["unixtime"]
            assert names["blutrv_200_current_temperature"] == ("Cel", document["blutrv:200"]["current_C"])


# Zigbee2MQTT


def bridge(names: Mapping[str, str] = firmware.NAMES) -> Zigbee2Mqtt:
    codec = Zigbee2Mqtt("zigbee2mqtt", WINDOW)
    assert told(codec, "zigbee2mqtt/bridge/devices", firmware.devices(dict(names)).payload) == []
    return codec


def test_zigbee_values_have_the_units_that_the_bridge_told() -> None:
    document = {
        "temperature": 21.5,
        "humidity": None,
        "pressure": 1013.2,
        "battery": 97,
        "voltage": 2985,
        "linkquality": 120,
        "action": "",
        "update": {"state": "idle"},
        "color": {"x": 0.3},
        "serial": "0123",
        "last_seen": NOW * 1000 - 500,
    }
    found = one(bridge(), "zigbee2mqtt/barn/north wall", document)
    assert (found.device, found.time) == (ADDRESS, NOW - 0.5)
    assert values(found) == {
        "temperature": ("Cel", 21.5),
        "pressure": ("Pa", 101_320.0),
        "battery": ("%EL", 97),
        "voltage": ("V", 2.985),
        "linkquality": (None, 120),
        "linkquality.unit": (None, "lqi"),
        "color_x": (None, 0.3),
        "serial": (None, "0123"),
    }


@pytest.mark.parametrize(
    ("last_seen", "time"),
    [
        ("2026-11-24T06:00:00.000Z", NOW),
        ("2026-11-24T07:00:00+01:00", NOW),
        (int(NOW * 1000), NOW),
        (None, None),
        ("2026-11-24 06:00:00", None),
        (0, None),
    ],
)
def test_zigbee_last_seen(last_seen: object, time: float | None) -> None:
    assert one(bridge(), "zigbee2mqtt/Milk pump", {"power": 1, "last_seen": last_seen}).time == time


def test_a_zigbee_device_is_its_address_through_renames() -> None:
    codec = bridge()
    assert one(codec, "zigbee2mqtt/Milk pump", {"power": 1}).device == OTHER
    renamed = {**firmware.NAMES, OTHER: "new/name", ADDRESS: "Milk pump"}
    told(codec, "zigbee2mqtt/bridge/devices", firmware.devices(renamed).payload)
    assert one(codec, "zigbee2mqtt/new/name", {"power": 1}) == Found([("power", "W", 1)], device=OTHER)
    assert one(codec, "zigbee2mqtt/Milk pump", {"temperature": 1}).device == ADDRESS
    assert reason(codec, "zigbee2mqtt/barn/north wall", {"temperature": 1}) == "unknown_device"


def test_zigbee_devices_that_nobody_told_of() -> None:
    codec = Zigbee2Mqtt("zigbee2mqtt", WINDOW)
    assert reason(codec, "zigbee2mqtt/Milk pump", {"power": 1}) == "unknown_device"
    assert one(codec, f"zigbee2mqtt/{OTHER}", {"power": 1}).device == OTHER
    told_itself = {"power": 1, "device": {"ieeeAddr": OTHER, "friendlyName": "Milk pump"}}
    assert one(codec, "zigbee2mqtt/Milk pump", told_itself) == Found([("power", None, 1)], device=OTHER)
    assert one(codec, "zigbee2mqtt/", {"power": 1}).device == ""  # recorded without its topic


def test_zigbee_availability_that_came_before_the_device_is_known() -> None:
    codec, topic = Zigbee2Mqtt("zigbee2mqtt", WINDOW), "zigbee2mqtt/Milk pump/availability"
    assert told(codec, topic, b"online") == told(codec, topic, b"offline") == []
    for n in range(DEVICES + 5):
        assert told(codec, f"zigbee2mqtt/{n}/availability", b"online") == []
    assert len(codec._waiting) == DEVICES
    devices = firmware.devices(firmware.NAMES).payload
    (state,) = told(codec, "zigbee2mqtt/bridge/devices", devices)
    assert (state.up, state.device) == (False, OTHER)
    assert told(codec, "zigbee2mqtt/bridge/devices", devices) == []


def test_zigbee_availability_and_what_is_left_out() -> None:
    codec = bridge({ADDRESS: "a/set", OTHER: "Milk pump"})
    for text in (b"offline", b'{"state":"offline"}'):
        (state,) = told(codec, "zigbee2mqtt/Milk pump/availability", text)
        assert (state.up, state.device) == (False, OTHER)
    (state,) = told(codec, "zigbee2mqtt/bridge/state", {"state": "online"})
    assert (state.up, state.device) == (True, "")
    told(codec, "zigbee2mqtt/bridge/groups", [{"id": 1, "friendly_name": "all lamps"}, {"id": 2}, 3])
    for topic in (
        *("bridge/logging", "bridge/info", "bridge/response/device/rename", "all lamps", "Milk pump/set"),
        *("Milk pump/get", "Milk pump/set/state", "Milk pump/power", "all lamps/set"),
    ):
        assert told(codec, f"zigbee2mqtt/{topic}", b"not looked at") == []
    assert told(codec, "other/x", b"not looked at") == []
    assert one(codec, "zigbee2mqtt/a/set", {"temperature": 1}).device == ADDRESS  # a name that looks like a command
    assert reason(codec, "zigbee2mqtt/Milk pump", {"humidity": None, "last_seen": 1}) == "missing_value"
    assert reason(codec, "zigbee2mqtt/bridge/devices", {"a": 1}) == "wrong_type"


def test_what_the_bridge_told_is_kept_and_bounded() -> None:
    codec, again = bridge(), Zigbee2Mqtt("zigbee2mqtt", WINDOW)
    kept = codec.learnt()
    assert kept is not None
    assert codec.learnt() is None
    again.recall(kept)
    assert again.learnt() is None
    values_ = {"temperature": 21.5, "pressure": 1000}
    topic = "zigbee2mqtt/barn/north wall"
    assert one(again, topic, values_) == one(codec, topic, values_)
    for junk in (b"", b"{", b"[]", b'{"names": {"a": 1}, "groups": []}', b"\xff"):
        again.recall(junk)
    assert one(again, topic, values_) == one(codec, topic, values_)
    many = [
        {"ieee_address": f"0x{n:016x}", "friendly_name": f"{n} " + "x" * 400, "definition": {"exposes": []}}
        for n in range(DEVICES + 1)
    ]
    assert len(payload(many)) < DESCRIPTION_BYTES
    assert told(codec, "zigbee2mqtt/bridge/devices", many) == []
    assert reason(codec, f"zigbee2mqtt/{DEVICES} " + "x" * 400, {"a": 1}) == "unknown_device"
    assert one(codec, f"zigbee2mqtt/{DEVICES - 1} " + "x" * 400, {"a": 1}).device == f"0x{DEVICES - 1:016x}"
    assert len(codec.learnt() or b"") <= LEARNT_BYTES
    assert reason(codec, "zigbee2mqtt/bridge/devices", b" " * (DESCRIPTION_BYTES + 1)) == "too_long"


@given(st.recursive(st.none() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=4)))
def test_whatever_a_bridge_tells_of(document: Any) -> None:
    exposes = [{"property": document, "unit": document, "features": document}, document, {"features": [document]}]
    devices = [document, {"ieee_address": ADDRESS, "friendly_name": document, "definition": {"exposes": exposes}}]
    codec = Zigbee2Mqtt("zigbee2mqtt", WINDOW)
    assert told(codec, "zigbee2mqtt/bridge/devices", devices) == []
    again = Zigbee2Mqtt("zigbee2mqtt", WINDOW)
    again.recall(codec.learnt() or b"")
