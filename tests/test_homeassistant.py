"""What a dashboard is told: values of a status snapshot, and Home Assistant's discovery by its documentation."""

import json
import re
from typing import Any

import pytest
from fakes.status_sample import NOW_MS, node, source, status
from hypothesis import given
from hypothesis import strategies as st
from msgspec import ValidationError, convert

from gateway.core import limits
from gateway.homeassistant import Count, count, discovery, summary, topics
from gateway.settings import Host, Topic, TopicOrNone

PLATFORMS = {"sensor", "binary_sensor"}
DEVICE_CLASSES = {
    "sensor": {"duration": {"s"}, "data_size": {"B"}, "temperature": {"°C"}},
    "binary_sensor": {"problem": {None}},
}
"""home-assistant.io: integrations/sensor and integrations/binary_sensor, device class; with the units used here."""


def told(before: Count | None = None, at: float = 100.0, **fields: Any) -> dict[str, Any]:
    state = status(**fields)
    return summary(state, count(state, at), before)


def test_the_values_of_a_gateway_that_is_well() -> None:
    sources = {"climate": source(), "gps": source(up=None, last_ms=None, stored=0), "gateway": source(driver="gateway")}
    assert told(sources=sources) == {
        "problem": False,
        "headline": "All well: 2 sources, stored by 1 of 1 node",
        "problems": [],
        "sources": 2,
        "sources_up": 1,
        "readings_per_min": None,
        "newest_age_s": 4.0,
        "blocks": 240,
        "nodes": 1,
        "nodes_stored": 1,
        "disk_used": 3 * 2**20,
        "disk_free": 20 * 2**30,
        "clock_synchronised": True,
        "temperature": None,
        "version": "0.1.0",
        "origin": "henhouse-3.example.farm/1",
        "at_ms": NOW_MS,
    }


def test_what_is_not_known_is_null() -> None:
    nothing = told(sources={}, nodes={}, disk={})
    assert {name for name, value in nothing.items() if value is None} == {
        "readings_per_min",
        "newest_age_s",
        "disk_used",
        "disk_free",
        "temperature",
    }


def test_the_rate_is_of_the_time_between() -> None:
    assert told(Count(70.0, 12_340 * 2 - 60))["readings_per_min"] == 120.0
    assert told(Count(70.0, 99_999))["readings_per_min"] == 0  # a source was removed
    assert told(Count(100.0, 0))["readings_per_min"] is None


def test_a_note_is_no_problem_and_problems_are_bounded() -> None:
    def one(severity: str) -> dict[str, Any]:
        return {"condition": "x", "severity": severity, "subject": "", "what": "w", "cure": "c", "values": {"a": "b"}}

    assert told(problems=[one("note")])["problem"] is False
    assert told(problems=[one("warning")])["problem"] is True
    many = told(problems=[one("error")] * (limits.STATUS_PROBLEMS + 1))["problems"]
    assert len(many) == limits.STATUS_PROBLEMS
    assert many[0] == {"condition": "x", "severity": "error", "subject": "", "what": "w", "cure": "c"}
    assert len(told(headline="x" * 1000)["headline"]) == 255


def test_the_temperature_is_the_computers_own() -> None:
    warm = [["temperature", "Cel", 51.5], ["uptime", "s", 1.0]]
    assert told(sources={"a": source(driver="system-a", last=warm)})["temperature"] == 51.5
    assert told(sources={"a": source(driver="mqtt-local", last=warm)})["temperature"] is None


@pytest.mark.parametrize("with_temperature", [False, True])
def test_discovery_is_as_home_assistant_documents_it(with_temperature: bool) -> None:
    where = topics("fieldgate", "homeassistant", "hen-3.example.farm")
    assert where.discovery == "homeassistant/device/fieldgate-hen-3_example_farm/config"
    message = json.loads(json.dumps(discovery("hen-3.example.farm", where, 30, with_temperature=with_temperature)))
    assert set(message["device"]) == {"identifiers", "name", "manufacturer", "model", "sw_version"}
    assert set(message["origin"]) <= {"name", "sw_version", "support_url"}
    assert message["origin"]["name"]
    assert message["availability_topic"] == where.availability
    assert message["state_topic"] == where.status
    components = message["components"]
    assert ("temperature" in components) == with_temperature
    assert len({one["unique_id"] for one in components.values()}) == len(components)
    for one in components.values():
        assert one["platform"] in PLATFORMS
        assert one["name"]
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", one["unique_id"])
        if "device_class" in one:
            assert one.get("unit_of_measurement") in DEVICE_CLASSES[one["platform"]][one["device_class"]]
        assert one.get("state_class") in {None, "measurement", "total_increasing"}
        assert one.get("entity_category") in {None, "diagnostic"}
        if one["platform"] == "binary_sensor":
            assert "state_class" not in one
            assert "unit_of_measurement" not in one
        assert one["expire_after"] > 3 * 30


def test_every_entity_has_its_value_in_the_message() -> None:
    where = topics("fieldgate", "homeassistant", "hen")
    components = discovery("hen", where, 30, with_temperature=True)["components"]
    for one in components.values():
        used = set(
            re.findall(r"value_json\.([a-z_]+)", one["value_template"] + one.get("json_attributes_template", ""))
        )
        assert used
        assert used <= told().keys()


def _is(value: str, kind: Any) -> bool:
    try:
        convert(value, kind)
    except ValidationError:
        return False
    return True


@given(st.text(max_size=80), st.text(max_size=40), st.text(max_size=40))
def test_no_setting_makes_a_topic_that_mqtt_does_not_allow(name: str, prefix: str, start: str) -> None:
    """MQTT 3.1.1, section 4.7; and Home Assistant's own rule for what stands in a discovery topic."""
    for given_prefix in (prefix, f"a/{prefix}"):
        if not (_is(name, Host) and _is(given_prefix, Topic) and _is(start, TopicOrNone)):
            continue
        where = topics(given_prefix, start, name)
        for topic in filter(None, where):
            assert not set("+#\x00") & set(topic)
            assert not topic.startswith("$")
            assert len(topic.encode()) < 65_536
        assert bool(where.discovery) == bool(start)
        if start:
            assert re.fullmatch(r"[a-zA-Z0-9_-]+", where.discovery.split("/")[-2])


@pytest.mark.parametrize("bad", ["", "a/+/b", "#", "$SYS/x", "/a", "a//b", "a/", "a\n", "a/b/c/d/e", "x" * 65])
def test_topics_that_are_refused(bad: str) -> None:
    assert not _is(bad, Topic)
    assert _is(bad, TopicOrNone) == (bad == "")


def test_two_names_never_share_an_id() -> None:
    names = ["a.b", "a-b", "ab", "a.b.c", "a.b-c", "a-b.c"]
    assert len({topics("f", "h", name).discovery for name in names}) == len(names)


def test_a_dead_node_is_no_keeper() -> None:
    assert told(nodes={"a": node(stored=0), "b": node(stored=3)})["nodes_stored"] == 1
