"""Home Assistant's discovery: configurations, their templates, and the states that they name."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.api import OUT_OF_RANGE
from drivers.codecs.base import Found, Refused, State
from drivers.codecs.discovery import path_of
from drivers.codecs.homeassistant import HomeAssistant
from drivers.codecs.values import Unfit
from drivers.limits import ENTITIES, LEARNT_BYTES
from drivers.simulators import firmware

CONFIG = "homeassistant/sensor/tank/t/config"


def codec() -> HomeAssistant:
    return HomeAssistant("homeassistant", lambda topic: topic.startswith("farm/"))


def told(of: HomeAssistant, topic: str, document: Any) -> list[Any]:
    payload = document if isinstance(document, bytes) else json.dumps(document).encode()
    return list(of.take(topic, payload, None, retained=False))


def configured(document: Any, topic: str = CONFIG) -> HomeAssistant:
    made = codec()
    assert told(made, topic, document) == []
    return made


def records(of: HomeAssistant, topic: str, document: Any) -> list[Any]:
    (found,) = told(of, topic, document)
    assert isinstance(found, Found)
    return list(found.records)


def reason(of: HomeAssistant, topic: str, document: Any) -> str:
    with pytest.raises(Unfit) as unfit:
        told(of, topic, document)
    return unfit.value.reason


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("{{ value_json.t }}", ("t",)),
        ("{{value_json.a.b_2}}", ("a", "b_2")),
        ("{{ value_json['a b'] }}", ("a b",)),
        ('{{ value_json["DS18B20-1"].Temperature }}', ("DS18B20-1", "Temperature")),
        ("{{- value_json.t -}}", ("t",)),
        ("", ()),
        (None, ()),
    ],
)
def test_templates_that_name_a_member(template: object, path: tuple[str, ...]) -> None:
    assert path_of(template) == path


@pytest.mark.parametrize(
    "template",
    [
        "{{ value }}",
        "{{ value_json }}",
        "{{ value_json.t | round(1) }}",
        "{{ value_json.t + 1 }}",
        "{{ value_json.t.__class__() }}",
        "{{ value_json['a'] if value_json.b else 0 }}",
        "{{ value_json.a }}{{ value_json.b }}",
        "{{ value_json[0] }}",
        "{% set x = 1 %}{{ value_json.t }}",
        "value_json.t",
        "{{ value_json['a\\'b'] }}",
        "{{ value_json" + ".a" * 17 + " }}",
        "{{ value_json." + "a" * 600 + " }}",
        7,
        ["{{ value_json.t }}"],
    ],
)
def test_templates_that_do_more_are_refused(template: object) -> None:
    with pytest.raises(Unfit) as unfit:
        path_of(template)
    assert unfit.value.reason in ("unsupported_template", "too_deep")


def test_the_same_in_long_and_in_short_with_a_base_topic() -> None:
    long = {
        "state_topic": "farm/tank/state",
        "unit_of_measurement": "°F",
        "value_template": "{{ value_json.t }}",
        "device": {"identifiers": ["tank-1", "x"]},
        "availability": [{"topic": "farm/tank/lwt", "payload_available": "up", "payload_not_available": "down"}],
    }
    short = {
        "~": "farm/tank",
        "stat_t": "~/state",
        "unit_of_meas": "°F",
        "val_tpl": "{{ value_json['t'] }}",
        "dev": {"ids": "tank-1"},
        "avty": [{"t": "~/lwt", "pl_avail": "up", "pl_not_avail": "down"}],
    }
    for document in (long, short):
        made = configured(document)
        assert told(made, "farm/tank/state", {"t": 50}) == [Found([("t", "Cel", 10.0)], device="tank-1")]
        assert told(made, "farm/tank/lwt", b"down") == [State(False, "is not available", "tank-1")]
        assert told(made, "farm/tank/lwt", b"perhaps") == []
    behind = configured({"~": "tank", "stat_t": "farm/~"})
    assert records(behind, "farm/tank", b"1.5") == [("t", None, 1.5)]


def test_one_message_has_values_of_several_entities_and_devices() -> None:
    made = codec()
    for name, device in (("a", "x"), ("b", "x"), ("c", "y")):
        table = {"stat_t": "farm/s", "val_tpl": f"{{{{ value_json.{name} }}}}", "dev": {"ids": [device]}}
        told(made, f"homeassistant/sensor/{name}/config", table)
    found = told(made, "farm/s", {"a": 1, "b": "on", "c": 2.5})
    assert found == [Found([("a", None, 1), ("b", None, "on")], device="x"), Found([("c", None, 2.5)], device="y")]
    assert told(made, "farm/s", {"b": 3, "c": None}) == [Found([("b", None, 3)], device="x")]
    assert reason(made, "farm/s", {"d": 1}) == "missing_value"


def test_values_by_their_kind() -> None:
    number = configured({"stat_t": "farm/s", "unit_of_meas": "%", "dev_cla": "humidity"})
    assert records(number, "farm/s", b"44.5") == [("t", "%RH", 44.5)]
    assert told(number, "farm/s", b"n/a") == [Found([], quality=OUT_OF_RANGE, device="tank")]
    assert reason(number, "farm/s", b"unavailable") == "missing_value"
    assert [one.reason for one in told(number, "farm/s", b"\xff")] == ["invalid_text"]
    binary = {"stat_t": "farm/s", "pl_on": "1", "val_tpl": "{{ value_json.m }}"}
    made = configured(binary, "homeassistant/binary_sensor/m/config")
    assert [records(made, "farm/s", {"m": one})[0][2] for one in (1, "OFF")] == [True, False]
    (refused,) = told(made, "farm/s", {"m": "maybe"})
    assert (refused.reason, refused.device) == ("wrong_type", "m")
    nested = configured({"stat_t": "farm/s", "val_tpl": "{{ value_json.a }}"})
    assert told(nested, "farm/s", {"a": {"b": 1}})[0].reason == "wrong_type"
    assert reason(nested, "farm/s", b"nan") == "invalid_json"


def test_a_device_that_tells_of_all_its_components_at_once() -> None:
    document = {
        "dev": {"cns": [["mac", "aa:bb"]]},
        "o": {"name": "x"},
        "~": "farm/d",
        "stat_t": "~/s",
        "cmps": {
            "t1": {"p": "sensor", "unit_of_meas": "°C", "val_tpl": "{{ value_json.t }}"},
            "m": {"p": "binary_sensor", "stat_t": "~/m"},
            "cut": {"p": "switch", "cmd_t": "~/c"},
            "none": 7,
        },
    }
    made = configured(document, "homeassistant/device/d/config")
    assert told(made, "farm/d/s", {"t": 5}) == [Found([("t1", "Cel", 5)], device="aa:bb")]
    assert told(made, "farm/d/m", b"ON") == [Found([("m", None, True)], device="aa:bb")]


def test_configurations_that_are_not_read() -> None:
    made = codec()
    topic = "homeassistant/sensor/x/config"
    assert reason(made, topic, b"{") == "invalid_json"
    assert reason(made, topic, b"[]") == "wrong_type"
    for other in ("homeassistant/switch/x/config", "homeassistant/sensor/a/b/c/config", "homeassistant/status"):
        assert told(made, other, {"stat_t": "farm/s"}) == []
    for without in ({}, {"stat_t": "farm/+"}, {"stat_t": 7}, {"stat_t": "farm/" + "x" * 600}):
        assert told(made, topic, without) == []
    (elsewhere,) = told(made, topic, {"stat_t": "house/s"})
    assert (elsewhere.reason, "house/s" in elsewhere.detail) == ("not_subscribed", True)
    (program,) = told(made, topic, {"stat_t": "farm/s", "val_tpl": "{{ value_json.a | float }}"})
    assert (type(program), program.reason) == (Refused, "unsupported_template")
    assert reason(made, "farm/s", {"a": 1}) == "unsupported_template"
    assert reason(made, "farm/unheard", b"1") == "unknown_topic"


def test_a_retained_availability_that_came_before_its_configuration() -> None:
    for template, payload in (("", b"offline"), ("{{ value_json.s }}", b'{"s": "offline"}')):
        made = codec()
        for _ in range(2):
            with pytest.raises(Unfit):
                made.take("farm/lwt", payload, None, retained=True)
        config = {"stat_t": "farm/s", "avty_t": "farm/lwt", "avty_tpl": template}
        assert told(made, CONFIG, config) == [State(False, "is not available", "tank")]
        assert told(made, CONFIG, config) == []
    made = codec()
    with pytest.raises(Unfit):
        made.take("farm/lwt", b"x" * 65, None, retained=True)
    for n in range(ENTITIES + 1):
        with pytest.raises(Unfit):
            made.take(f"farm/{n}", b"offline", None, retained=True)
    assert len(made._early) == ENTITIES


def test_a_configuration_is_replaced_and_taken_back() -> None:
    made = configured({"stat_t": "farm/s"})
    assert told(made, CONFIG, {"stat_t": "farm/other"}) == []
    assert reason(made, "farm/s", b"1") == "unknown_topic"
    assert records(made, "farm/other", b"1") == [("t", None, 1)]
    assert told(made, CONFIG, b"") == []
    assert reason(made, "farm/other", b"1") == "unknown_topic"
    assert told(made, CONFIG, b"") == []


def test_entities_are_bounded_and_kept() -> None:
    made = codec()
    components = {f"c{n}": {"p": "sensor"} for n in range(ENTITIES)}
    whole = {"stat_t": "farm/s", "cmps": components}
    assert told(made, "homeassistant/device/d/config", whole) == []
    assert reason(made, "homeassistant/sensor/x/config", {"stat_t": "farm/x"}) == "too_many_entities"
    assert told(made, "homeassistant/device/d/config", {**whole, "cmps": {"c0": {"p": "sensor"}}}) == []
    assert told(made, "homeassistant/sensor/x/config", {"stat_t": "farm/x", "avty_t": "farm/lwt"}) == []
    kept = made.learnt()
    assert kept is not None
    assert len(kept) <= LEARNT_BYTES
    assert made.learnt() is None
    again = codec()
    again.recall(kept)
    assert again.learnt() is None
    for topic, payload in (("farm/s", b"1"), ("farm/x", b"2"), ("farm/lwt", b"offline")):
        assert told(again, topic, payload) == told(made, topic, payload)
    for junk in (b"", b"{", b"[[1]]", b"7", b'[[true,"a"]]', b"\xff", b"[" * 5_000):
        codec().recall(junk)


def test_one_payload_too_many_does_not_harm_the_others() -> None:
    made = codec()
    for message in firmware.configurations():
        told(made, message.topic, message.payload)
    state = next(one for one in firmware.messages() if one.topic == f"farm/{firmware.ESP}/state")
    ((temperature, level),) = [records(made, state.topic, state.payload)]
    assert temperature[:2] == ("temperature", "Cel")
    assert level == ("level", "/", 0.55)


KEYS = ["~", "stat_t", "val_tpl", "unit_of_meas", "dev", "avty", "avty_t", "cmps", "p", "ids", "cns", "pl_on", "topic"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["farm/s", "~", "sensor", "{{ value_json.a }}", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(KEYS), JSON, max_size=8), st.sampled_from(["sensor/x", "device/x", "number/x/y"])
)
def test_whatever_a_configuration_says(document: Any, levels: str) -> None:
    made, again = codec(), codec()
    for one in told(made, f"homeassistant/{levels}/config", document):
        assert isinstance(one, Refused)
    again.recall(made.learnt() or b"")
    for of in (made, again):
        with contextlib.suppress(Unfit):
            told(of, "farm/s", {"a": 1})
