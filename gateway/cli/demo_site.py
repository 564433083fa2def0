"""What `fieldgate demo` sets up: broker, node, a gateway's configuration, the sensors of a hen house and a quay."""

import asyncio
import importlib.util
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from drivers.simulators import henhouse, nmea, quay
from drivers.simulators.network import UdpLine
from gateway.errors import FieldgateError, UnreachableError

NAME, NODE_NAME = "henhouse-3.demo.example", "node.demo.example"
_START_S = 20.0
_STOP_S = 30.0
_AMQTT = "demo broker, not lossless"

_GATEWAY = """\

[seal]
max_age_s = 3
heartbeat_s = 30

[broker.local]
url = "mqtt://127.0.0.1:{broker}"
window = 20

[source.climate]
driver = "mqtt"
broker = "local"
topic = "farm/house3/climate"
[source.climate.values]
temp = {{ pointer = "/temperature", unit = "Cel" }}
rh = {{ pointer = "/humidity", unit = "%RH" }}
co2 = {{ pointer = "/co2", unit = "ppm" }}

[source.feed]
driver = "mqtt"
broker = "local"
topic = "farm/house3/feed"
values = {{ silo = {{ pointer = "/silo/mass", unit = "kg" }} }}

[source.weighbridge]
driver = "scale"
variant = "st-gs"
raw = "apart"
port = "{port}"
keep_motion = true

[source.ship]
driver = "nmea0183"
udp = "127.0.0.1:{ship}"

[web]
listen = "127.0.0.1:{web}"
"""


@dataclass
class Site:
    """The demo's processes and files, all under `folder`."""

    folder: Path
    broker: str
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """The gateway's configuration."""
        return self.folder / "gateway" / "fieldgate.toml"

    @property
    def page(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.ports['web']}/"

    async def start(self, line: quay.Line) -> None:
        """Starts broker, node and gateway as processes of their own. UnreachableError where one does not come up."""
        self.ports = {name: _free_port() for name in ("broker", "node", "web", "ship")}
        await self._start("broker", *_broker_command(self.broker, self.ports["broker"], self.folder))
        await self._listening("broker")
        table = await self.command("node", "init", "--name", NODE_NAME, "--dir", "node", "--listen", self._node_at)
        config = self.config.relative_to(self.folder)
        self.config.parent.mkdir()
        await self.command("init", "--name", NAME, "--data-dir", "gateway/data", "--config", str(config))
        self._write_config(table, line.path)
        await self._enrol()
        await self._start("node", *_fieldgate("node", "run", "--config", "node/node.toml"))
        await self._listening("node")
        await self._start("gateway", *_fieldgate("run", "--config", str(config)))
        await self._listening("web", "gateway")

    @property
    def _node_at(self) -> str:
        return f"127.0.0.1:{self.ports['node']}"

    def _write_config(self, table: str, port: Path) -> None:
        text = _GATEWAY.format(broker=self.ports["broker"], web=self.ports["web"], port=port, ship=self.ports["ship"])
        node = table[table.index("[node.") :]
        with self.config.open("a") as file:
            file.write(f"{text}\n{node}")

    async def _enrol(self) -> None:
        """Names the gateway's log to the node."""
        policy = await self.command("policy", "--config", str(self.config.relative_to(self.folder)))
        vkey = next(line.split()[1] for line in policy.splitlines() if line.startswith("log "))
        with (self.folder / "node" / "node.toml").open("a") as file:
            file.write(f'\n[gateway.henhouse-3]\nvkey = "{vkey}"\n')

    async def command(self, *args: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
        """What a fieldgate command prints. FieldgateError with its own words where it fails."""
        code, out, err = await self.outcome(*args, cwd=cwd, env=env)
        if code:
            raise FieldgateError(f"`fieldgate {args[0]}` ended with {code}", where="demo", cure=err.strip() or out)
        return out

    async def outcome(
        self, *args: str, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a fieldgate command."""
        process = await asyncio.create_subprocess_exec(
            *_fieldgate(*args),
            cwd=cwd or self.folder,
            env=env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def _start(self, name: str, *command: str) -> None:
        log = os.open(self.folder / f"{name}.log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
        try:
            nothing = asyncio.subprocess.DEVNULL
            self.processes[name] = await asyncio.create_subprocess_exec(
                *command,
                cwd=self.folder,
                stdin=nothing,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)

    async def _listening(self, port: str, process: str | None = None) -> None:
        name = process or port
        try:
            async with asyncio.timeout(_START_S):
                while not await _answers(self.ports[port]):
                    self.check(name)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise self._dead(name, f"did not answer within {_START_S:.0f} s") from None

    def check(self, *names: str) -> None:
        """UnreachableError, with the end of its log, for a process that ended."""
        for name in names or tuple(self.processes):
            if self.processes[name].returncode is not None:
                raise self._dead(name, f"ended with {self.processes[name].returncode}")

    def _dead(self, name: str, what: str) -> UnreachableError:
        log = self.folder / f"{name}.log"
        last = log.read_text(errors="replace").strip().splitlines()[-3:]
        return UnreachableError(f"the {name} {what}", where=str(log), cure=" / ".join(last) or "Its log is empty")

    async def run_sensors(self, line: quay.Line) -> None:
        """The hen house publishes, the weighbridge and the ship's instruments write until cancelled."""
        with UdpLine("127.0.0.1", self.ports["ship"]) as ship:
            await asyncio.gather(
                henhouse.run("127.0.0.1", self.ports["broker"], every_s=0.1),
                quay.run(line, quay.weighbridge(), every_s=0.2),
                quay.run(ship, nmea.log(), every_s=0.25),
            )

    async def stop(self, name: str) -> int:
        """Ends one process with SIGTERM and tells its exit code; one that does not end is killed."""
        process = self.processes.pop(name, None)
        if process is None:
            return 0
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_STOP_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        return process.returncode or 0

    async def stop_all(self) -> None:
        """Ends whatever still runs, the newest first."""
        for name in reversed(list(self.processes)):
            await self.stop(name)


def choose_broker(wanted: str) -> tuple[str, str]:
    """(program, banner) of the broker: mosquitto where it is installed, else amqtt. FieldgateError where neither is."""
    if wanted in ("", "mosquitto") and (found := _mosquitto()):
        return found, f"broker: mosquitto ({found})"
    if wanted == "mosquitto":
        raise FieldgateError("mosquitto is not installed", cure="sudo apt install mosquitto, or DEMO_BROKER=amqtt")
    if importlib.util.find_spec("amqtt") is None:
        raise FieldgateError("no broker", cure="sudo apt install mosquitto, or pip install 'amqtt<0.13'")
    return "amqtt", f"broker: amqtt ({_AMQTT})"


def _mosquitto() -> str | None:
    return shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))


def _broker_command(broker: str, port: int, folder: Path) -> Sequence[str]:
    if broker == "amqtt":
        return (sys.executable, "-m", "drivers.simulators.broker", str(port))
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\n")
    return (broker, "-c", str(config))


def _fieldgate(*args: str) -> Sequence[str]:
    return (sys.executable, "-m", "gateway.cli", *args)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
