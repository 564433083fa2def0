"""A real browser, Debian's chromium without a window, and axe for accessibility. Pictures go to build/pictures."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fakes.page_gateway import PageGateway
from playwright.async_api import Browser, BrowserContext, Error, Page, async_playwright

PICTURES = Path(__file__).parents[2] / "build" / "pictures"
AXE = "axe-core@4.14.1"
PHONE = {"width": 360, "height": 740}

Open = Callable[..., Awaitable["Seen"]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write", action="store_true", help="make docs/page.png anew")


class Seen:
    """A page in a browser, and what it did that it should not: errors, and requests to elsewhere."""

    def __init__(self, context: BrowserContext, page: Page, home: str) -> None:
        self.context, self.page, self.home = context, page, home
        self.faults: list[str] = []
        self.may_fail = False  # to reach the gateway, while it is away
        page.on("console", lambda message: self._note("console", message.type, message.text))
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("request", lambda request: self._elsewhere(request.url))
        page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))

    def _note(self, what: str, kind: str, text: str) -> None:
        if not (self.may_fail and ("net::ERR" in text or "Failed to load resource" in text)):
            self.faults.append(f"{what} {kind}: {text}")

    def _elsewhere(self, url: str) -> None:
        if not url.startswith(f"{self.home}/"):
            self.faults.append(f"a request to {url}")

    async def go(self, target: str) -> None:
        await self.page.goto(f"{self.home}{target}")

    async def text(self, selector: str = "body") -> str:
        return await self.page.locator(selector).first.inner_text()

    async def sees(self, text: str, selector: str = "body") -> None:
        """Returns when it is there."""
        await self.page.locator(selector).filter(has_text=text).first.wait_for(timeout=10_000)

    async def until(self, expression: str) -> None:
        """Returns when an expression is true. Playwright's own way needs `unsafe-eval`, which the page forbids."""
        async with asyncio.timeout(15):
            while not await self._holds(expression):
                await asyncio.sleep(0.02)

    async def _holds(self, expression: str) -> bool:
        try:
            return bool(await self.page.evaluate(expression))
        except Error:  # another page comes just now
            return False

    async def fits(self) -> None:
        """Nothing is wider than the window, and nothing is so narrow that its words break."""
        wide = await self.page.evaluate(
            "[...document.querySelectorAll('body *')].filter(one => one.getBoundingClientRect().right > innerWidth + 1"
            " && !one.closest('.scroll, pre, .sr, .skip')).map(one => one.outerHTML.slice(0, 100))"
        )
        assert not wide
        assert await self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        narrow = await self.page.evaluate(
            "[...document.querySelectorAll('body :is(a, b, p, span, h1, h2, h3, dt, dd)')].filter(one => one.innerText"
            " && one.innerText.length > 8 && one.clientHeight > 5 * one.clientWidth)"
            ".map(one => one.outerHTML.slice(0, 100))"
        )
        assert not narrow


@contextlib.asynccontextmanager
async def _chromium() -> AsyncIterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=program, args=args)
        try:
            yield chromium
        finally:
            await chromium.close()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium, headless. A page of it has a size, a colour scheme and languages of its own."""
    async with _chromium() as chromium:
        yield chromium


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared() -> AsyncIterator[Browser]:
    """The same for all tests that run in the session's loop."""
    async with _chromium() as chromium:
        yield chromium


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(tmp_path: Path) -> AsyncIterator[PageGateway]:
    """A gateway with ten sources, started."""
    made = await PageGateway.make(tmp_path / "made")
    try:
        await made.start()
        yield made
    finally:
        await made.stop()
        await made.store.close()


@pytest_asyncio.fixture(loop_scope="session")
async def opened(shared: Browser, gateway: PageGateway) -> AsyncIterator[Open]:
    """Opens a page: a telephone's, light and English where nothing else is said. It must end without a fault."""
    seen: list[Seen] = []

    async def begin(target: str | None = "/", *, home: str = "", **context: Any) -> Seen:
        given = {"viewport": PHONE, "locale": "en-GB", "color_scheme": "light", "timezone_id": "UTC"} | context
        made = await shared.new_context(**given)
        made.set_default_timeout(10_000)
        seen.append(Seen(made, await made.new_page(), home or gateway.url))
        if target is not None:
            await seen[-1].go(target)
        return seen[-1]

    yield begin
    for one in seen:
        await one.context.close()
    assert not [fault for one in seen for fault in one.faults]


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core's script (accessibility rules of WCAG), fetched outside the project."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("axe")
    try:
        subprocess.run(["npm", "pack", "--silent", AXE], cwd=folder, check=True, capture_output=True, timeout=90)
    except (subprocess.SubprocessError, OSError):
        pytest.skip("axe-core does not install with npm here")
    (packed,) = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


@pytest.fixture
def picture() -> Callable[..., Awaitable[Path]]:
    """Keeps a picture of a page; whole: however long it is."""

    async def take(page: Page, name: str, *, whole: bool = False) -> Path:
        await asyncio.to_thread(PICTURES.mkdir, parents=True, exist_ok=True)
        path = PICTURES / f"{name}.png"
        if whole:
            height = await page.evaluate("document.documentElement.scrollHeight")
            width = await page.evaluate("innerWidth")
            await page.set_viewport_size({"width": width, "height": min(height, 6_000)})
        await page.screenshot(path=path)
        return path

    return take
