"""A page that stays open: it follows the gateway, keeps its place, and says when it is not right any more."""

from typing import Any

import pytest
from fakes.page_gateway import PageGateway
from fakes.page_sample import away

from gateway.core import limits

pytestmark = pytest.mark.asyncio(loop_scope="session")

MARK = "window.mark = 1; document.querySelector('.source').mark = 1"


async def test_values_follow_without_losing_ones_place(opened, gateway: PageGateway) -> None:
    seen = await opened("/")
    page = seen.page
    await page.evaluate(MARK)
    field = page.get_by_role("searchbox")
    await field.fill("cli")
    await page.evaluate("document.querySelector('[name=q]').setSelectionRange(1, 2)")
    gateway.change = lambda told: told["sources"]["climate"]["last"][0].__setitem__(2, 33.25)
    await seen.sees("33.25", "[data-key=climate]")
    assert await field.input_value() == "cli"
    assert await page.evaluate("document.activeElement.name + document.activeElement.selectionStart") == "q1"
    assert await page.evaluate("window.mark + document.querySelector('.source').mark") == 2
    link = page.get_by_role("link", name="climate")
    await link.focus()
    gateway.change = lambda told: told["sources"]["climate"]["last"][0].__setitem__(2, 34.5)
    await seen.sees("34.5", "[data-key=climate]")
    assert await page.evaluate("document.activeElement.textContent") == "up climate"


async def test_sources_come_and_go(opened, gateway: PageGateway) -> None:
    seen = await opened("/")
    page = seen.page
    await page.evaluate(MARK)
    gateway.change = lambda told: told["sources"].pop("gps")
    await page.locator("[data-key=gps]").wait_for(state="detached")
    await seen.sees("All well: 9 sources", "#headline")

    def more(told: dict[str, Any]) -> None:
        told["sources"]["barn"] = told["sources"]["meter"]
        told["sources"]["gps"] |= {"up": False}

    gateway.change = more
    await page.locator("[data-key=barn]").wait_for()
    names = await page.locator(".source").evaluate_all("all => all.map(one => one.dataset.key)")
    assert names == ["gps", *sorted(set(names) - {"gps", "barn"}), "barn"]
    assert len(names) == 11
    assert await page.evaluate("window.mark + document.querySelector('[data-key=climate]').mark") == 2


async def test_a_problem_comes_with_what_to_do_and_goes(opened, gateway: PageGateway) -> None:
    seen = await opened("/")
    gateway.change = lambda told: told.update(problems=[one.json() for one in away("gps")])
    await seen.sees("Source gps is away", "#headline")
    assert "Plug it in" in await seen.text('[data-problem="source-away"]')
    gateway.change = lambda told: None
    await seen.sees("All well", "#headline")
    assert await seen.page.locator("[data-problem]").count() == 0
    assert await seen.page.locator("[aria-live=polite]").count() == 1
    assert await seen.page.locator("[aria-live=polite] [aria-live=off] time").count() == 1


async def test_ages_are_counted_here(opened, gateway: PageGateway) -> None:
    seen = await opened("/")
    first = await seen.text("[data-key=well-pump] time")
    await seen.until(f"document.querySelector('[data-key=well-pump] time').textContent !== {first!r}")


async def test_the_gateway_restarts_under_the_page(opened, gateway: PageGateway, picture) -> None:
    seen = await opened("/")
    page = seen.page
    await seen.sees("All well", "#headline")
    assert not await page.locator("#stale").is_visible()
    await page.evaluate("window.mark = 1")
    seen.may_fail = True
    await gateway.stop()
    await seen.sees("Not live since ", "#stale")
    assert "What you see is from then." in await seen.text("#stale")
    assert await page.evaluate("getComputedStyle(document.querySelector('#part-sources')).filter") != "none"
    await seen.fits()
    await picture(seen.page, "stale")
    gateway.change = lambda told: told["sources"].pop("gps")
    await gateway.start()
    await page.locator("#stale").wait_for(state="hidden")
    await seen.sees("All well: 9 sources", "#headline")
    assert await page.evaluate("window.mark") == 1  # the same page, live again


async def test_another_version_is_loaded(opened, gateway: PageGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.web.pages import frame

    seen = await opened("/")
    await seen.sees("All well", "#headline")
    await seen.page.evaluate("window.mark = 1")
    seen.may_fail = True
    await gateway.stop()
    await seen.sees("Not live", "#stale")
    monkeypatch.setattr(frame, "__version__", "9.9.9")
    await gateway.start()
    await seen.page.wait_for_event("load")
    assert await seen.page.evaluate("window.mark === undefined && document.body.dataset.build.startsWith('9.9.9')")
    await seen.sees("All well", "#headline")


async def test_a_gateway_that_falls_silent_is_noticed(opened, gateway: PageGateway, monkeypatch) -> None:
    monkeypatch.setattr(limits, "LIVE_BEAT_S", 1e9)
    seen = await opened(None)
    await seen.page.clock.install()
    await seen.go("/")
    await seen.sees("All well", "#headline")
    await seen.page.clock.run_for(5_000)
    assert not await seen.page.locator("#stale").is_visible()
    await seen.page.clock.run_for(3_000)
    await seen.sees("Not live since ", "#stale")


async def test_a_page_in_the_background_holds_no_connection(opened, gateway: PageGateway) -> None:
    from fakes.collector import until

    seen = await opened("/")
    await seen.sees("All well", "#headline")
    readers = (await gateway.site())._readers
    await until(lambda: readers.count == 1)
    hide = "Object.defineProperty(document, 'hidden', {get: () => %s, configurable: true});"
    event = "document.dispatchEvent(new Event('visibilitychange'))"
    await seen.page.evaluate(hide % "true" + event)
    await until(lambda: readers.count == 0)
    gateway.change = lambda told: told["sources"].pop("gps")
    await seen.page.evaluate(hide % "false" + event)
    await seen.sees("All well: 9 sources", "#headline")


async def test_too_many_watch(opened, gateway: PageGateway, monkeypatch) -> None:
    monkeypatch.setattr(limits, "LIVE_READERS", 0)
    seen = await opened(None)
    seen.may_fail = True
    await seen.go("/")
    await seen.sees("Not live since ", "#stale")
    monkeypatch.setattr(limits, "LIVE_READERS", 32)
    await seen.page.locator("#stale").wait_for(state="hidden")
