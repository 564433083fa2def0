"""A whole gateway as whoever watches it sees it: its log, its metrics, its readiness; and never one of its secrets."""

import asyncio
import json
import shutil
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fakes.broker import Mosquitto
from fakes.field import CLI, Field, ran, until
from prometheus_client.parser import text_string_to_metric_families

from gateway.core import limits

PASSWORD, WRONG, TOKEN = "the-broker-s-password", "not-the-broker-s-password", "the-token-of-the-watch"
SOURCES = """
[broker.local]
url = "{url}"
user = "fieldgate"
password = "file:{folder}/password"
[source.climate]
driver = "mqtt"
broker = "local"
topic = "climate"
values = {{ t = {{ pointer = "/t", unit = "Cel" }} }}
[status]
broker = "local"
every_s = 1
[seal]
max_age_s = 0.5
"""


class Watched(Field):
    """A gateway with a broker, its status announced, and a token for the watch; all it ever showed is in `shown`."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        super().__init__(folder, SOURCES.format(url=broker.url, folder=folder / "gateway"))
        self.shown = ""

    async def make(self) -> None:
        await super().make()
        self.write("password", PASSWORD)
        self.write("token", TOKEN)
        config = self.home / "fieldgate.toml"
        listen = "[web]\n"
        config.write_text(config.read_text().replace(listen, f'{listen}watch_token = "file:{self.home}/token"\n'))

    def write(self, name: str, secret: str) -> None:
        path = self.home / name
        path.touch(mode=0o600)
        path.write_text(secret + "\n")

    async def ask(self, path: str, **headers: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{self.web_port}{path}", headers=headers) as response,
        ):
            text = await response.text()
            self.shown += text
            return response.status, text

    async def up(self) -> None:
        """Returns when control socket and port are answered."""
        await super().up()

        def listens() -> bool:
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", self.web_port)) == 0

        await until(listens, f"a page\n{self.gateway.words()}")

    async def metrics(self) -> dict[str, dict[str, float]]:
        """By name, then by the labels' values."""
        _, text = await self.ask("/metrics")
        return {
            sample.name: {
                "/".join(other.labels.values()): other.value for other in family.samples if other.name == sample.name
            }
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def records(self) -> list[dict[str, Any]]:
        out = (await ran("logs", "--json", cwd=self.home)).out
        self.shown += out
        return [json.loads(line) for line in out.splitlines()]

    async def told(self, condition: str) -> list[tuple[str, bool]]:
        """(subject, holds) of each record of a condition."""
        return [(one["subject"], one["holds"]) for one in await self.records() if one["condition"] == condition]


@pytest.fixture
def broker(tmp_path: Path) -> Mosquitto:
    return Mosquitto(tmp_path / "broker", password=("fieldgate", PASSWORD))


async def test_a_day_in_the_life_of_a_gateway(tmp_path: Path, broker: Mosquitto) -> None:
    field = Watched(tmp_path / "field", broker)
    await field.make()
    with broker:
        async with field.started():
            await field.up()
            await _ready(field)
            await _publish(broker, '{"t": 21}', '{"t": 22}', "not json")
            await _counts(field)
            await asyncio.to_thread(broker.stop)
            await _condition(field, "broker-away", [("local", True)])
            await _condition(field, "status-unsent", [("local", True)])
            await asyncio.to_thread(broker.start)
            await _condition(field, "broker-away", [("local", True), ("local", False)])
            await _condition(field, "status-unsent", [("local", True), ("local", False)])
            follower = await _follow(field)
            await field.gateway.end()
            out, err = await follower.communicate()
            assert follower.returncode == 3
            assert b"stopping" in out or b"not running" in err
    _no_secret(field)
    lines = field.gateway.words().splitlines()
    assert sum("Broker local is away" in line for line in lines) == 2  # once when it began, once when it was over
    assert {line.split()[0] for line in lines} <= {"INFO", "WARNING", "ERROR"}
    loud = {line.split()[1] for line in lines if not line.startswith("INFO")}
    assert loud == {"gateway.watch:"}  # nobody else tells of the same


async def _ready(field: Watched) -> None:
    """The test's machine may not know its clock to be right: the rest is."""
    async with asyncio.timeout(60):
        while True:
            code, text = await field.ask("/readyz")
            parts = json.loads(text)
            assert (code == 200) == parts["ready"]
            if parts["journal"]["ok"] and parts["cosignature"]["age_s"] is not None:
                break
            await asyncio.sleep(0.05)
    assert parts["cosignature"]["ok"]
    assert parts["ready"] == parts["clock"]["ok"]
    assert (await field.ask("/healthz"))[0] == 200
    for path in ("/metrics", "/healthz", "/readyz"):
        assert (await field.ask(path, Via="1.1 proxy"))[0] == 401
        assert (await field.ask(path, Via="1.1 proxy", Authorization=f"Bearer {TOKEN}"))[0] in {200, 503}


async def _publish(broker: Mosquitto, *payloads: str) -> None:
    pub = shutil.which("mosquitto_pub")
    assert pub is not None
    for payload in payloads:
        login = ("-u", "fieldgate", "-P", PASSWORD)
        command = (pub, "-p", str(broker.port), *login, "-q", "1", "-t", "climate", "-m", payload)
        process = await asyncio.create_subprocess_exec(*command)
        assert await process.wait() == 0


async def _counts(field: Watched) -> None:
    async with asyncio.timeout(60):
        while (await field.metrics())["fieldgate_readings_received_total"]["climate"] < 3:
            await asyncio.sleep(0.05)
    told = await field.metrics()
    state = await field.status()
    assert told["fieldgate_readings_stored_total"]["climate"] == 2
    assert list(told["fieldgate_readings_rejected_total"].values()) == [1]
    assert told["fieldgate_readings_received_total"]["climate"] == state["sources"]["climate"]["received"]
    assert told["fieldgate_source_up"]["climate"] == 1
    for file in ("fieldgate.db", "sign-state.db"):
        assert told["fieldgate_store_flushes_total"][file] >= told["fieldgate_store_commits_total"][file] > 0
    assert told["process_cpu_seconds_total"][""] > 0


async def _condition(field: Watched, condition: str, wanted: list[tuple[str, bool]]) -> None:
    async with asyncio.timeout(60):
        while (told := await field.told(condition)) != wanted:
            assert told == wanted[: len(told)]
    held = [key for key in (await field.metrics()).get("fieldgate_condition", {}) if key.startswith(condition)]
    assert bool(held) == wanted[-1][1]


async def _follow(field: Watched) -> asyncio.subprocess.Process:
    """`fieldgate logs --follow`, once it has shown what there is."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*CLI, "logs", "-f", cwd=field.home, stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    assert await process.stdout.readline()
    return process


async def test_what_lacks_its_secret_harms_nothing_else(tmp_path: Path, broker: Mosquitto) -> None:
    """The broker's password and the token are not there at the start: all else works, and a reload takes them in."""
    field = Watched(tmp_path / "field", broker)
    await field.make()
    for name in ("password", "token"):
        (field.home / name).unlink()
    with broker:
        async with field.started():
            await field.up()
            await _condition(field, "broker-secret", [("local", True)])
            await _condition(field, "watch-token-lacking", [("", True)])
            (told,) = [p for p in (await field.status())["problems"] if p["condition"] == "watch-token-lacking"]
            assert "token" in told["what"] and "watch_token" in told["cure"]
            assert (await field.status())["sources"]["gateway"]["stored"] > 0
            assert (await field.ask("/metrics", Via="1.1 proxy", Authorization=f"Bearer {TOKEN}"))[0] == 401
            refused = await ran("reload", cwd=field.home)
            assert refused.code == 2
            assert "password" in refused.err
            field.write("password", PASSWORD)
            field.write("token", TOKEN)
            assert (await ran("reload", cwd=field.home)).code == 0
            await _condition(field, "broker-secret", [("local", True), ("local", False)])
            await _publish(broker, '{"t": 21}', '{"t": 22}', "not json")
            await _counts(field)
    _no_secret(field)


async def test_no_secret_is_ever_told(tmp_path: Path, broker: Mosquitto) -> None:
    """Everything that has one fails, with --debug: the log, its ring, metrics, readiness and status say none."""
    field = Watched(tmp_path / "field", broker)
    await field.make()
    field.write("password", WRONG)
    with broker:
        try:
            await field.gateway.start("--debug")
            await field.up()
            await until(lambda: "user and password" in field.gateway.words(), "a refusal of the broker")
            assert json.dumps(await field.status())
            for header in (f"Bearer {TOKEN}x", f"Bearer {WRONG}"):
                assert (await field.ask("/readyz", Via="1.1 x", Authorization=header))[0] == 401
            await _condition(field, "status-unsent", [("local", True)])
            for path in ("/metrics", "/readyz", "/status.json"):
                await field.ask(path)
            field.shown += json.dumps(await field.status())
        finally:
            await field.gateway.end()
    _no_secret(field)
    assert "DEBUG" in field.gateway.words()
    assert len(await field.records()) <= limits.RING_RECORDS


def _no_secret(field: Watched) -> None:
    keys = [path.read_text().split("+", 4)[-1].strip() for path in field.home.glob("*.key")]
    assert keys
    for secret in (PASSWORD, WRONG, TOKEN, *keys):
        assert secret not in field.shown
        assert secret not in field.gateway.words()
