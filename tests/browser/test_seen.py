"""What is seen: on a telephone and a wide screen, in both schemes and languages, well and broken, with axe's word."""

from typing import Any

import pytest
from fakes.markup import HOSTILE
from fakes.page_gateway import PageGateway
from fakes.page_sample import away, wave
from fakes.status_sample import source
from fakes.telling import Tell

from gateway.web.pages import frame

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGES = {
    "overview": "/",
    "source": "/source/climate?span=day",
    "chain": "/chain",
    "block": "/chain/7",
    "nodes": "/nodes",
    "device": "/device",
    "events": "/events",
    "doctor": "/doctor",
    "receipt": "",
    "not-co-signed": "/receipt/s-1",
    "missing": "/source/nobody",
    "login": "/login",
}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"locale": "en-GB"},
    "dark-chinese": {"locale": "zh-CN", "color_scheme": "dark"},
    "wide-light-chinese": {"locale": "zh-CN", "viewport": {"width": 1200, "height": 900}},
    "wide-dark": {"color_scheme": "dark", "viewport": {"width": 1200, "height": 900}},
}


async def violations(seen: Any, axe: str) -> list[str]:
    """What axe finds against WCAG 2.2 A and AA, and its best practices."""
    await seen.page.evaluate(axe)
    found = await seen.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{one['id']}: {node['html'][:160]}" for one in found["violations"] for node in one["nodes"]]


@pytest.mark.parametrize("look", LOOKS)
async def test_every_page(opened, gateway: PageGateway, axe: str, picture, look: str) -> None:
    await (await gateway.site())._desk.findings.look()
    seen = await opened("/", **LOOKS[look])
    seen.may_fail = True  # the page that is missing
    wide = look.startswith("wide")
    for name, target in PAGES.items():
        if wide and name not in {"overview", "source", "chain", "receipt"}:
            continue
        await seen.go(target or gateway.receipt)
        await seen.fits()
        assert not await violations(seen, axe), name
        await picture(seen.page, f"{look}-{name}", whole=not wide and name != "login")
        await seen.page.set_viewport_size(LOOKS[look].get("viewport", {"width": 360, "height": 740}))


def _ill(told: dict[str, Any]) -> None:
    for name in ("climate", "weighbridge"):
        told["sources"][name] |= {
            "up": False,
            "detail": "no such device: /dev/serial/by-id/usb-FTDI_FT232R_AB0JQ2XK-if00-port0",
        }
    told["problems"] = [one.json() for one in away("climate", "weighbridge")]
    told["chain"]["held"] = "the sign-state has signed 40 blocks, the store holds 39"
    told["nodes"]["coop"] |= {
        "ok": False,
        "stored": 12,
        "detail": "it cannot be reached: connection refused",
        "cure": "Check url",
    }
    told["clock"] = {"synchronised": False, "error_ms": None, "boot_id": "b"}
    told["disk"] |= {"used": told["disk"]["quota"], "held": "the store is full"}


def _many(told: dict[str, Any]) -> None:
    told["sources"] = {f"barn-{number:03}.pen.temperature-and-humidity": source() for number in range(230)}


def _none(told: dict[str, Any]) -> None:
    told |= {"sources": {}, "nodes": {}}


def _hostile(told: dict[str, Any]) -> None:
    last = [[HOSTILE, HOSTILE, HOSTILE], ["w" * 200, "u" * 90, 1e300], ["\u202e gnp.exe", None, "\x00\x1b[31m"]]
    example = {"reason": HOSTILE, "detail": HOSTILE * 5, "payload": HOSTILE * 9}
    one = source(last=last, detail=HOSTILE * 3, up=False, driver=HOSTILE, example=example, rejects={HOSTILE: 7})
    told["sources"] = {HOSTILE: one, "x" * 63: one}
    told["nodes"] = {HOSTILE: told["nodes"]["coop"] | {"ok": False, "detail": HOSTILE, "url": HOSTILE, "cure": HOSTILE}}
    told["problems"] = [one.json() for one in away(HOSTILE, "y" * 200)]


@pytest.mark.parametrize("change", [_ill, _many, _none, _hostile], ids=lambda change: change.__name__[1:])
async def test_it_stands_whatever_happens(opened, gateway: PageGateway, axe: str, picture, change: Any) -> None:
    from urllib.parse import quote

    gateway.change = change
    gateway.minutes.filled[HOSTILE, HOSTILE] = wave(1, 1, days=0.1)
    seen = await opened("/")
    targets = ["/", "/nodes", "/device"] + [f"/source/{quote(HOSTILE, safe='')}"] * (change is _hostile)
    for number, target in enumerate(targets):
        await seen.go(target)
        await seen.fits()
        assert not await violations(seen, axe), target
        await picture(seen.page, f"{change.__name__[1:]}-{number}", whole=change is not _many)
        await seen.page.set_viewport_size({"width": 360, "height": 740})
        assert await seen.page.locator("img, iframe, pre ~ img").count() == 0
        assert await seen.page.locator("script:not([src^='/assets/'])").count() == 0
    if change is _ill:
        await seen.go("/")
        assert "Source climate is away" in await seen.text("#headline")
        assert "Plug it in" in await seen.text('[data-problem="source-away"]')


async def test_a_chart_shows_gaps(opened, gateway: PageGateway) -> None:
    seen = await opened("/source/climate?value=temp&span=hour")
    strokes = "document.querySelector('.chart .line').getAttribute('d').split('M').length - 1"
    assert await seen.page.evaluate(strokes) == 2
    assert await seen.page.locator(".chart .gap").count() == 1
    await seen.page.get_by_text("As a table").click()
    assert "no readings" in await seen.text("table")
    assert "temp, the last hour" in await seen.text("caption")
    await seen.page.get_by_role("link", name="Week").click()
    await seen.until("document.querySelector('#chart-t').textContent === 'temp, the last week'")


async def test_the_first_paint_is_small(opened, gateway: PageGateway, tell: Tell) -> None:
    seen = await opened(None)
    client = await seen.context.new_cdp_session(seen.page)
    await client.send("Network.enable")
    sizes: list[int] = []
    client.on("Network.loadingFinished", lambda told: sizes.append(int(told["encodedDataLength"])))
    await seen.go("/")
    await seen.sees("All well", "#headline")
    assert len(sizes) >= 3
    assert sum(sizes) < 100_000
    tell(f"first paint: {sum(sizes) / 1000:.1f} kB in {len(sizes)} answers, 10 sources")


async def test_without_a_script(opened, gateway: PageGateway, picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "REFRESH_S", 1)
    seen = await opened("/", java_script_enabled=False)
    assert "All well: 10 sources, stored by 2 of 2 nodes" in await seen.text("#headline")
    assert "21.34" in await seen.text("#part-sources")
    assert await seen.page.locator("noscript").count() == 1
    await picture(seen.page, "without-a-script")
    for name in ("Chain", "Nodes", "Device", "Events", "Doctor", "Sources"):
        await seen.page.get_by_role("link", name=name, exact=True).first.click()
        assert await seen.page.locator("h1").count() == 1
    await seen.page.get_by_role("link", name="climate").click()
    assert await seen.page.locator("h1").inner_text() == "climate"
    gateway.change = lambda told: told["sources"]["climate"]["last"][0].__setitem__(2, 33.25)
    await seen.sees("33.25", "#part-values")  # it comes anew by itself
