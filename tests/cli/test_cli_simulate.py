"""The simulated sensors: what they print is a configuration, what they write is read by the drivers that it names."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import aiomqtt
import pytest
from fakes.broker import Mosquitto
from fakes.field import CLI, Field

DEFAULT_INT = "import signal,os,sys; signal.signal(signal.SIGINT, signal.default_int_handler); "


class Simulated:
    """A running `fieldgate simulate`; `table` is what it printed."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.folder, self.args = folder, args
        self.table = ""

    async def __aenter__(self) -> "Simulated":
        run = DEFAULT_INT + "os.execv(sys.argv[1], sys.argv[1:])"
        command: Sequence[str] = (sys.executable, "-c", run, *CLI, "simulate", *self.args)
        self.process = await asyncio.create_subprocess_exec(
            *command, cwd=self.folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode():
            self.table += line
            if not line.strip() and "[source." in self.table:
                break
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    async def end(self) -> tuple[int | None, str]:
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGINT)  # send_signal would take the exit code from the loop's watcher
        _, err = await self.process.communicate()
        return self.process.returncode, err.decode()


async def _stored(field: Field, *sources: str) -> None:
    async with asyncio.timeout(60):
        while True:
            told = (await field.status())["sources"]
            if all(told[source]["stored"] >= 3 for source in sources):
                return


async def test_what_is_printed_is_a_configuration_that_stores_what_is_simulated(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker")
    await asyncio.to_thread(broker.start)
    try:
        async with (
            Simulated(tmp_path, "climate", broker.url, "--every", "0.05") as climate,
            Simulated(tmp_path, "scale", "scale", "--every", "0.02") as scale,
            Simulated(tmp_path, "ship", "ship", "--every", "0.02") as ship,
        ):
            field = Field(tmp_path, climate.table + scale.table + ship.table, with_node=False)
            await field.make()
            async with field.started():
                await _stored(field, "climate", "weighbridge", "ship")
                assert await field.gateway.end() == 0
            assert await scale.end() == (130, "")
            assert not os.path.lexists(tmp_path / "scale")
    finally:
        await asyncio.to_thread(broker.stop)


async def test_a_broker_that_wants_a_password(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker", password=("sensor", "s3cret-of-a-hen"))
    await asyncio.to_thread(broker.start)
    secret = tmp_path / "password"
    secret.write_text("s3cret-of-a-hen\n")
    secret.chmod(0o600)
    args = ("climate", broker.url, "--user", "sensor", "--password", f"file:{secret}", "--every", "0.02")
    try:
        async with (
            Simulated(tmp_path, *args) as climate,
            aiomqtt.Client("127.0.0.1", broker.port, username="sensor", password="s3cret-of-a-hen") as client,
        ):
            await client.subscribe("farm/#", qos=1)
            async with asyncio.timeout(30):
                assert (await anext(client.messages)).payload
            code, err = await climate.end()
        assert code == 130
        assert "s3cret-of-a-hen" not in climate.table + err
    finally:
        await asyncio.to_thread(broker.stop)


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("climate", "http://127.0.0.1"), 2),
        (("climate", "mqtts://127.0.0.1"), 2),
        (("climate", "mqtt://127.0.0.1:99999"), 2),
        (("climate", "mqtt://127.0.0.1", "--password", "secret"), 2),
        (("scale", "."), 1),
        (("ship", "no/such/folder/ship"), 3),
    ],
)
async def test_what_cannot_be(tmp_path: Path, args: tuple[str, ...], code: int) -> None:
    async with Simulated(tmp_path, *args) as simulated:
        got, err = await simulated.end()
    assert got == code, err
    assert err.startswith("fieldgate: ")
    assert "Traceback" not in err


async def test_a_file_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    async with Simulated(tmp_path, "scale", "notes") as simulated:
        got, _ = await simulated.end()
    assert got == 1
    assert (tmp_path / "notes").read_text() == "mine"
