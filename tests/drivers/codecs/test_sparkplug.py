"""The state machine: births, aliases, the sequence, deaths, and what is asked for."""

import itertools
import json
import math
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.api import OUT_OF_RANGE, STALE
from drivers.codecs import sparkplug_nodes
from drivers.codecs import sparkplug_payload as wire
from drivers.codecs.base import Ask, Found, Refused, State
from drivers.codecs.sparkplug import Sparkplug
from drivers.codecs.sparkplug_nodes import CALM, Nodes
from drivers.codecs.sparkplug_payload import BOOL, DOUBLE, INT, LONG, STRING, TEMPLATE, Metric, Payload, Type
from drivers.codecs.values import AS_TOLD, Unfit
from drivers.limits import (
    REBIRTH_MESSAGES,
    REBIRTH_S,
    REBIRTH_S_MAX,
    RECORDS,
    SPARKPLUG_METRICS,
    SPARKPLUG_NAME_BYTES,
    SPARKPLUG_NODES,
)
from drivers.simulators.edge_node import EdgeNode
from drivers.sparkplug import KIND, SparkplugOptions

NOW = 1_795_500_000.0
MS = 1_795_500_000_000
CEL = ((b"engUnit", (STRING, b"Cel")),)


class Plant:
    """A codec, and one node that speaks to it."""

    def __init__(self, *, rebirth: bool = True, now: float | None = NOW) -> None:
        options = SparkplugOptions(broker="local", rebirth=rebirth)
        assert KIND.codec is not None
        self.codec: Sparkplug = KIND.codec(options)
        self.seq, self.now = 0, now

    def say(self, kind: str, *metrics: Metric, seq: int | None = None, time: int | None = MS, **more: Any) -> list[Any]:
        device = "/pump" if kind[0] == "D" else ""
        topic = f"spBv1.0/plant/{kind}/{more.pop('node', 'press')}{device}"
        self.seq = (0 if kind == "NBIRTH" else (self.seq + 1) % 256) if seq is None else seq
        body = wire.write(Payload(time, self.seq, metrics, **more))
        return self.raw(topic, body)

    def raw(self, topic: str, body: bytes, *, retained: bool = False) -> list[Any]:
        return list(self.codec.take(topic, body, self.now, retained=retained))

    def births(self, *metrics: Metric, session: int = 0) -> list[Any]:
        found = self.say("NBIRTH", Metric(b"bdSeq", type=Type.INT64, value=(LONG, session)))
        return found + self.say("DBIRTH", *(metrics or (TEMPERATURE, STROKES)))


TEMPERATURE = Metric(b"Motor/Temperature", 2, type=Type.DOUBLE, value=(DOUBLE, 60.5), properties=CEL)
STROKES = Metric(b"Strokes", 3, type=Type.UINT32, value=(LONG, 4_000_000_000))


def of(found: list[Any], kind: type) -> list[Any]:
    return [one for one in found if isinstance(one, kind)]


def records(found: list[Any]) -> list[Any]:
    return [record for one in of(found, Found) for record in one.records]


def test_births_tell_names_types_units_and_values() -> None:
    found = Plant().births()
    assert [(one.up, one.device) for one in of(found, State)] == [(True, "plant/press"), (True, "plant/press/pump")]
    assert of(found, Found) == [
        Found([("bdSeq", None, 0)], NOW, 0, "plant/press"),
        Found([("Motor/Temperature", "Cel", 60.5), ("Strokes", None, 4_000_000_000)], NOW, 0, "plant/press/pump"),
    ]
    assert not of(found, Ask)
    assert not of(found, Refused)


def test_data_are_read_by_alias_and_by_the_datatype_of_the_birth() -> None:
    plant = Plant()
    plant.births(TEMPERATURE, Metric(b"Level", 4, type=Type.INT16, null=True))
    found = plant.say(
        "DDATA", Metric(alias=2, value=(DOUBLE, 61.0)), Metric(alias=4, type=Type.UINT32, value=(INT, 2**32 - 5))
    )
    assert found == [Found([("Motor/Temperature", "Cel", 61.0), ("Level", None, -5)], NOW, 0, "plant/press/pump")]
    assert records(plant.say("DDATA", Metric(b"Level", value=(INT, 65_531)))) == [("Level", None, -5)]


def test_a_unit_that_senml_does_not_have_travels_as_text() -> None:
    plant = Plant()
    bar = Metric(b"p", 1, type=Type.FLOAT, value=(wire.FLOAT, 2.5), properties=((b"EngUnit", (STRING, b"bar")),))
    found = plant.births(bar, Metric(b"on", 2, type=Type.BOOLEAN, value=(BOOL, True), properties=CEL))
    assert records(found)[1:] == [("p", None, 2.5), ("p.unit", None, "bar"), ("on", None, True)]


def test_data_before_a_birth_ask_for_one_and_what_speaks_for_itself_is_taken() -> None:
    plant = Plant()
    found, *refusals, ask = plant.say(
        "DDATA",
        Metric(alias=2, value=(DOUBLE, 1.0)),
        Metric(b"t", type=Type.INT8, value=(INT, 251)),
        Metric(b"n", value=(INT, 5)),
    )
    assert found == Found([("t", None, -5)], NOW, 0, "plant/press/pump")
    assert [(one.reason, one.device) for one in refusals] == [
        ("unknown_alias", "plant/press/pump"),
        ("unknown_type", "plant/press/pump"),
    ]
    assert refusals[0].detail == "1 of 3 metrics: alias 2 (2)"
    assert ask.topic == "spBv1.0/plant/NCMD/press"
    (metric,) = wire.read(ask.payload).metrics
    assert (metric.name, metric.type, metric.value) == (b"Node Control/Rebirth", Type.BOOLEAN, (BOOL, True))


def test_the_birth_that_was_asked_for_makes_aliases_known_again() -> None:
    plant = Plant()
    assert of(plant.say("DDATA", Metric(alias=2, value=(DOUBLE, 1.0))), Ask)
    plant.births()
    assert records(plant.say("DDATA", Metric(alias=2, value=(DOUBLE, 1.0)))) == [("Motor/Temperature", "Cel", 1.0)]


def test_the_sequence_wraps_over_all_messages_of_a_node_and_a_gap_asks() -> None:
    plant = Plant()
    plant.births()
    for number in range(600):
        kind = "NDATA" if number % 3 == 0 else "DDATA"
        metric = Metric(b"bdSeq" if kind == "NDATA" else b"Strokes", value=(LONG, number))
        assert not of(plant.say(kind, metric), Ask)
    gap = plant.say("DDATA", Metric(alias=3, value=(INT, 9)), seq=(plant.seq + 2) % 256)
    assert records(gap) == [("Strokes", None, 9)], "what can be read is taken all the same"
    assert [one.topic for one in of(gap, Ask)] == ["spBv1.0/plant/NCMD/press"]
    assert not of(plant.say("DDATA", Metric(alias=3, value=(INT, 9))), Ask)


def test_a_message_that_comes_twice_is_no_gap() -> None:
    plant = Plant()
    plant.births()
    for _ in range(2):
        assert not of(plant.say("DDATA", STROKES, seq=2), Ask)
    assert of(plant.say("DDATA", STROKES, seq=1), Ask)


def test_a_sequence_that_its_writer_left_out_is_0() -> None:
    plant = Plant()
    plant.births()
    plant.say("DDATA", STROKES, seq=255, time=None)
    plant.now = NOW + 100
    assert not of(plant.raw("spBv1.0/plant/DDATA/press/pump", b""), Ask)
    assert of(plant.say("DDATA", STROKES, seq=300), Ask)


def test_asking_grows_rarer_and_calm_ends_that() -> None:
    plant, asked = Plant(), []
    for second in range(int(3 * REBIRTH_S_MAX)):
        plant.now = NOW + second
        if of(plant.say("DDATA", Metric(alias=9, value=(INT, 1))), Ask):
            asked.append(second)
    pauses = [b - a for a, b in itertools.pairwise(asked)]
    assert pauses[:3] == [REBIRTH_S, 2 * REBIRTH_S, 4 * REBIRTH_S]
    assert max(pauses) == REBIRTH_S_MAX
    plant.births()
    plant.now += 5 * REBIRTH_S
    for _ in range(CALM):
        plant.say("DDATA", STROKES)
    assert [len(of(plant.say("DDATA", STROKES, seq=plant.seq + 9), Ask)) for _ in range(2)] == [1, 0]
    plant.now += REBIRTH_S
    assert of(plant.say("DDATA", STROKES, seq=plant.seq + 9), Ask)
    plant.now += REBIRTH_S
    assert not of(plant.say("DDATA", STROKES, seq=plant.seq + 9), Ask), "without calm the pause is doubled"


def test_where_nobody_knows_the_time_messages_are_counted() -> None:
    plant = Plant(now=None)
    asked = [number for number in range(300) if of(plant.say("DDATA", Metric(alias=9, value=(INT, 1))), Ask)]
    assert asked == [0, REBIRTH_MESSAGES, 3 * REBIRTH_MESSAGES, 7 * REBIRTH_MESSAGES]
    assert wire.read(of(Plant(now=None).say("NDATA", STROKES), Ask)[0].payload).time is None
    assert of(Plant(now=AS_TOLD).say("NDATA", STROKES), Ask)


def test_it_may_be_told_to_publish_nothing() -> None:
    assert not of(Plant(rebirth=False).say("DDATA", Metric(alias=9, value=(INT, 1))), Ask)


def test_a_new_birth_forgets_the_old_aliases() -> None:
    plant = Plant()
    plant.births()
    plant.births(Metric(b"Pressure", 2, type=Type.DOUBLE, null=True), session=1)
    assert records(plant.say("DDATA", Metric(alias=2, value=(DOUBLE, 3.0)))) == [("Pressure", None, 3.0)]
    plant.say("NBIRTH")
    found = plant.say("DDATA", Metric(alias=2, value=(DOUBLE, 3.0)))
    assert not records(found)
    assert of(found, Ask)


def test_deaths() -> None:
    plant = Plant()
    plant.births(session=7)
    (late,) = plant.say("NDEATH", Metric(b"bdSeq", value=(LONG, 6)), seq=0)
    assert (late.reason, late.device) == ("old_death", "plant/press")
    plant.seq = 1
    (down,) = plant.say("DDEATH")
    assert down == State(False, "its node says that it is away", "plant/press/pump")
    assert of(plant.say("DDATA", Metric(alias=2, value=(DOUBLE, 1.0))), Refused)[0].reason == "unknown_alias"
    plant.births(session=7)
    for metrics in ((Metric(b"bdSeq", value=(LONG, 7)),), (Metric(b"bdSeq", value=(INT, 7)),), ()):
        found = plant.say("NDEATH", *metrics, seq=99)
        assert [(one.up, one.device, one.below) for one in found] == [(False, "plant/press", True)]
        assert of(plant.say("DDATA", Metric(alias=2, value=(DOUBLE, 1.0))), Refused)
        assert [one.up for one in of(plant.births(session=7), State)] == [True, True]


def test_the_state_of_hosts_and_commands_say_nothing() -> None:
    plant = Plant()
    for topic, body in (
        ("spBv1.0/STATE/scada", b'{"online": true, "timestamp": 5}'),
        ("STATE/scada", b"ONLINE"),
        ("spBv1.0/STATE/scada", b"\xff"),
        ("spBv1.0/plant/NCMD/press", b"\xff"),
        ("spBv1.0/plant/DCMD/press/pump", b"\x12\x00"),
    ):
        assert plant.raw(topic, body) == []


@pytest.mark.parametrize(
    "topic",
    ["a/b", "spBv1.0", "spBv1.0/plant/NDATA", "spBv1.0/plant/NDATA/n/d", "spBv1.0/plant/DDATA/n", "spBv1.0//NDATA/n",
     "spBv1.0/plant/ndata/n", "spAv1.0/plant/NDATA/n", "spBv1.0/plant/DDATA/n/d/e", "spBv1.0/plant/DDATA/n/"],
)  # fmt: skip
def test_topics_that_sparkplug_does_not_have(topic: str) -> None:
    with pytest.raises(Unfit, match="unknown_topic"):
        Plant().raw(topic, b"")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xff", "invalid_protobuf"),
        (b'{"online": true}', "invalid_protobuf"),
        (wire.write(Payload(None, 0, (), b"SPBV1.0_COMPRESSED")), "compressed"),
    ],
)
def test_payloads_that_say_nothing(body: bytes, reason: str) -> None:
    plant = Plant()
    plant.births()
    with pytest.raises(Unfit, match=reason):
        plant.raw("spBv1.0/plant/DDATA/press/pump", body)
    assert records(plant.say("DDATA", STROKES))


def test_a_metric_harms_no_other() -> None:
    plant = Plant()
    bad = [
        Metric(alias=99, value=(INT, 1)),
        Metric(b"rows", type=Type.DATASET, value=(wire.DATASET, b"")),
        Metric(b"udt", type=Type.TEMPLATE, value=(TEMPLATE, b"")),
        Metric(b"\xff", type=Type.INT8, value=(INT, 1)),
        Metric(b"x" * (SPARKPLUG_NAME_BYTES + 1), type=Type.INT8, value=(INT, 1)),
        Metric(b"none", type=Type.INT8),
        Metric(type=Type.INT8, value=(INT, 1)),
    ]
    plant.say("NBIRTH")
    found = plant.say("DBIRTH", *bad, STROKES)
    assert records(found) == [("Strokes", None, 4_000_000_000)]
    assert {one.reason: one.detail for one in of(found, Refused)} == {
        "missing_name": "2 of 8 metrics: alias 99 (alias 99), alias None (alias None)",
        "unsupported_type": "2 of 8 metrics: rows (dataset), udt (template)",
        "invalid_utf8": "1 of 8 metrics: � (a name that is no text)",
        "name_too_long": f"1 of 8 metrics: {'x' * 64} (over 256 bytes)",
        "missing_value": "1 of 8 metrics: none (none)",
    }
    assert of(plant.births(Metric(b"x" * SPARKPLUG_NAME_BYTES, type=Type.INT8, value=(INT, 1))), Refused) == []


def test_null_nan_bad_and_stale_values() -> None:
    def quality(code: int) -> Any:
        return ((b"Quality", (INT, code)),)

    plant = Plant()
    plant.births()
    assert plant.say("DDATA", Metric(alias=2, null=True)) == []
    (nan,) = plant.say("DDATA", Metric(alias=2, value=(DOUBLE, math.nan)), Metric(alias=3, value=(INT, 1)))
    assert nan == Found([("Strokes", None, 1)], NOW, OUT_OF_RANGE, "plant/press/pump")
    (alone,) = plant.say("DDATA", Metric(alias=2, value=(DOUBLE, math.inf)))
    assert (alone.records, alone.quality) == ([], OUT_OF_RANGE)
    good, stale = plant.say(
        "DDATA",
        Metric(alias=2, value=(DOUBLE, 1.0), properties=quality(192)),
        Metric(alias=3, value=(INT, 1), properties=quality(500)),
    )
    assert (good.quality, stale.quality, stale.records) == (0, STALE, [("Strokes", None, 1)])
    (bad,) = plant.say("DDATA", Metric(alias=2, value=(DOUBLE, 1.0), properties=quality(0)))
    assert (bad.records, bad.quality) == ([], OUT_OF_RANGE)


def test_times_are_trusted_inside_their_window_and_each_makes_a_sample_of_its_own() -> None:
    plant = Plant()
    plant.births()
    found = plant.say(
        "DDATA",
        Metric(alias=2, time=MS - 60_000, value=(DOUBLE, 1.0)),
        Metric(alias=3, time=MS - 30_000, value=(INT, 1)),
        Metric(alias=2, time=MS - 30_000, value=(DOUBLE, 2.0)),
        Metric(alias=2, time=0, value=(DOUBLE, 3.0)),
        Metric(alias=3, time=MS + 61_000, value=(INT, 2)),
        Metric(alias=2, value=(DOUBLE, 4.0)),
    )
    assert [(one.time, [value for *_, value in one.records]) for one in found] == [
        (NOW - 60, [1.0]),
        (NOW - 30, [1, 2.0]),
        (None, [3.0, 2]),
        (NOW, [4.0]),
    ]


def test_what_is_historical_keeps_its_time_and_is_stale_where_that_cannot_be_trusted() -> None:
    plant = Plant()
    plant.births()
    found = plant.say(
        "DDATA",
        Metric(alias=2, time=MS - 3_600_000, historical=True, value=(DOUBLE, 1.0)),
        Metric(alias=2, time=MS - 30 * 86_400_000, historical=True, value=(DOUBLE, 2.0)),
        Metric(alias=2, value=(DOUBLE, 3.0)),
    )
    assert [(one.time, one.quality) for one in found] == [(NOW - 3600, 0), (None, STALE), (NOW, 0)]


def test_a_metric_that_comes_twice_at_one_time_makes_two_samples() -> None:
    plant = Plant()
    plant.births()
    found = plant.say("DDATA", *(Metric(alias=3, value=(INT, n)) for n in range(3)), Metric(alias=2, null=True))
    assert [one.records for one in found] == [[("Strokes", None, n)] for n in range(3)]


def test_many_metrics_make_samples_that_a_reading_holds() -> None:
    metrics = [Metric(b"m%d" % n, n, type=Type.INT8, value=(INT, 1)) for n in range(2 * RECORDS + 1)]
    sizes = [len(one.records) for one in of(Plant().births(*metrics), Found)]
    assert sizes == [1, RECORDS, RECORDS, 1]


def test_retained_messages_change_nothing() -> None:
    plant = Plant()
    birth = wire.write(Payload(MS, 0, (TEMPERATURE,)))
    found = plant.raw("spBv1.0/plant/DBIRTH/press/pump", birth, retained=True)
    assert [type(one) for one in found] == [Found]
    assert of(plant.say("DDATA", Metric(alias=2, value=(DOUBLE, 1.0))), Refused)
    plant.births()
    assert plant.raw("spBv1.0/plant/NDEATH/press", wire.write(Payload(MS, 0, ())), retained=True) == []
    assert records(plant.say("DDATA", Metric(alias=2, value=(DOUBLE, 1.0))))


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("null metric", "null-metric"),
        ("_types_/x", "types_/x"),
        ("Süd °C", "S-d-C"),
        ("x" * 58, "x" * 58),
        ("x" * 59, "x" * 49 + "-{}"),
        ("raw", "raw-{}"),
        ("raw.sha256", "raw.sha256-{}"),
        ("温度", "metric-{}"),
    ],
)
def test_names(name: str, plain: str) -> None:
    """In the characters and the length of a reading; what would be too long or nothing ends in its digest."""
    made = records(Plant().births(Metric(name.encode(), 1, type=Type.INT8, value=(INT, 1))))
    assert made[1][0] == plain.format(sha256(name.encode()).hexdigest()[:8])


def test_two_metrics_of_one_name_in_readings() -> None:
    plant = Plant()
    found = plant.births(
        Metric(b"a b", 1, type=Type.INT8, value=(INT, 1)), Metric(b"a?b", 2, type=Type.INT8, value=(INT, 2))
    )
    assert records(found)[1:] == [("a-b", None, 1)]
    assert of(found, Refused)[0].reason == "name_taken"
    assert of(plant.say("DDATA", Metric(alias=2, value=(INT, 2))), Refused)


def test_an_alias_that_two_metrics_claim_is_neithers() -> None:
    plant = Plant()
    plant.births(*(Metric(name, 0, type=Type.INT8, value=(INT, 1)) for name in (b"a", b"b", b"c", b"c")))
    assert of(plant.say("DDATA", Metric(alias=0, value=(INT, 2))), Refused)[0].reason == "unknown_alias"
    assert records(plant.say("DDATA", Metric(b"b", 0, value=(INT, 2)))) == [("b", None, 2)]


# Limits


def test_a_node_has_so_many_metrics_and_one_more_is_read_and_not_remembered() -> None:
    plant = Plant()
    plant.say("NBIRTH")
    metrics = [Metric(b"m%d" % n, n, type=Type.INT8, value=(INT, 1)) for n in range(SPARKPLUG_METRICS - 1)]
    found = plant.say("DBIRTH", *metrics)
    assert len(records(found)) == SPARKPLUG_METRICS - 1
    assert of(found, Refused)[0].detail.startswith("1 of")
    assert records(plant.say("DDATA", Metric(alias=SPARKPLUG_METRICS - 3, value=(INT, 2))))
    assert not records(plant.say("DDATA", Metric(alias=SPARKPLUG_METRICS - 2, value=(INT, 2))))


def test_so_many_nodes_and_those_not_born_make_room() -> None:
    plant = Plant()
    for number in range(SPARKPLUG_NODES):
        plant.say("NBIRTH", node=f"n{number}")
    with pytest.raises(Unfit, match="too_many_nodes"):
        plant.say("NBIRTH", node="more")
    plant.say("NDEATH", node="n7")
    assert plant.say("NBIRTH", node="more")


@settings(max_examples=60)
@given(st.data())
def test_the_tables_count_what_they_hold(data: st.DataObject) -> None:
    """Whatever is born, dies and is defined: the counts are those of the tables, and room comes back."""
    nodes = Nodes()
    made = [nodes.of("g", name) for name in "ab"]
    for _ in range(data.draw(st.integers(0, 30))):
        node = data.draw(st.sampled_from(made))
        device = data.draw(st.sampled_from(["", "d"]))
        step = data.draw(st.sampled_from(["add", "drop", "forget", "define"]))
        if step == "define" and device in node.devices:
            name, alias = data.draw(st.tuples(st.sampled_from([b"x", b"y"]), st.integers(0, 2)))
            nodes.define(node, node.devices[device], name, alias, sparkplug_nodes.Definition(name.decode(), 1, ""))
        elif step == "add":
            nodes.add(node, device)
        elif step == "drop":
            nodes.drop(node, device)
        elif step == "forget":
            nodes.forget(node)
        for one in made:
            assert one.count == sum(len(defined) + 1 for defined in one.devices.values())
    for node in made:
        nodes.forget(node)
    assert nodes._count == 0


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(["NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH"]), st.data())))
def test_whatever_order_they_come_in(steps: list[Any]) -> None:
    plant = Plant()
    for kind, data in steps:
        alias = data.draw(st.none() | st.integers(0, 3))
        name = data.draw(st.sampled_from([None, b"", b"a", b"b", b"bdSeq"]))
        metric = Metric(name, alias, type=data.draw(st.integers(0, 40)), value=(LONG, data.draw(st.integers(0, 300))))
        found = plant.say(kind, metric, seq=data.draw(st.integers(0, 260)))
        assert len(of(found, Ask)) <= 1
        for one in of(found, Found):
            assert len({name for name, *_ in one.records}) == len(one.records)


def test_the_simulated_node_is_understood() -> None:
    plant, node = Plant(), EdgeNode()
    assert not of([one for message in node.births(MS) for one in plant.raw(*message)], Refused)
    for stroke in range(1, 300):
        assert records(plant.raw(*node.data(MS)))[1] == ("Strokes", None, stroke)
    assert [(one.up, one.below) for one in plant.raw(*node.will())] == [(False, True)]


# What others recorded


def test_a_recorded_birth_of_another_encoder() -> None:
    """Written by hand as the Cirrus Link encoder writes: Int16 with its sign extended, UInt32 in the long field, a
    DateTime of 0, no metric timestamps."""
    metrics = (
        Metric(b"reefer/supply_air", 1, type=Type.FLOAT, value=(wire.FLOAT, -18.25), properties=CEL),
        Metric(b"tank/level", 3, type=Type.INT16, value=(INT, 2**32 - 5)),
        Metric(b"counter", 4, type=Type.UINT32, value=(LONG, 2**32 - 1)),
        Metric(b"ts", 7, type=Type.DATETIME, value=(LONG, 0)),
        Metric(b"null metric", 8, type=Type.INT32, null=True),
    )
    found = Plant().raw(KIND.topic, wire.write(Payload(1_700_000_000_001, 1, metrics)))
    assert records(found) == [
        ("reefer/supply_air", "Cel", -18.25),
        ("tank/level", None, -5),
        ("counter", None, 2**32 - 1),
        ("ts", None, 0),
    ]
    assert not of(found, Refused)


def test_recorded_births_say_what_is_expected_of_them(captures: Path) -> None:
    expected = json.loads((captures / "expected.json").read_text())
    names = [name for name in expected if name.startswith("sparkplug/")]
    assert names
    for name in names:
        plant = Plant(now=AS_TOLD)
        found = plant.raw(KIND.topic, (captures / name).read_bytes())
        wanted = {metric.replace(" ", "-"): value for metric, _, _, value in expected[name]["metrics"]}
        assert {name: value for name, _, value in records(found)} == {
            name: value for name, value in wanted.items() if value is not None
        }
        assert of(found, Found)[0].time == expected[name]["timestamp"] / 1000
        assert not of(found, Refused)
