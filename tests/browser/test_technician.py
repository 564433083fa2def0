"""A technician's visit: each thing is broken in turn, and cause and cure stand in `doctor` and on the page.

The installation is made by the commands of README's "A first hour"; the sensors are those of `fieldgate simulate`.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fakes.broker import Mosquitto
from fakes.card import Card
from fakes.configs import vkey
from fakes.field import CLI, Field, Process, fieldgate
from fakes.telling import Tell
from playwright.async_api import Browser, Error, Page

A_MINUTE_S = 60.0
PHONE = {"width": 360, "height": 740}

SOURCES = """
[seal]
max_age_s = 1
heartbeat_s = 5
[broker.local]
url = "mqtt://127.0.0.1:{port}"
user = "fieldgate"
password = "file:{password}"
keepalive_s = 5
[source.climate]
driver = "mqtt"
broker = "local"
topic = "farm/house3/climate"
values = {{ temp = {{ pointer = "/temperature", unit = "Cel" }}, rh = {{ pointer = "/humidity", unit = "%RH" }} }}
[source.weighbridge]
driver = "scale"
variant = "st-gs"
port = "{scale}"
"""


class Visit:
    """The installation, and what a technician sees of it."""

    def __init__(self, folder: Path, page: Page, data: Path | None = None) -> None:
        self.folder, self.page = folder, page
        self.password = folder / "mqtt.password"
        _secret(self.password, "right-one")
        self.broker = Mosquitto(folder / "broker", password=("fieldgate", "right-one"))
        scale = folder / "scale"
        text = SOURCES.format(port=self.broker.port, password=self.password, scale=scale)
        self.field = Field(folder, text, data=data)
        at = ("climate", self.broker.url, "--user", "fieldgate", "--password", f"file:{self.password}")
        self.climate = Process("climate", folder, *CLI, "simulate", *at)
        self.scale = Process("scale", folder, *CLI, "simulate", "scale", str(scale))

    @contextlib.asynccontextmanager
    async def begun(self) -> AsyncIterator[None]:
        await self.field.make()
        await asyncio.to_thread(self.broker.start)
        try:
            await self.climate.start()
            await self.scale.start()
            async with self.field.started():
                await self.open()
                yield
        finally:
            for process in (self.climate, self.scale):
                if process.running:
                    await process.end(signal.SIGKILL)
            await asyncio.to_thread(self.broker.stop)

    async def open(self) -> None:
        await self.field.up()
        async with asyncio.timeout(A_MINUTE_S):
            while True:
                with contextlib.suppress(Error):  # nobody listens yet
                    await self.page.goto(f"http://127.0.0.1:{self.field.web_port}/")
                    return
                await asyncio.sleep(0.1)

    async def well(self) -> None:
        """Returns when the page, left open, says that all is well."""
        await self.page.locator("#headline", has_text="All well").wait_for(timeout=A_MINUTE_S * 1000)

    async def page_tells(self, condition: str, *words: str) -> None:
        """The page, left open, comes to say what is wrong and what to do."""
        problem = self.page.locator(f'[data-problem="{condition}"]').first
        await problem.wait_for(timeout=A_MINUTE_S * 1000)
        told = await problem.inner_text()
        assert all(word in told for word in words), told
        width = await self.page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"]

    async def doctor(self) -> list[dict[str, Any]]:
        """What `fieldgate doctor` finds."""
        process = await asyncio.create_subprocess_exec(
            *CLI, "doctor", "--json", cwd=self.field.home, env=self.field.gateway.env, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(A_MINUTE_S):
            out, _ = await process.communicate()
        found: list[dict[str, Any]] = json.loads(out)["findings"]
        return found

    async def doctor_tells(self, condition: str, subject: str, *words: str) -> None:
        found = await self.doctor()
        ours = [one for one in found if one["condition"] == condition and subject in one["subject"]]
        assert ours, [(one["condition"], one["subject"], one["what"]) for one in found]
        told = " ".join(f"{one['what']} {one['cure']}" for one in ours)
        assert all(word in told for word in words), told


def _secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text + "\n")


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    context = await browser.new_context(viewport={"width": 360, "height": 740}, locale="en-GB")
    yield await context.new_page()
    await context.close()


async def test_each_thing_is_broken_and_found(tmp_path: Path, page: Page, tell: Tell) -> None:
    visit = Visit(tmp_path, page)
    async with visit.begun():
        await visit.well()
        resident = _resident(visit.field.gateway.pid)
        tell(f"a gateway whose page is open: {resident / 2**20:.1f} MiB resident")
        assert resident < 64 * 2**20
        assert not [one for one in await visit.doctor() if one["severity"] == "error"]
        for break_and_mend in (_unplugged, _no_broker, _wrong_password, _wrong_node_key):
            began = asyncio.get_running_loop().time()
            await break_and_mend(visit)
            tell(
                f"{break_and_mend.__name__[1:]}: {asyncio.get_running_loop().time() - began:.1f} s to break, find, mend"
            )
        tell(f"after all that: {_resident(visit.field.gateway.pid) / 2**20:.1f} MiB resident")
        assert await visit.field.gateway.end() == 0, visit.field.gateway.words()


def _resident(pid: int) -> int:
    """Bytes (proc_pid_status(5), VmRSS)."""
    (line,) = (one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


async def _unplugged(visit: Visit) -> None:
    await visit.scale.end(signal.SIGINT)
    await visit.page_tells("port-missing", "weighbridge", "Plug it in")
    await visit.doctor_tells("port-missing", "weighbridge", "Plug it in")
    await visit.scale.start()
    await visit.well()


async def _no_broker(visit: Visit) -> None:
    await asyncio.to_thread(visit.broker.stop)
    await visit.page_tells("broker-away", "nothing listens", "Start the broker")
    await visit.doctor_tells("broker-away", "local", "nothing listens", "Start the broker")
    await asyncio.to_thread(visit.broker.start)
    await visit.well()


async def _wrong_password(visit: Visit) -> None:
    await asyncio.to_thread(visit.broker.stop)
    visit.broker.set_password("fieldgate", "another-one")
    await asyncio.to_thread(visit.broker.start)
    await visit.page_tells("broker-login", "user and password")
    await visit.doctor_tells("broker-login", "local", "user and password")
    assert "right-one" not in json.dumps(await visit.doctor())
    _secret(visit.password, "another-one")
    await fieldgate("reload", cwd=visit.field.home)
    await visit.well()


async def _wrong_node_key(visit: Visit) -> None:
    path = visit.field.home / "fieldgate.toml"
    right = path.read_text()
    (line,) = (one for one in right.splitlines() if one.startswith("seen_key"))
    path.write_text(right.replace(line, f'seen_key = "{vkey("node.example")}"'))
    await fieldgate("reload", cwd=visit.field.home)
    await visit.page_tells("node-key", "seen_key")
    await visit.doctor_tells("node-key", "node", "seen_key")
    await fieldgate("config", "rollback", cwd=visit.field.home)
    assert path.read_text() == right
    await visit.well()


async def test_a_full_disk_is_found(tmp_path: Path, page: Page) -> None:
    with Card(tmp_path / "card", "ext4", mib=24) as card:
        visit = Visit(tmp_path, page, data=card.folder / "data")
        visit.field.sources += '[retention]\nmin_free = "4 MiB"\n'
        async with visit.begun():
            await visit.well()
            filler = card.folder / "film"
            with filler.open("wb") as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            await visit.page_tells("disk-full", "Free some space")
            await visit.doctor_tells("disk-full", "", "Free some space")
            filler.unlink()
            await visit.well()
            assert await visit.field.gateway.end() == 0, visit.field.gateway.words()


async def test_a_clock_that_is_off_is_found(tmp_path: Path, page: Page) -> None:
    libraries = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert libraries, "tests/tools.sh installs it"
    visit = Visit(tmp_path, page)
    away = {"LD_PRELOAD": str(libraries[0]), "FAKETIME": "@2015-01-01 00:00:00", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    visit.field.gateway.env = {**os.environ, **away}
    async with visit.begun():
        await visit.page_tells("clock-off", "2015")
        await visit.doctor_tells("clock-off", "", "2015")
        assert await visit.field.gateway.end() == 0, visit.field.gateway.words()
