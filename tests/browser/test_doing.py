"""What a person does: by keyboard alone, signing in from the network, the doctor, a receipt taken along."""

import asyncio
import json
import re
import shutil
from pathlib import Path

import pytest
from fakes.broker import free_port
from fakes.field import Field, fieldgate
from fakes.page_gateway import PageGateway
from fakes.relay import relay

from gateway import verify
from gateway.web.pages.receipt import policy_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

RING = "(one => getComputedStyle(one, one.closest('h3') ? '::after' : null).outlineStyle)(document.activeElement)"
COMPUTER = """
[seal]
max_age_s = 1
[source.computer]
driver = "system"
every_s = 1
"""
SMALL = """
[...document.querySelectorAll('a, button, input:not([type=hidden]), summary')].filter(one => {
  const height = one.getBoundingClientRect().height, whole = getComputedStyle(one, '::after').position === 'absolute'
  return height > 0 && height < 43 && !whole && !one.closest('footer, .facts, .skip')
}).map(one => one.outerHTML.slice(0, 90))
"""


async def _focused(seen) -> str:
    return str(await seen.page.evaluate("document.activeElement.innerText || document.activeElement.name"))


async def test_by_keyboard_alone(opened, gateway: PageGateway) -> None:
    seen = await opened("/")
    press = seen.page.keyboard.press
    await press("Tab")
    assert await _focused(seen) == "Skip to the content"
    assert await seen.page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    await press("Enter")
    assert await seen.page.evaluate("document.activeElement.id") == "main"
    order = []
    for _ in range(3):
        await press("Tab")
        order.append(await _focused(seen))
        assert await seen.page.evaluate(RING) == "solid"
    assert order[:2] == ["q", "Find"]
    assert "climate" in order[2]
    await press("Enter")
    await seen.sees("climate", "h1")
    link = seen.page.get_by_role("link", name="Day")
    await link.focus()
    await press("Enter")
    await seen.until("document.querySelector('#chart-t').textContent === 'temp, the last day'")
    await seen.page.get_by_text("As a table").focus()
    await press("Enter")
    assert await seen.page.locator("table").is_visible()


async def test_targets_are_large_enough_for_a_thumb(opened, gateway: PageGateway) -> None:
    seen = await opened(None)
    for target in ("/", "/source/climate", "/chain", "/doctor", gateway.receipt, "/login"):
        await seen.go(target)
        small = await seen.page.evaluate(SMALL)
        assert not small, target


async def test_the_language_is_switched_in_sight(opened, gateway: PageGateway) -> None:
    seen = await opened("/chain")
    await seen.page.get_by_role("button", name="简体中文").click()
    await seen.sees("链", "h1")
    assert seen.page.url.endswith("/chain")
    assert await seen.page.evaluate("document.documentElement.lang") == "zh-CN"
    await seen.page.get_by_role("button", name="English").click()
    await seen.sees("Chain", "h1")


async def test_finding_a_source(opened, gateway: PageGateway) -> None:
    seen = await opened("/")
    await seen.page.get_by_role("searchbox").fill("WELL")
    await seen.page.get_by_role("button", name="Find").click()
    await seen.page.locator("[data-key=climate]").wait_for(state="detached")
    assert await seen.page.locator(".source").count() == 1
    gateway.change = lambda told: told["sources"]["well-pump"]["last"][0].__setitem__(2, 77.5)
    await seen.sees("77.5", "[data-key=well-pump]")  # what was asked for is what is watched


async def test_the_doctor_from_the_page(opened, gateway: PageGateway, picture) -> None:
    seen = await opened("/doctor")
    await seen.page.get_by_role("button", name="Look now").click()
    await seen.sees("Plug it in", '[data-problem="source-away"]')
    assert gateway.done == ["doctor"]
    await picture(seen.page, "doctor-found", whole=True)
    gateway.found = []
    await seen.page.get_by_role("button", name="Look now").click()
    await seen.sees("Nothing was found.")


async def test_actions_after_signing_in(opened, gateway: PageGateway) -> None:
    seen = await opened("/nodes")
    assert await seen.page.get_by_role("button", name="Ask the nodes now").count() == 0
    await seen.page.get_by_role("link", name="Sign in", exact=True).click()
    await seen.page.get_by_label("One-time code").fill("222222")
    seen.may_fail = True
    await seen.page.get_by_role("button", name="Sign in").click()
    await seen.sees("This is not the code", "[role=alert]")
    await seen.page.get_by_label("One-time code").fill(await gateway.code())
    await seen.page.keyboard.press("Enter")
    await seen.sees("All well", "#headline")
    await seen.go("/nodes")
    await seen.page.get_by_role("button", name="Ask the nodes now").click()
    await seen.sees("Nodes", "h1")
    await seen.go("/device")
    await seen.page.get_by_role("button", name="Reload the configuration").click()
    await seen.sees("read again and applied", "h1")
    assert gateway.done == ["sync", "reload"]
    await seen.page.get_by_role("button", name="Sign out").click()
    await seen.sees("Sign in", "header")


async def test_a_receipt_is_taken_along(opened, gateway: PageGateway, picture, tmp_path: Path) -> None:
    seen = await opened("/chain/3")
    await seen.page.locator("#part-readings a").first.click()
    await seen.sees("Every step was passed.")
    steps = await seen.page.locator(".steps li").all_inner_texts()
    assert len(steps) == 7
    assert all("passed" in step for step in steps)
    assert "section 10, tlog-proof" in steps[0]
    assert "not a proof" in await seen.text(".caution")
    async with seen.page.expect_download() as waiting:
        await seen.page.get_by_role("link", name="Take the receipt as a file").click()
    file = await waiting.value
    await file.save_as(tmp_path / "receipt")
    assert file.suggested_filename.endswith(".tlog-proof")
    data = await asyncio.to_thread((tmp_path / "receipt").read_bytes)
    policy = policy_of((await gateway.site())._desk)
    verified = verify.verify_receipt(data, policy)
    assert verified.header.height == 3
    path = await picture(seen.page, "receipt-of-a-block", whole=True)
    if shutil.which("zbarimg") is None:
        pytest.skip("zbarimg is not installed")
    reader = await asyncio.create_subprocess_exec(
        "zbarimg", "--quiet", "--raw", str(path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await reader.communicate()
    target = out.decode().strip()
    assert re.fullmatch(rf"{re.escape(gateway.url)}/receipt/s-\d\?at=\d+", target)
    await seen.page.goto(target)
    await seen.sees("Every step was passed.")


async def test_signing_in_from_the_network(opened, tmp_path: Path, gateway: PageGateway, picture) -> None:
    field = Field(tmp_path, COMPUTER, with_node=False)
    await field.make()
    elsewhere = f"127.0.0.3:{free_port()}"
    config = field.home / "fieldgate.toml"
    text = await asyncio.to_thread(config.read_text)
    await asyncio.to_thread(config.write_text, f'{text}\nauthority = ["{elsewhere}"]\n')
    async with field.started():
        await field.up()
        host, port = elsewhere.split(":")
        async with relay(field.web_port, listen=(host, int(port)), come_from="127.0.0.2"):
            seen = await opened("/chain", home=f"http://{elsewhere}")
            await seen.sees("Sign in", "h1")
            await seen.fits()
            await picture(seen.page, "from-the-network")
            assert "field.example" not in await seen.text()
            told = json.loads(await fieldgate("login", "--json", cwd=field.home))
            assert told["here"] == f"http://127.0.0.1:{field.web_port}"
            await seen.page.get_by_label("One-time code").fill(told["code"].lower())
            await seen.page.get_by_role("button", name="Sign in").click()
            await seen.sees("All well", "#headline")
            await seen.page.locator("[data-key=computer] .spark path").wait_for(state="attached")
            await seen.page.get_by_role("link", name="computer").click()
            await seen.page.locator(".chart .line").wait_for(state="attached")
            await seen.go("/events")
            await seen.sees("started", "#part-events")
            await seen.go("/chain")
            await seen.sees("here only", "#part-blocks")
            await seen.go("/")
            assert await seen.page.evaluate("document.cookie") == ""  # no script sees it
            assert await seen.page.evaluate("document.body.dataset.live") == "/live/"
            seen.may_fail = True  # sessions are not kept on disk
            assert await field.gateway.end() == 0
            await seen.sees("Not live since ", "#stale")
            await field.gateway.start()
            await seen.page.wait_for_url("**/login", timeout=30_000)
        assert await field.gateway.end() == 0, field.gateway.words()
