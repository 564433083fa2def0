from typing import Any

import msgspec
import pytest
from fakes.decoding import decode
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.api import Reject, Sample
from drivers.codecs.values import Unfit, ValueMap
from drivers.limits import SOURCES_PER_TOPIC, TOPIC_BYTES, TOPICS_CACHED
from drivers.mqtt_routes import Routes
from drivers.mqtt_sources import Filters, MqttOptions, check_filter, covers, matches, subscriptions


def options(topic: str, **more: Any) -> MqttOptions:
    return MqttOptions(**{"broker": "local", "topic": topic, "values": {"t": ValueMap()}, **more})


def split(text: str) -> tuple[str, ...]:
    return tuple(text.split("/"))


def found(routes: Routes, topic: str | bytes) -> list[tuple[str, str]]:
    """(source, "" or why it is refused)."""
    result = []
    for source, codec in routes.find(topic.encode() if isinstance(topic, str) else topic)[0]:
        try:
            codec.read(b'{"t": 1}', None)
            result.append((source, ""))
        except Unfit as unfit:
            result.append((source, unfit.reason))
    return result


@pytest.mark.parametrize(
    ("filter_", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a", False),
        ("a/+", "a/b", True),
        ("a/+", "a/", True),
        ("a/+", "a", False),
        ("+/+", "/b", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "a/b", True),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("a/#", "ab", False),
    ],
)
def test_matches(filter_: str, topic: str, expected: bool) -> None:
    assert matches(split(filter_), split(topic)) is expected


FILTERS = st.builds(
    lambda levels, rest: "/".join([*levels, *rest]),
    st.lists(st.sampled_from(["a", "b", "+"]), min_size=1, max_size=3),
    st.sampled_from([[], ["#"]]),
)
TOPICS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map("/".join)


@settings(deadline=None)
@given(FILTERS, FILTERS, TOPICS)
def test_what_covers_a_filter_matches_all_its_topics(wide: str, narrow: str, topic: str) -> None:
    if covers(split(wide), split(narrow)) and matches(split(narrow), split(topic)):
        assert matches(split(wide), split(topic))


@settings(deadline=None)
@given(st.lists(FILTERS | st.sampled_from(["#", "$SYS/+", "$SYS/#", "a/$b"]), max_size=8), FILTERS | st.just("$SYS/a"))
def test_what_covers_a_filter_is_found_by_levels(filters: list[str], narrow: str) -> None:
    expected = {one for one in filters if covers(split(one), split(narrow))}
    assert sorted(Filters(filters).covering(narrow)) == sorted(expected)


@settings(deadline=None)
@given(st.lists(FILTERS, min_size=1, max_size=6, unique=True), TOPICS)
def test_subscriptions_reach_every_source_and_none_covers_another(filters: list[str], topic: str) -> None:
    sources = {f"s{number}": options(one) for number, one in enumerate(filters)}
    kept = subscriptions(sources)
    for one in filters:
        if matches(split(one), split(topic)):
            assert any(matches(split(two), split(topic)) for two in kept)
    for one in kept:
        assert not any(covers(split(two), split(one)) for two in kept if two != one)


def test_a_covering_subscription_has_the_highest_qos() -> None:
    sources = {"all": options("a/#", qos=0), "one": options("a/b", qos=1), "else": options("c", qos=0)}
    assert subscriptions(sources) == {"a/#": 1, "c": 0}


def test_topics_find_their_sources() -> None:
    routes = Routes("mqtt-local", {"one": options("farm/a"), "all": options("farm/#")})
    assert found(routes, "farm/a") == [("one", ""), ("all", "")]
    assert found(routes, "farm/b") == [("all", "")]
    assert found(routes, "port/b") == [("mqtt-local", "unknown_topic")]
    assert routes.find(b"farm/a") is routes.find(b"farm/a")


@pytest.mark.parametrize("topic", [b"a\xff", b"a\0b", b"a/+", b"#", b"", b"x" * (TOPIC_BYTES + 1)])
def test_what_is_no_topic(topic: bytes) -> None:
    assert found(Routes("mqtt-local", {"all": options("#")}), topic) == [("mqtt-local", "bad_topic")]


def test_a_topic_at_the_limit() -> None:
    assert found(Routes("mqtt-local", {"all": options("#")}), b"x" * TOPIC_BYTES) == [("all", "")]


def test_sources_named_from_levels() -> None:
    routes = Routes("mqtt-local", {"houses": options("farm/+/+", id="{2}-{3}")})
    assert found(routes, "farm/h3/temp") == [("h3-temp", "")]
    assert found(routes, "farm/H3 West/Temp") == [("h3-west-temp", "")]
    assert routes.parents == {"h3-temp": "houses", "h3-west-temp": "houses"}


def test_two_topics_of_one_device_share_its_id_and_two_devices_do_not() -> None:
    routes = Routes("mqtt-local", {"houses": options("farm/+/+", id="{2}"), "taken": options("port")})
    assert found(routes, "farm/h3/temp") == [("h3", "")]
    assert found(routes, "farm/h3/rh") == [("h3", "")]
    assert found(routes, "farm/H3/rh") == [("houses", "source_id_taken")]
    assert found(routes, "farm/taken/rh") == [("houses", "source_id_taken")]
    assert found(routes, "farm/gateway/rh") == [("houses", "source_id_taken")]


@pytest.mark.parametrize("topic", ["farm/--", "farm/日本", "farm", "farm/" + "x" * 64])
def test_levels_that_make_no_id(topic: str) -> None:
    assert found(Routes("mqtt-local", {"houses": options("farm/#", id="{2}")}), topic) == [("houses", "bad_source_id")]


def test_max_sources_at_the_limit_and_one_past() -> None:
    routes = Routes("mqtt-local", {"houses": options("farm/+", id="{2}")})
    for number in range(SOURCES_PER_TOPIC):
        assert found(routes, f"farm/h{number}") == [(f"h{number}", "")]
    assert found(routes, "farm/one-more") == [("houses", "too_many_sources")]
    assert found(routes, "farm/h0") == [("h0", "")]
    assert len(routes.parents) == SOURCES_PER_TOPIC


@settings(deadline=None)
@given(st.lists(FILTERS | st.just("$SYS/+") | st.just("#"), min_size=1, max_size=8), TOPICS | st.just("$SYS/a"))
def test_a_topic_finds_exactly_the_sources_whose_filters_match_in_order(filters: list[str], topic: str) -> None:
    routes = Routes("mqtt-local", {f"s{number}": options(one) for number, one in enumerate(filters)})
    wanted = [(f"s{n}", "") for n, one in enumerate(filters) if matches(split(one), split(topic))]
    assert found(routes, topic) == (wanted or [("mqtt-local", "unknown_topic")])


def test_a_new_topic_is_not_held_against_every_source() -> None:
    """Among a thousand exact topics and some filters it is found in as many steps as it has levels."""
    steps = [0]

    class Counted(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            steps[0] += 1
            return super().get(key, default)

    exact = {f"s{number}": options(f"farm/{number}/t") for number in range(1_000)}
    routes = Routes("mqtt-local", {**exact, "wide": options("farm/+/h")})

    def count(branch: Any) -> None:
        for further in branch.below.values():
            count(further)
        branch.below = Counted(branch.below)

    count(routes._filters)
    assert found(routes, "farm/7/t") == [("s7", "")]
    assert found(routes, "farm/x/h") == [("wide", "")]
    assert found(routes, "barn/x/h") == [("mqtt-local", "unknown_topic")]
    assert steps[0] < 60


def test_the_cache_of_topics_is_bounded() -> None:
    routes = Routes("mqtt-local", {"all": options("#")})
    for number in range(TOPICS_CACHED + 10):
        routes.find(b"t/%d" % number)
    assert len(routes._cache) == TOPICS_CACHED  # one made room for one
    assert b"t/%d" % (TOPICS_CACHED + 9) in routes._cache
    routes.find(b"x" * (TOPIC_BYTES + 1))
    assert max(map(len, routes._cache)) <= TOPIC_BYTES


@settings(deadline=None)
@given(st.binary(max_size=40), st.text(max_size=20))
def test_whatever_topic_comes_has_a_target(topic: bytes, payload: str) -> None:
    routes = Routes("mqtt-local", {"houses": options("+/#", id="{1}-{2}", payload="text"), "one": options("a/b")})
    for source, codec in routes.find(topic)[0]:
        assert isinstance(decode(codec, source, payload.encode(errors="replace"), 0.0), Sample | Reject)


@pytest.mark.parametrize("text", ["", "a/#/b", "a#", "a+/b", "a\0", "$share/g/a", "x" * (TOPIC_BYTES + 1)])
def test_what_is_no_filter(text: str) -> None:
    with pytest.raises(ValueError, match=r"topic|shared"):
        check_filter(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"topic": "a/#/b"},
        {"topic": "a/b", "id": "{3}"},
        {"topic": "a/+", "id": "house"},
        {"topic": "a/+", "id": "House-{2}"},
        {"topic": "a/+", "id": "{0}"},
        {"values": {}},
        {"values": {"raw": {}}},
        {"values": {"a": {}, "a.unit": {}}},
        {"values": {"a b": {}}},
        {"values": {f"v{n}": {} for n in range(65)}},
        {"values": {"a": {"pointer": "temperature"}}},
        {"values": {"a": {"scale": 0.0}}},
        {"values": {"a": {"type": "text", "scale": 2.0}}},
        {"values": {"a": {"colour": "red"}}},
        {"payload": "text", "values": {"a": {}, "b": {}}},
        {"time": {"pointer": "x"}},
        {"qos": 2},
        {"max_sources": 0},
    ],
)
def test_options_that_are_refused(wrong: dict[str, Any]) -> None:
    good = {
        "broker": "local",
        "topic": "a/+",
        "values": {"a": {"pointer": "/a", "unit": "Cel", "sentinels": [85, "x"]}},
    }
    assert msgspec.convert(good, MqttOptions).values["a"].sentinels == (85.0, "x")
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**good, **wrong}, MqttOptions)
