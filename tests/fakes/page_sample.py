"""What a page is shown of: a farm's sources with their minutes, events and findings, made up and always the same."""

import asyncio
import math
import random
from collections.abc import Sequence
from typing import Any

from fakes.status_sample import NOW_MS, node, source, status

from gateway.conditions import NODE_AWAY, PAGE_AWAY, SOURCE_AWAY, Problem
from gateway.store.events import Event
from gateway.store.minutes import Minute

NOW_MIN = NOW_MS // 60_000


class Minutes:
    """A rollup that is filled by hand. `asked` counts the queries."""

    def __init__(self, filled: dict[tuple[str, str], Sequence[Minute]] | None = None) -> None:
        self.filled = dict(filled or {})
        self.units: dict[tuple[str, str], str | None] = {}
        self.asked = 0

    def names(self, source: str) -> tuple[tuple[str, str | None], ...]:
        return tuple((name, self.units.get((of, name))) for of, name in self.filled if of == source)

    async def minutes(self, source: str, name: str, begin: int, end: int) -> list[Minute]:
        self.asked += 1
        await asyncio.sleep(0)
        return [one for one in self.filled.get((source, name), ()) if begin <= one.at < end]


def wave(
    middle: float,
    swing: float,
    *,
    days: float = 7.5,
    now_min: int = NOW_MIN,
    every: int = 1,
    phase: float = 0,
    gaps: Sequence[tuple[int, int]] = (),
    count: int = 12,
    digits: int = 2,
) -> list[Minute]:
    """Minutes that go up and down with the day; gaps: [from, to) minutes ago in which there are none."""
    made: list[Minute] = []
    rng = random.Random(f"{middle} {swing}")
    for at in range(now_min - int(days * 1440), now_min + 1, every):
        if any(begin <= now_min - at < end for begin, end in gaps):
            continue
        slow = swing * math.sin(at * math.tau / 1440 + phase) + swing / 5 * math.sin(at / 47.0 + phase)
        value = middle + slow + rng.gauss(0, swing / 40)
        room = abs(rng.gauss(swing / 20, swing / 30))
        made.append(Minute(at, round(value - room, digits), round(value + room, digits), round(value, digits), count))
    return made


def farm_minutes(now_min: int = NOW_MIN) -> Minutes:
    """The numbers behind `farm_status`."""
    minutes = Minutes()
    for name, value, unit, middle, swing, more in (
        ("climate", "temp", "Cel", 21.2, 2.4, {"gaps": [(22, 31), (300, 420), (4000, 5200)]}),
        ("climate", "rh", "%RH", 61.0, 9.0, {"phase": 2.0}),
        ("climate", "co2", "ppm", 910, 160, {"digits": 0}),
        ("cold-room", "temp", "Cel", -18.4, 0.9, {"every": 5, "count": 1}),
        ("feed-silo", "mass", "kg", 412.5, 40, {"every": 10, "count": 1}),
        ("meter", "power", "W", 1840, 900, {}),
        ("weighbridge", "mass", "kg", 21480, 9000, {"gaps": [(0, 95)]}),
        ("well-pump", "flow", "l/min", 38.0, 12, {}),
        ("milk-tank", "temp", "Cel", 3.9, 0.4, {"phase": 1.0}),
    ):
        minutes.filled[name, value] = wave(middle, swing, now_min=now_min, **more)
        minutes.units[name, value] = unit
    return minutes


def farm_status(now_ms: int = NOW_MS, **fields: Any) -> dict[str, Any]:
    """Ten sources on a farm, all well."""

    def at(seconds: float) -> int:
        return now_ms - int(seconds * 1000)

    well = {"rejects": {}, "example": None, "rejected": 0, "duplicate": 0}
    sources = {
        "climate": source(
            last=[["temp", "Cel", 21.34], ["rh", "%RH", 63.2], ["co2", "ppm", 934]],
            last_ms=at(2),
            rejects={"json": 2},
            rejected=2,
        ),
        "cold-room": source(last=[["temp", "Cel", -18.4]], last_ms=at(140), driver="tasmota", **well),
        "feed-silo": source(last=[["mass", "kg", 398.2], ["stable", None, True]], last_ms=at(290), **well),
        "gateway": source(driver="gateway", last=[["event", None, "start"]], last_ms=at(90_000), up=None, **well),
        "gps": source(
            driver="nmea0183",
            last=[
                ["lat", "lat", 53.541833],
                ["lon", "lon", 9.983417],
                ["speed", "m/s", 0.3],
                ["sats", None, 11],
                ["fix", None, "3d"],
            ],
            last_ms=at(1),
            **well,
        ),
        "meter": source(driver="p1", last=[["power", "W", 1840], ["energy", "kWh", 12834.521]], last_ms=at(8), **well),
        "milk-tank": source(driver="shelly", last=[["temp", "Cel", 3.9]], last_ms=at(12), quality=2, **well),
        "quay.ship-211234560": source(
            driver="ais", last=[["speed", "m/s", 4.2], ["name", None, "ELBE TRADER"]], last_ms=at(31), **well
        ),
        "weighbridge": source(driver="scale", last=[["mass", "kg", 21480]], last_ms=at(5700), **well),
        "well-pump": source(
            driver="modbus", last=[["flow", "l/min", 38.4], ["running", None, True]], last_ms=at(4), **well
        ),
        "yard-gate": source(driver="mqtt", up=None, last=[], last_ms=None, **(well | {"received": 0, "stored": 0})),
    }
    made = {
        "now_ms": now_ms,
        "since_ms": at(3 * 86_400),
        "sources": sources,
        "headline": "All well: 10 sources, stored by 2 of 2 nodes",
        "nodes": {
            "coop": node(last_ms=at(3)),
            "harbour": node(url="https://node.harbour.example:8441", stored=240, last_ms=at(2)),
        },
    }
    return status(**(made | fields))


def away(*names: str) -> list[Problem]:
    """Something of everything that can be the matter."""
    return [
        *(
            SOURCE_AWAY.problem(name, detail="no such device", cure="Plug it in: it is opened again by itself")
            for name in names
        ),
        NODE_AWAY.problem(
            "coop", url="https://node.coop.example:8441", detail="it cannot be reached: connection refused"
        ),
        PAGE_AWAY.problem(
            what="another program has this port", cure="`ss -ltnp` names it; stop it, or choose another port"
        ),
    ]


def taken_over(**fields: Any) -> dict[str, Any]:
    """What a reload answers, in which nothing has changed."""
    none: dict[str, list[str]] = {"started": [], "stopped": [], "changed": []}
    return {
        "asked": "reload",
        "taken_over": True,
        "sources": none,
        "nodes": none,
        "tables": none,
        "restart": [],
        "late": [],
    } | fields


def events(count: int = 60) -> list[Event]:
    """The gateway's own events, newest first."""
    kinds = [
        ("source-back", (("source", "weighbridge"), ("detail", ""))),
        ("source-lost", (("source", "weighbridge"), ("detail", "no such device"))),
        ("clock-synchronised", (("old", 1_799_990_000.25), ("new", 1_799_990_003.5))),
        ("start", (("version", "0.1.0"), ("boot", "9f1c"))),
        ("stop", ()),
    ]
    return [
        Event(count - number, NOW_MS - number * 3_700_000, *kinds[number % len(kinds)], height=None, quality=0)
        for number in range(count)
    ]
