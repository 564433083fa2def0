"""What the pages say, that hostile text stays text, and how many rows they have."""

import asyncio
import re
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
from fakes.filled_store import make_store
from fakes.gateway_folder import cosign_size
from fakes.log_maker import LogMaker
from fakes.markup import HOSTILE, Parsed, words_of
from fakes.page_sample import Minutes, away, events, farm_minutes, farm_status, taken_over, wave
from fakes.status_sample import NOW_MS, anchor, node, source, status, witness
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import keys
from gateway.conditions import SIGNING_HELD, SOURCE_AWAY, Problem
from gateway.core import limits
from gateway.core.note import SM2, parse_note
from gateway.errors import Refused
from gateway.store import Store
from gateway.web import Services, routes, show
from gateway.web.assets import Assets
from gateway.web.findings import Findings
from gateway.web.pages import frame, reloaded
from gateway.web.pages.source import rate
from gateway.web.sparks import Sparks
from gateway.web.view import Desk, View
from gateway.web.words import Words

ASSETS = Assets.read()


def desk(store: Store | None = None, **offered: Any) -> Desk:
    services = Services(**({"status": status} | offered))
    findings = Findings(services.doctor, lambda: NOW_MS)
    return Desk(services, store, dict, Sparks(services.rollup), findings, lambda: NOW_MS)  # type: ignore[arg-type]


async def shown(target: str, at: Desk | None = None, told: dict[str, Any] | None = None, **fields: Any) -> Parsed:
    """The page under an address, whole."""
    found = routes.find(target)
    assert found is not None
    view = View(**({"desk": at or desk(), "words": Words(), "status": told or status()} | fields))
    page = await found.route.render(view, **found.values)
    text = frame.document(view, page, ASSETS, place=found.route.place, target=target, live=True)
    return Parsed(text)


# -- the sentence -----------------------------------------------------------------------------------------------------


async def test_a_gateway_that_is_well() -> None:
    page = await shown("/", told=farm_status())
    assert words_of(page.by["headline"]) == "All well: 10 sources, stored by 2 of 2 nodes, 3 s ago"
    climate = words_of(page.by["climate"])
    assert climate == "up climate 2 s temp 21.34 °C rh 63.2 % RHco2 934 ppm 2 rejected"
    assert words_of(page.by["yard-gate"]) == "not heard yet yard-gate – nothing yet"
    assert "gateway" not in page.by
    assert "1\u202f234\u202f567" in page.text
    assert "synchronised, within 12 ms" in page.text
    assert "2 blocks not stored yet" in page.by["coop"]


async def test_the_sentence_counts_one_and_none() -> None:
    one = {"climate": source(last_ms=NOW_MS - 5_000)}
    page = await shown("/", told=status(sources=one, nodes={"coop": node(last_ms=NOW_MS - 61_000)}))
    assert "All well: 1 source, stored by 1 of 1 node, 61 s ago" in page.by["headline"]
    page = await shown("/", told=status(sources=one, nodes={}))
    assert "All well: 1 source, kept by this gateway alone, 5 s ago" in page.by["headline"]
    page = await shown("/", told=status(sources={}, nodes={}))
    assert words_of(page.by["headline"]) == "All well: 0 sources, kept by this gateway alone"
    assert "No source has been configured or heard yet" in page.text


async def test_what_needs_a_person_comes_first_with_what_to_do() -> None:
    problems = [one.json() for one in away("gps", "meter")]
    sick = source(up=False, detail="no broker", cure="c", balanced=False, waiting=3, dropped=5)
    page = await shown("/", told=status(problems=problems, sources={"climate": source(), "zz": sick}))
    assert page.having("data-problem") == ["source-away", "source-away", "node-away", "page-away"]
    assert words_of(page.by["headline"]).startswith("Needs a person Source gps is away: no such device (and 3 more)")
    assert "Plug it in" in page.by["source-away gps"]
    assert page.text.index("no broker") < page.text.index("climate")  # what is away is listed first
    assert "the counts do not add up" in page.by["zz"]
    assert "5 dropped" in page.by["zz"]
    strip = await shown("/nodes", told=status(problems=problems))
    assert "Source gps is away" in strip.by["headline"]


async def test_only_a_note_needs_nobody() -> None:
    note = Problem("source-away", "note", "x", "w", "c", {"subject": "x", "detail": "d", "cure": "c"})
    page = await shown("/", told=status(problems=[note.json()]))
    assert "All well" in page.by["headline"]
    assert page.having("data-problem") == ["source-away"]


async def test_a_condition_of_another_version_is_told_in_its_own_words() -> None:
    other = Problem("not-known-here", "error", "", "What it says", "What to do", {})
    page = await shown("/", told=status(problems=[other.json()]))
    assert "What it says" in page.by["headline"]
    assert "What to do" in page.by["part-now"]


# -- sources ----------------------------------------------------------------------------------------------------------


async def test_many_sources_are_paged_and_found() -> None:
    many = {f"s-{number:03}": source() for number in range(230)}
    page = await shown("/", told=status(sources=many))
    assert page.having("data-key").count("s-000") == 1
    assert sum(name.startswith("s-") for name in page.by) == limits.PAGE_ROWS
    assert "1 of 5" in page.text
    last = await shown("/?page=5", told=status(sources=many))
    assert "s-229" in last.by
    assert "/?page=4" in last.having("href")
    assert "s-229" in (await shown("/?page=999", told=status(sources=many))).by
    found = await shown("/?q=S-22", told=status(sources=many))
    assert [name for name in found.by if name.startswith("s-")] == [f"s-{number}" for number in range(220, 230)]
    assert "No source has “x<y” in its name." in (await shown("/?q=x%3Cy", told=status(sources=many))).text


async def test_a_page_of_many_gives_others_their_turn() -> None:
    many = {f"s-{number:03}": source() for number in range(200)}
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await shown("/", told=status(sources=many))
    task.cancel()
    assert turns >= limits.PAGE_ROWS // 8


async def test_a_source() -> None:
    told = status(sources={"climate": source(quality=3, waiting=2)})
    page = await shown("/source/climate", told=told)
    assert "clock not synchronised" in page.by["part-values"]
    assert "the device says unstable" in page.by["part-values"]
    assert "21.25 °C" in words_of(page.by["part-values"])
    counts = words_of(page.by["part-counts"])
    assert (
        "received 12\u202f345 stored 12\u202f340 duplicate 3 rejected 2 dropped 0 "
        "in the last minute 12 a minute not on disk yet 2" in counts
    )
    assert '{"temperature": }' in page.by["part-rejects"]
    assert "/receipt/climate" in page.having("href")


async def test_a_source_that_is_not_there() -> None:
    found = routes.find("/source/nope")
    assert found is not None
    view = View(desk=desk(), words=Words(), status=status())
    page = await found.route.render(view, **found.values)
    assert page.status == 404
    assert "There is no source “nope” here." in page.title


async def test_values_of_every_kind() -> None:
    for value, text in (
        (True, "yes"), (False, "no"), (1.23456789, "1.234568"), (-4.5, "−4.5"), (12834.521, "12834.52"),
        (1.5e11, "150000000000"), (1e300, "1e+300"), (float("inf"), "inf"), (-7, "−7"), ("a\u202eb\n", "a\\u202eb\\n"),
    ):  # fmt: skip
        page = await shown("/", told=status(sources={"x": source(last=[["v", None, value]])}))
        assert f"v {text} " in words_of(page.by["x"]) + " ", value


async def test_ages() -> None:
    for ago, text in (
        (0, "0 s"), (119_000, "119 s"), (120_000, "2 min"), (7_200_000, "2 h"), (10**9, "11 d"), (-5, "0 s"),
    ):  # fmt: skip
        page = await shown("/", told=status(sources={"x": source(last_ms=NOW_MS - ago)}))
        assert f"x {text} temp" in words_of(page.by["x"])


async def test_charts_come_from_the_rollup_and_are_drawn_once_a_minute() -> None:
    minutes = farm_minutes()
    at = desk(rollup=minutes)
    page = await shown("/source/climate?span=day&value=rh", at, farm_status())
    assert "rh, the last day" in page.by["chart-t"]
    assert "% RH" in page.by["chart-d"]
    asked = minutes.asked
    await shown("/source/climate?span=day&value=rh", at, farm_status())
    assert minutes.asked == asked
    await shown("/source/climate?span=day&value=rh", at, farm_status(NOW_MS + 60_000))
    assert minutes.asked > asked
    week = await shown("/source/climate?span=week&value=temp", at, farm_status())
    assert week.by["part-chart"].count("no readings") == 1
    assert sum(attrs.get("class") == "gap" for _, attrs in week.tags) == 2
    wrong = await shown("/source/climate?span=week&value=nothing", at, farm_status())
    assert "temp, the last week" in wrong.by["chart-t"]
    assert "chart-t" not in (await shown("/source/gps", at, farm_status())).by


async def test_sparks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAGE_CHARTS", 10)
    minutes = Minutes({(f"s-{number:03}", "v"): wave(1, 1, days=0.05) for number in range(40)})
    at = desk(rollup=minutes)
    await shown("/", at, status(sources={f"s-{number:03}": source() for number in range(40)}))
    assert len(at.sparks._kept) == 10


# -- the other pages --------------------------------------------------------------------------------------------------


@pytest.fixture
async def filled(tmp_path) -> Any:
    made = await make_store(tmp_path / "filled", LogMaker().add(30, readings=4).add(1, readings=0).add(1, readings=70))
    yield made
    await made.close()


def chain(size: int = 32, **nodes: Any) -> dict[str, Any]:
    return status(chain=status()["chain"] | {"size": size}, nodes=nodes)


async def test_blocks_as_they_are_sealed_with_the_state_of_each(filled: Store) -> None:
    nodes = {"a": node(entries=32, seen=31, stored=30), "b": node(entries=32, seen=31, stored=29)}
    page = await shown("/chain", desk(filled), chain(**nodes))
    assert "here only" in page.by["31"]
    assert "seen by 2 of 2 nodes" in page.by["30"]
    assert "stored by 1 of 2 nodes" in page.by["29"]
    assert "stored by 2 of 2 nodes" in page.by["28"]
    assert "Block 31" in page.by["31"]
    assert len([name for name in page.by if name.isdecimal()]) == limits.PAGE_BLOCKS
    assert "/chain?before=7" in page.having("href")
    older = await shown("/chain?before=7", desk(filled), chain())
    assert [name for name in older.by if name.isdecimal()] == [str(height) for height in range(6, -1, -1)]
    assert not [one for one in older.having("href") if "before" in one]
    assert "No block has been sealed yet." in (await shown("/chain?before=0", desk(filled), chain())).text


async def test_a_block_with_its_readings(filled: Store) -> None:
    page = await shown("/chain/3", desk(filled), chain())
    assert "s-0" in page.by["part-readings"]
    assert page.having("href").count("/chain/4") == 1
    assert [one for one in page.having("href") if one.startswith("/receipt/s-0?at=")]
    assert "a heartbeat shows" in (await shown("/chain/30", desk(filled), chain())).text
    large = await shown("/chain/31", desk(filled), chain())
    assert "1 to 50 of 70" in large.text
    assert "/chain/31?start=50" in large.having("href")
    rest = await shown("/chain/31?start=50", desk(filled), chain())
    assert "51 to 70 of 70" in rest.text
    assert "/chain/31?start=0" in rest.having("href")
    assert rest.by["part-readings"].count("temp") == 20
    live = await shown("/chain/3", desk(filled), chain(), live=True)
    assert "part-readings" not in live.by
    assert "There is no block 32 yet." in (await shown("/chain/32", desk(filled), chain())).text


@pytest.fixture
async def cosigned(tmp_path) -> Any:
    log = LogMaker().add(2)
    made = await make_store(tmp_path / "cosigned", log)
    await cosign_size(made, log, 2)
    yield made
    await made.close()


async def test_a_receipt_tells_of_the_sm2_signature_where_the_gateway_makes_one(cosigned: Store) -> None:
    key, other = (keys.parse_key(keys.generate("henhouse/sm2", SM2), where="a test") for _ in range(2))
    assert "SM2" not in (await shown("/receipt/s-0", desk(cosigned), chain(2))).by["part-said"]
    at = desk(cosigned, sm2=lambda: key.vkey)
    none = "no: the checkpoint of this receipt was signed without that key"
    assert none in (await shown("/receipt/s-0", at, chain(2))).by["part-said"]
    for signer, of, said in (
        (key, "", "Signed by SM2 with SM3 as well henhouse/sm2"),
        (other, "", none),
        (key, "x", ""),
    ):
        for size, text in await cosigned.db.read("SELECT size,note FROM checkpoint"):
            plain = replace(parse_note(text), lines=parse_note(text).lines[:1])
            signed = plain.with_lines([keys.sm2_line(signer, plain.text + of)]).encode()
            await cosigned.db.transact([("UPDATE checkpoint SET note=? WHERE size=?", (signed, size))])
        page = await shown("/receipt/s-0", at, chain(2))
        if said:
            assert said in page.by["part-said"]
        else:
            assert "do not trust this reading" in page.text and "SM2 signature of henhouse/sm2 is not" in page.text


async def test_a_block_whose_readings_went(filled: Store) -> None:
    await filled.db.transact([("UPDATE block SET secret=NULL WHERE height=3", ())])
    page = await shown("/chain/3", desk(filled), chain())
    assert "not here any more" in page.by["part-readings"]
    assert "at nodes only" in (await shown("/chain?before=5", desk(filled), chain())).by["3"]


async def test_a_block_that_is_damaged(filled: Store) -> None:
    await filled.db.transact([("UPDATE block SET entry=x'00' WHERE height=3", ())])
    await filled.db.transact([("DELETE FROM journal WHERE height=4", ())])
    assert "damaged" in (await shown("/chain?before=5", desk(filled), chain())).by["3"]
    found = routes.find("/chain/3")
    assert found is not None
    page = await found.route.render(View(desk=desk(filled), words=Words(), status=chain()), **found.values)
    assert (page.status, page.title) == (404, "Block 3 is damaged here. `fieldgate recover` mends it.")
    assert "rows of block 4 are missing" in (await shown("/chain/4", desk(filled), chain())).text


async def test_nodes_with_lag_and_what_is_wrong() -> None:
    ill = node(ok=False, detail="it cannot be reached: refused", cure="Check url", last_ms=None)
    nodes = {
        "a": node(entries=200), "b": node(), "c": ill, "d": node(entries=240, stored=240), "e": node(seen=0, stored=0),
    }  # fmt: skip
    page = await shown("/nodes", told=status(nodes=nodes))
    for name, text in (
        ("a", "40 blocks behind"), ("b", "2 blocks not stored yet"), ("c", "it cannot be reached: refused"),
        ("c", "Check url"), ("c", "never"), ("d", "in step"), ("e", "has nothing yet"),
    ):  # fmt: skip
        assert text in page.by[name]
    assert "No node is configured" in (await shown("/nodes", told=status(nodes={}))).text


async def test_witnesses_are_shown_as_what_they_are() -> None:
    ill = witness(ok=False, seen=238, detail="it does not know this log", cure="ask its operator")
    page = await shown("/nodes", told=status(witnesses={"public": witness(), "other": ill}))
    assert "It holds no readings" in page.text
    assert "in step" in words_of(page.by["public"])
    assert "Has stored" not in page.by["public"]
    for word in ("2 blocks behind", "it does not know this log", "ask its operator"):
        assert word in words_of(page.by["other"])
    page = await shown("/", told=status(nodes={}, witnesses={"public": witness()}))
    assert "in step" in words_of(page.by["public"])
    assert "No node is configured" not in page.text
    assert "Witnesses" not in (await shown("/nodes", told=status())).text


async def test_actions_are_offered_to_whoever_is_signed_in(filled: Store) -> None:
    async def reload(asked: str) -> dict[str, Any]:
        return {}

    at = desk(filled, sync=lambda: None, reload=reload)
    for target, action in (("/nodes", "/sync"), ("/device", "/reload")):
        assert action not in (await shown(target, at)).having("action")
        assert action in (await shown(target, at, signed_in=True)).having("action")
        assert action not in (await shown(target, desk(filled), signed_in=True)).having("action")


def test_what_a_reload_did() -> None:
    view = View(desk=desk(), words=Words(), status=status())
    sources = {"started": ["barn"], "stopped": ["gps"], "changed": ["<b>"]}
    nodes = {"started": ["coop"], "stopped": [], "changed": []}
    tables = {"started": [], "stopped": ["broker.old"], "changed": ["seal"]}
    told = taken_over(sources=sources, nodes=nodes, tables=tables, restart=["web.listen"], late=["gps"])
    lines = reloaded.page(view, told).parts[1].markup
    for text in (
        "source barn began", "source gps ended", "source &lt;b&gt; changed", "node coop began", "[broker.old] is gone",
        "[seal] changed", "web.listen waits for a restart", "gps does not end yet",
    ):  # fmt: skip
        assert text in lines
    assert "Nothing has changed." in reloaded.page(view, taken_over()).parts[1].markup
    many = taken_over(sources=sources | {"started": [f"s-{number}" for number in range(200)]})
    assert "and 152 more" in reloaded.page(view, many).parts[1].markup
    error = {"what": "the key cannot be read", "where": "/etc/k", "cure": "chmod 600"}
    refused = reloaded.page(view, {"taken_over": False, "error": error})
    assert refused.status == 409
    assert "the key cannot be read" in refused.parts[1].markup


async def test_the_device(filled: Store) -> None:
    page = await shown("/device", desk(filled))
    for text in ("henhouse-3.example.farm/1+", "3.0 MiB of 8.0 GiB", "20.0 GiB", "synchronised, within 12 ms", "3 d"):
        assert text in words_of(page.text).replace("used ", "")
    loose = {"synchronised": False, "error_ms": None, "boot_id": "b"}
    full = status()["disk"] | {"held": "the store is full"}
    page = await shown("/device", desk(filled), status(clock=loose, disk=full))
    assert "not synchronised" in page.text
    assert "the store is full" in page.text
    assert "Raspberry Pi 4" in page.text
    assert "51 °C" in page.text
    assert "1.4 GiB of 3.7 GiB" in words_of(page.text)
    bare = await shown("/device", desk(filled), status(disk={}, device={}))
    assert bare.text.count("not looked at yet") == 2
    nothing = dict.fromkeys(status()["device"])
    assert "not looked at yet" in (await shown("/device", desk(filled), status(device=nothing))).text


@pytest.mark.parametrize(("a_second", "said"), [
    (0.0, "0 a second"), (12.3456, "12.3 a second"), (0.2, "12 a minute"), (1 / 60, "1 a minute"),
    (0.002, "7.2 an hour"),
])  # fmt: skip
def test_a_rate_is_a_number_to_remember(a_second: float, said: str) -> None:
    assert rate(Words(), a_second) == said


async def test_events_newest_first() -> None:
    async def newest(limit: int, before: int | None) -> list[Any]:
        return [one for one in events() if before is None or one.place < before][:limit]

    page = await shown("/events", desk(events=newest))
    assert words_of(page.by["60"]) == "a source came back08:00:00source: weighbridge"
    assert "no such device" in page.by["59"]
    assert words_of(page.by["58"]).endswith("old: 05:13:20new: 05:13:23")
    assert "/events?before=11" in page.having("href")
    older = await shown("/events?before=11", desk(events=newest))
    assert "1" in older.by
    assert "60" not in older.by


async def test_findings_worst_first() -> None:
    async def look() -> list[Problem]:
        return away("gps")[::-1]

    at = desk(doctor=look)
    assert "Nobody has let it look" in (await shown("/doctor", at)).text
    await at.findings.look()
    page = await shown("/doctor", at)
    assert page.having("data-problem")[-1] == "page-away"
    assert "Looked 0 s ago." in words_of(page.by["part-findings"])


async def test_looks_at_once_are_one_look_and_a_failed_one_can_be_repeated() -> None:
    looks = 0

    async def look() -> list[Problem]:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)
        if looks == 1:
            raise Refused("not now")
        return []

    findings = Findings(look, lambda: NOW_MS)
    told = await asyncio.gather(findings.look(), findings.look(), return_exceptions=True)
    assert [type(one) for one in told] == [Refused, Refused]
    assert looks == 1
    await findings.look()
    assert findings.at_ms == NOW_MS


async def test_times_are_those_of_the_gateways_zone() -> None:
    for zone, name, time in (
        (UTC, "UTC", "08:00:00"),
        (timezone(timedelta(hours=8)), "UTC+08:00", "16:00:00"),
        (timezone(timedelta(hours=-3, minutes=-30)), "UTC-03:30", "04:30:00"),
    ):
        page = await shown("/", zone=zone)
        assert f"{time} {name} by this gateway's clock" in page.text
        assert page.having("data-zone") == [str(int(zone.utcoffset(None).total_seconds()) // 60)]


@pytest.mark.parametrize("ms", [0, 1, 2**53 - 1, -1, NOW_MS - 86_400_000 * 400, NOW_MS + 86_400_000])
async def test_any_time_can_be_shown(ms: int) -> None:
    view = View(desk=desk(), words=Words(), status=status(), zone=UTC)
    assert show.moment(view, ms)
    assert show.age(view, ms)
    assert show.iso(ms)


# -- hostile text -----------------------------------------------------------------------------------------------------

ELEMENTS = frozenset(
    (
        *("html", "head", "meta", "title", "link", "script", "noscript", "body", "header", "nav", "main", "footer"),
        *(
            "a",
            "div",
            "span",
            "p",
            "h1",
            "h2",
            "h3",
            "ul",
            "li",
            "section",
            "dl",
            "dt",
            "dd",
            "b",
            "i",
            "small",
            "strong",
        ),
        *("form", "input", "button", "time", "code", "svg", "path", "rect"),
    )
)
SHAPE = {"driver", "severity", "condition", "up", "now_ms", "origin"}


def hostile(value: Any, key: str = "") -> Any:
    """The same value with every text made hostile, and every name of a source or node."""
    if isinstance(value, dict):
        named = key in {"sources", "nodes", "rejects"}
        return {(HOSTILE + name if named else name): hostile(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [hostile(part) for part in value]
    return value + HOSTILE if isinstance(value, str) and key not in SHAPE - {"origin"} else value


TARGETS = ("/", "/chain", "/chain/3", "/nodes", "/device", "/events", "/doctor", "/receipt/s-0")


@pytest.mark.parametrize("target", [*TARGETS, "/source/HOSTILE"])
async def test_hostile_names_and_payloads_stay_text(filled: Store, target: str) -> None:
    from urllib.parse import quote

    async def look() -> list[Problem]:
        return [SOURCE_AWAY.problem(HOSTILE, detail=HOSTILE, cure=HOSTILE), SIGNING_HELD.problem(what=HOSTILE, cure="")]

    async def newest(limit: int, before: int | None) -> list[Any]:
        return [replace(one, what=HOSTILE, details=((HOSTILE, HOSTILE),)) for one in events(3)]

    problems = [one.json() for one in await look()]
    plain = status(problems=[hostile(one) for one in problems])
    told = hostile(status(problems=problems)) | {"problems": plain["problems"]}
    minutes = Minutes({(HOSTILE + "climate", HOSTILE): wave(1, 1, days=0.05)})
    at = desk(filled, doctor=look, events=newest, rollup=minutes)
    await at.findings.look()
    page = await shown(target.replace("HOSTILE", quote(HOSTILE + "climate", safe="")), at, told)
    assert "img" not in page.names()
    assert [attrs for tag, attrs in page.tags if tag == "script"] == [{"src": ASSETS.path("page.js"), "defer": None}]
    for _, attrs in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attrs)
        assert attrs.get("href", "/").startswith(("/", "#"))
        assert attrs.get("src", "/").startswith("/")
    assert HOSTILE in page.text


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(max_size=30),
    st.text(max_size=30),
    st.one_of(st.text(max_size=20), st.floats(), st.booleans(), st.integers()),
)
async def test_no_text_breaks_a_page(name: str, text: str, value: Any) -> None:
    from urllib.parse import quote

    problem = SOURCE_AWAY.problem(name, detail=text, cure=text).json()
    one = source(last=[[text, text, value], [name, None, value]], detail=text, up=False, example={
        "reason": text, "detail": name, "payload": text}, rejects={text: 1})  # fmt: skip
    told = status(
        sources={name: one}, problems=[problem], nodes={name: node(detail=text, ok=False, url=text, cure=name)}
    )
    for target in ("/", "/nodes"):
        page = await shown(target, told=told)
        assert page.names() <= ELEMENTS
    if name and "/" not in name and routes.find(f"/source/{quote(name, safe='')}"):
        page = await shown(f"/source/{quote(name, safe='')}", told=told)
        assert "script" not in page.names() or page.having("src") == [ASSETS.path("page.js")]


@settings(max_examples=100)
@given(st.text(max_size=60))
def test_no_target_is_misread(text: str) -> None:
    found = routes.find(text) or routes.find(f"/{text}") or routes.find(f"/source/{text}") or routes.find(f"/?q={text}")
    assert found is None or found.target in {text, f"/{text}", f"/source/{text}", f"/?q={text}"}


BEYOND = ("/?q=" + "x" * 65, "/source/" + "a" * 301, "/source/a?value=" + "x" * 301, "/?q=a&&&&&&&&&&")
MISSPELT = (
    " /? // /./ /index.html /?x=1 /?q=a&q=b /?page=0 /?page=01 /?page=99999 /chain/ /chain/01 /chain/-1 /chain/1e3 "
    "/chain?before= /source/ /source/a/b /source/a?span=year /source/%ff /nodes?x /device? /source/a?value= /# "
    "/receipt/a?at=1.5 /events?before=-1"
)


@pytest.mark.parametrize("target", [*MISSPELT.split(" "), *BEYOND])
def test_a_page_has_one_spelling(target: str) -> None:
    assert routes.find(target) is None


def test_no_asset_asks_for_another() -> None:
    for path in re.findall(r"/assets/\S+?\.(?:css|js|svg)", " ".join(ASSETS._answers)):
        text = ASSETS._answers[path][0].decode()
        assert "@import" not in text
        assert "url(" not in text
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
        assert "eval(" not in text


async def test_the_chain_tells_how_far_its_anchors_are(filled: Store) -> None:
    anchors = {
        "spartan": anchor(anchored=9, state="in block", size=12, block=77, confirmed=3),
        "wuhan": anchor(anchored=0, state="failed", block=None, why="no funds", cure="Fill it up"),
        "new": anchor(anchored=0, state="waiting", size=0, block=None),
    }
    page = await shown("/chain?before=10", desk(filled), chain() | {"anchors": anchors})
    assert "anchored up to block 8" in page.by["spartan"]
    assert "in its block 77: 3 of 12" in page.by["spartan"]
    assert "no funds. Fill it up" in page.by["wuhan"]
    assert "anchored" not in page.by["new"]
    assert "anchored on 1 of 3 chains" in page.by["8"]
    assert "anchored" not in page.by["9"]
    assert "anchored on 1 of 3 chains" in (await shown("/chain/3", desk(filled), chain() | {"anchors": anchors})).text
    assert "Anchors" not in (await shown("/chain", desk(filled), chain() | {"anchors": {}})).text


async def test_what_a_node_says_of_a_chain_is_shown_as_its_word(filled: Store) -> None:
    """It was checked without pins: a node may have made up the chain."""
    given = anchor(kind="fleet", chain="evm 9090", state="claimed", size=9, anchored=0, block=None)
    page = await shown("/chain?before=10", desk(filled), chain() | {"anchors": {"by node coop, 9090": given}})
    assert "claimed by the node" in page.by["by node coop, 9090"]
    assert "covers blocks up to 8" in page.by["by node coop, 9090"]
    assert "anchor claimed by a node" in page.by["8"]
    assert "claimed" not in page.by["9"]
    assert "anchored" not in page.text
    assert not [one for one in page.having("class") if one == "tag well" and "claim" in one]
    own = {"spartan": anchor(anchored=9), "by node coop, 9090": given}
    page = await shown("/chain?before=10", desk(filled), chain() | {"anchors": own})
    assert "anchored on 1 of 1 chain" in page.by["8"]
