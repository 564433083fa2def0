"""The picture in README: `pytest tests/browser/test_picture.py --write` makes docs/page.png when the page changes."""

import asyncio
import base64
import shutil
from pathlib import Path
from typing import Any

import pytest
from fakes.page_gateway import PageGateway, still
from fakes.status_sample import NOW_MS
from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="session")

DOCS = Path(__file__).parents[2] / "docs"
SHEET = """
<style>
body {{ margin: 0; padding: 36px; background: #d9d6ca; display: flex; gap: 28px; align-items: flex-start; }}
img {{ border-radius: 14px; box-shadow: 0 2px 18px #0003; display: block; }}
</style>
<img src="data:image/png;base64,{wide}" width="900"><img src="data:image/png;base64,{phone}" width="300">
"""


async def _shot(browser: Browser, url: str, **given: Any) -> str:
    """Without a script, so that nothing counts on."""
    context = await browser.new_context(java_script_enabled=False, device_scale_factor=2, locale="en-GB", **given)
    page = await context.new_page()
    await page.goto(url)
    data = await page.screenshot()
    await context.close()
    return base64.b64encode(data).decode()


async def test_the_picture_of_readme(
    shared: Browser, tmp_path: Path, picture: Any, request: pytest.FixtureRequest
) -> None:
    gateway = await PageGateway.make(tmp_path / "gateway", still(NOW_MS))
    try:
        await gateway.start()
        wide = await _shot(shared, gateway.url, viewport={"width": 1080, "height": 900})
        phone = {"viewport": {"width": 360, "height": 900}, "color_scheme": "dark"}
        small = await _shot(shared, f"{gateway.url}/source/climate?span=day", **phone)
    finally:
        await gateway.stop()
        await gateway.store.close()
    context = await shared.new_context(viewport={"width": 1300, "height": 822})
    page = await context.new_page()
    await page.set_content(SHEET.format(wide=wide, phone=small))
    path = await picture(page, "page")
    await context.close()
    assert path.stat().st_size > 50_000
    if request.config.getoption("--write", default=False):
        await asyncio.to_thread(shutil.copy, path, DOCS / "page.png")
    assert (DOCS / "page.png").is_file()
