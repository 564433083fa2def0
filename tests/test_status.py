"""What a technician is told: it is true, it is JSON, and nothing from outside can play tricks with a terminal."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.clock import START_MS
from fakes.gateway_store import ORIGIN, Pipeline, pipeline, sample, signer

from drivers.api import Delivery, Link, Reject, Sample
from gateway import __version__, status
from gateway.clock import RELEASED_MS
from gateway.conditions import PAGE_AWAY, RESTART_NEEDED, Problem
from gateway.conditions.found import CLOCK_UNSYNCHRONISED
from gateway.errors import HeldError
from gateway.sealer import Sealer

Node = dict[str, Any]
CONFIGURATION = {"files": [["fieldgate.toml", "5f" * 32]], "since_ms": 4, "restart": ["web.listen"]}


def node(*, ok: bool = True, stored: int = 3, **more: Any) -> Callable[[], Node]:
    told = {"url": "https://n", "entries": 3, "seen": 3, "stored": stored, "detail": "d", "ok": ok, "cure": ""}
    matter = {"condition": "" if ok else "node-away", "values": {} if ok else {"url": "https://n", "detail": "d"}}
    return lambda: told | matter | more


def told(
    gateway: Pipeline,
    troubles: tuple[Problem, ...] = (),
    disk: dict[str, Any] | None = None,
    **nodes: Callable[[], Node],
) -> dict[str, Any]:
    snapshot = status.snapshot(
        vkey=signer().vkey,
        since_ms=5,
        clock=gateway.clock,
        intake=gateway.intake,
        journal=gateway.journal,
        blocks=gateway.store.blocks,
        sealer=gateway.sealer,
        nodes=nodes,
        witnesses={},
        troubles=troubles,
        disk=disk or {},
        device={},
        verified={},
        anchors={},
        configuration=CONFIGURATION,
    )
    assert json.loads(json.dumps(snapshot, allow_nan=False)) == snapshot
    return snapshot


async def test_a_gateway_that_is_well(tmp_path: Path) -> None:
    async with pipeline(tmp_path, max_count=3) as gateway:
        await gateway.emit([sample("a", n) for n in range(3)] + [sample("b")])
        await gateway.sealed()
        now = told(gateway, coop=node(), vet=node(stored=0))
        assert now["headline"] == "All well: 2 sources, stored by 1 of 2 nodes, 0 s ago"
        assert now["problems"] == []
        assert now["configuration"] == CONFIGURATION
        assert (now["origin"], now["version"], now["since_ms"], now["now_ms"]) == (ORIGIN, __version__, 5, START_MS)
        assert now["clock"] == {"synchronised": True, "error_ms": 5, "boot_id": gateway.clock.boot_id}
        assert now["chain"]["size"] == 1
        assert now["chain"]["open"] == 1
        assert now["chain"]["readings"] == 3
        assert now["chain"]["held"] is None
        assert now["chain"]["last_sealed_ms"] == START_MS
        assert now["chain"]["sealed"] == 1


async def test_one_of_each(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([sample("a")])
        assert told(gateway, coop=node())["headline"] == "All well: 1 source, stored by 1 of 1 node, 0 s ago"
        assert told(gateway)["headline"] == "All well: 1 source, kept by this gateway alone, 0 s ago"


async def test_the_counts_of_a_source(tmp_path: Path) -> None:
    async with pipeline(tmp_path, linger_s=3600) as gateway:
        sent = Delivery("local", 1, bytes(8), dup=False)
        gateway.emit([sample(delivery=sent), Reject("climate", "not_json", b"{")])
        await gateway.journal.commit()
        gateway.emit([sample(delivery=sent._replace(dup=True)), sample(value=7)])
        now = told(gateway)["sources"]["climate"]
        counts = {key: now[key] for key in ("received", "stored", "duplicate", "rejected", "dropped", "waiting")}
        assert counts == {"received": 3, "stored": 1, "duplicate": 1, "rejected": 1, "dropped": 0, "waiting": 1}
        assert now["balanced"]
        assert now["rejects"] == {"not_json": 1}
        assert now["last"] == [["temp", "Cel", 7]]
        assert now["last_ms"] == START_MS
        assert now["quality"] == 0
        await gateway.journal.commit()
        now = told(gateway)["sources"]["climate"]
        assert (now["received"], now["stored"], now["waiting"], now["balanced"]) == (4, 2, 0, True)


async def test_counts_that_do_not_add_up_are_told(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([sample()])
        gateway.intake.tallies["climate"].stored -= 1
        now = told(gateway)
        assert not now["sources"]["climate"]["balanced"]
        assert now["headline"] == "Source climate: the counts do not add up"


async def test_a_source_that_is_away(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([Link(False, "no device", ("climate",))])
        now = told(gateway)
        assert now["headline"] == "Source climate is away: no device"
        assert now["problems"][0]["cure"]


async def test_signing_that_is_held(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        gateway.sealer.hold(HeldError("the sign-state is missing", cure="Put it back"))
        now = told(gateway)
        (problem,) = now["problems"]
        assert problem["condition"] == "signing-held"
        assert problem["severity"] == "error"
        assert (problem["what"], problem["cure"]) == ("Signing is held: the sign-state is missing", "Put it back")
        assert now["chain"]["held"] == "the sign-state is missing. Put it back"


async def test_how_fast_a_source_speaks(tmp_path: Path) -> None:
    """Readings a second over the last minute; less than that at the beginning."""
    async with pipeline(tmp_path) as gateway:
        beat = gateway.intake.beat

        async def minute(readings: int, seconds: int = 60) -> float:
            for second in range(seconds):
                gateway.clock.advance(1)
                if second < readings:
                    await gateway.emit([sample("a", second)])
                beat()
            return float(told(gateway)["sources"]["a"]["rate"])

        beat()
        assert await minute(10, 20) == 0.5
        assert await minute(60) == pytest.approx(1, abs=0.2)
        assert await minute(60) == 1.0
        assert await minute(6) == pytest.approx(0.1, abs=0.1)
        assert await minute(0) == 0.0
        await gateway.emit([sample("new")])
        assert 0 < told(gateway)["sources"]["new"]["rate"] < 0.1


async def test_before_the_first_mark_nothing_is_said_of_rates(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([sample("a")])
        assert told(gateway)["sources"]["a"]["rate"] == 0
        gateway.intake.beat()
        assert told(gateway)["sources"]["a"]["rate"] == 0


async def test_the_quality_of_the_newest_reading(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([sample("a", quality=4)])
        assert told(gateway)["sources"]["a"]["quality"] == 4
        gateway.clock.synchronised = False
        await gateway.emit([sample("a")])
        assert told(gateway)["sources"]["a"]["quality"] == 1


async def test_before_the_first_block(tmp_path: Path) -> None:
    gateway = await Pipeline.open(tmp_path)
    assert isinstance(gateway.sealer, Sealer)
    now = told(gateway)
    assert now["chain"]["last_sealed_ms"] is None
    assert now["chain"]["sealed"] == 0
    assert now["headline"].startswith("Signing is held")
    await gateway.kill()


@pytest.mark.parametrize("who", ["journal", "sealer"])
async def test_a_full_disk(tmp_path: Path, who: str) -> None:
    async with pipeline(tmp_path) as gateway:
        getattr(gateway, who).full = True
        assert "disk is full" in told(gateway)["headline"]


async def test_a_node_that_is_not_well(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        forked = node(ok=False, condition="node-fork", values={"url": "https://n", "detail": "two trees", "field": ""})
        now = told(gateway, coop=forked, vet=node(ok=False), good=node())
        assert [(one["condition"], one["subject"], one["what"]) for one in now["problems"]] == [
            ("node-fork", "coop", "Node coop shows another history of this log: two trees"),
            ("node-away", "vet", "Node vet at https://n is away: d"),
        ]
        assert all(one["cure"] for one in now["problems"])
        assert now["headline"] == f"{now['problems'][0]['what']} (and 1 more)"


async def test_the_worst_comes_first_and_a_note_is_no_headline(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        warning = PAGE_AWAY.problem(what="the port is taken", cure="Free it")
        note = CLOCK_UNSYNCHRONISED.problem()
        assert told(gateway, (note,))["headline"].startswith("All well")
        assert told(gateway, (note, warning))["headline"] == "The page is away: the port is taken"
        gateway.sealer.hold(HeldError("held"))
        now = told(gateway, (note, warning))
        assert now["headline"] == "Signing is held: held (and 1 more)"
        assert [one["severity"] for one in now["problems"]] == ["error", "warning", "note"]
        assert now["problems"][1] == warning.json()


def away(broker: str = "local") -> Link:
    values = {"broker": broker, "at": "127.0.0.1:1883"}
    return Link(False, "nothing listens", condition="broker-away", values=values)


async def test_one_broker_with_many_sources_is_one_problem(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        await gateway.intake.emitter("mqtt-local", {f"s{n}": "in" for n in range(20)})([away()])
        await gateway.intake.emitter("mqtt-far", {"t": "in"})([away("far")])
        now = told(gateway)
        assert [(one["condition"], one["subject"]) for one in now["problems"]] == [
            ("broker-away", "local"),
            ("broker-away", "far"),
        ]
        assert now["sources"]["s7"]["condition"] == "broker-away"
        assert now["problems"][0]["what"] == "Broker local is away: nothing listens at 127.0.0.1:1883"


async def test_one_port_with_several_devices_is_one_problem_and_each_silent_device_one(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        names = [f"meter-{n}" for n in range(7)]
        emit = gateway.intake.emitter("modbus-a", dict.fromkeys(names, "in"))
        gone = {"port": "/dev/ttyS9", "there": "-"}
        await emit([Link(False, "it is gone", condition="port-missing", values=gone)])
        (problem,) = told(gateway)["problems"]
        assert problem["subject"] == "meter-0, meter-1, meter-2, meter-3, meter-4, ... (7)"
        assert "Plug it in" in problem["cure"]
        silent = {"detail": "no answer"}
        links = [Link(False, "no answer", (name,), condition="device-silent", values=silent) for name in names[:3]]
        await emit([Link(True, "back"), *links])
        assert [(one["condition"], one["subject"]) for one in told(gateway)["problems"]] == [
            ("device-silent", name) for name in names[:3]
        ]


@pytest.mark.parametrize(
    ("condition", "values"),
    [
        ("", {}),
        ("of-another-package", {"broker": "x"}),
        ("broker-away", {"broker": "local"}),
        ("disk-full", {"free": "0"}),
    ],
)
async def test_what_a_driver_names_wrongly_is_told_in_its_own_words(
    tmp_path: Path, condition: str, values: dict[str, str]
) -> None:
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([Link(False, "no device", ("climate",), "Get one", condition, values)])
        (problem,) = told(gateway)["problems"]
        assert (problem["condition"], problem["subject"], problem["cure"]) == ("source-away", "climate", "Get one")


async def test_what_is_the_matter_while_a_source_is_up(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        values = {"broker": "local", "topic": "a/#"}
        await gateway.emit([Link(True, "QoS 0 only", ("climate",), condition="broker-qos0", values=values)])
        (problem,) = told(gateway)["problems"]
        assert (problem["condition"], problem["severity"], problem["subject"]) == ("broker-qos0", "warning", "climate")
        await gateway.emit([Link(True, "connected", ("climate",))])
        assert told(gateway)["problems"] == []


@pytest.mark.parametrize(("ms", "shown"), [(1_420_070_400_000, "2015"), (0, "1970"), (-5_000, "1970")])
async def test_a_clock_that_cannot_be_right(tmp_path: Path, ms: int, shown: str) -> None:
    async with pipeline(tmp_path) as gateway:
        gateway.clock.ms = ms
        (problem,) = told(gateway)["problems"]
        assert (problem["condition"], problem["severity"]) == ("clock-off", "error")
        assert shown in problem["what"]
        gateway.clock.ms = RELEASED_MS
        assert told(gateway)["problems"] == []


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b'{"temp":', '{"temp":'),
        (b"\x1b[2Jgone", "\\x1b[2Jgone"),
        (b"a\nb\tc\x00", "a\\nb\\tc\\x00"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("grün \u202e".encode(), "grün \\u202e"),
        (b"", ""),
    ],
)
async def test_an_example_is_safe_to_print(tmp_path: Path, payload: bytes, shown: str) -> None:
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([Reject("climate", "not_json", payload, "why")])
        example = told(gateway)["sources"]["climate"]["example"]
        assert example == {"reason": "not_json", "detail": "why", "payload": shown}
        assert example["payload"].isprintable()


async def test_values_are_shown_bounded(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        records = [
            ("t", None, "x" * 1000),
            ("b", None, bytes(1000)),
            ("on", None, True),
            ("n", "Cel", 1.5),
            ("i", None, 2**52),
        ]
        await gateway.emit([Sample("climate", records, b"")])
        shown = told(gateway)["sources"]["climate"]["last"]
        assert [value for _, _, value in shown] == ["x" * 200, "00" * 100, True, 1.5, 2**52]


async def test_a_note_is_told_and_takes_nobody_away_from_all_well(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        note = RESTART_NEEDED.problem(fields="web.listen")
        now = told(gateway, (note,))
        assert now["headline"].startswith("All well")
        assert now["problems"] == [note.json()]
        full = told(gateway, (note, PAGE_AWAY.problem(what="w", cure="c")))
        assert full["headline"] == "The page is away: w"
