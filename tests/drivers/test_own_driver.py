"""The manual's driver in 30 lines, built as a package of its own, beside ours in a gateway's configuration."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.collector import Collector, until
from fakes.command import fieldgate

from drivers import registry
from drivers.api import Driver
from drivers.codecs.base import Found, Refused
from drivers.simulators.quay import Line

MANUAL = (Path(__file__).parents[2] / "docs" / "drivers.md").read_text()
HEAD = '[gateway]\nname = "quay.example"\ndata_dir = "/var/lib/fieldgate"\nkey = "file:/etc/fieldgate/log.key"\n'
TANK = '[source.tank]\ndriver = "tank_gauge"\nport = "/dev/ttyS9"\nempty_m = 0.2\n'


def block(language: str) -> str:
    """The manual's own files."""
    section = MANUAL.partition("## A driver of your own")[2]
    (found,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return found


def build(folder: Path, code: str) -> Path:
    """The folder into which a wheel of it was installed."""
    package, target = folder / "package", folder / "installed"
    package.mkdir(parents=True)
    (package / "tank_gauge.py").write_text(code)
    (package / "pyproject.toml").write_text(block("toml"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", target, package], check=True, capture_output=True, text=True)
    return target


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tank"), block("python"))


@pytest.fixture
def known(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It is on the way of imports, as an installed package is."""
    monkeypatch.syspath_prepend(str(installed))
    registry._foreign.cache_clear()
    yield
    monkeypatch.undo()
    sys.modules.pop("tank_gauge", None)
    registry._foreign.cache_clear()


def test_it_has_30_lines() -> None:
    code = [line for line in block("python").splitlines() if line.strip()]
    assert len(code) <= 30


def test_the_commands_know_it(installed: Path, tmp_path: Path) -> None:
    env = {"PYTHONPATH": str(installed)}
    config = tmp_path / "fieldgate.toml"
    config.write_text(HEAD + TANK)
    assert fieldgate("check", cwd=tmp_path, env=env).code == 0
    config.write_text(HEAD + TANK.replace("0.2", '"low"').replace("port", "prt"))
    wrong = fieldgate("check", cwd=tmp_path, env=env)
    assert wrong.code == 2
    assert "source.tank.empty_m" in wrong.err
    assert "Did you mean port" in wrong.err
    (tmp_path / "log").write_bytes(b"L=1.234m OK\r\nL=?m ERR\r\n")
    schema = json.loads(fieldgate("check", "--schema", cwd=tmp_path, env=env).out)
    assert schema["definitions"]["tank_gauge"]["properties"]["empty_m"]["type"] == "number"
    decoded = fieldgate("decode", "tank-gauge", "log", "-o", "empty_m=0.2", "--json", cwd=tmp_path, env=env)
    assert decoded.out.splitlines() == [
        '{"source": "tank-gauge", "time": null, "values": {"level": {"value": 1.034, "unit": "m"}}}',
        '{"samples": 1, "rejects": {"no_match": 1}}',
    ]
    assert "tank-gauge: tank gauges" in fieldgate("decode", "--help", cwd=tmp_path, env=env).out


def test_without_it_the_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fieldgate.toml").write_text(HEAD + TANK)
    done = fieldgate("check", cwd=tmp_path)
    assert done.code == 2
    assert "tank_gauge" in done.err


@pytest.mark.usefixtures("known")
async def test_a_gateway_runs_it(tmp_path: Path) -> None:
    with Line() as line:

        def build() -> Driver:
            options = registry.options_type("tank_gauge")
            (driver,) = registry.build({"tank": ("tank_gauge", options(port=str(line.path), empty_m=0.2))}, {})
            return driver

        driver = await asyncio.to_thread(build)
        collector = Collector()
        running = asyncio.create_task(driver.run(collector.emit))
        await until(lambda: collector.links)
        line.write(b"1.2m OK\r\nL=1.234m OK\r\nL=2.000m OK\r\n")
        await until(lambda: len(collector.samples) == 2)
        running.cancel()
        await asyncio.wait({running})
    assert driver.name == "gauge-tank"
    assert [sample.records for sample in collector.samples] == [[("level", "m", 1.034)], [("level", "m", 1.8)]]
    assert [reject.reason for reject in collector.rejects] == ["partial_line"]


@pytest.mark.usefixtures("known")
def test_its_codec_keeps_the_law() -> None:
    kind = registry.kind("tank_gauge")
    assert kind.codec is not None
    data = b"L=1.234m OK\nL=12345.0m OK\n\xff\n"
    told = []
    for step in (1, 3, len(data)):
        codec = kind.codec(kind.options(port="/dev/null"))
        found = [one for at in range(0, len(data), step) for one in codec.feed(data[at : at + step], None)]
        told.append([*found, *codec.end(None)])
    assert told[0] == told[1] == told[2]
    assert [type(one) for one in told[0]] == [Found, Refused, Refused]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise RuntimeError('no licence')\n", "cannot be loaded: no licence"),
        ("import a_library_that_is_not_there\n", "cannot be loaded"),
        ("KIND = 17\n", "is no Kind of that name"),
    ],
)
def test_a_package_that_is_broken_is_told(code: str, words: str, tmp_path: Path) -> None:
    target = tmp_path / "broken-1.0.dist-info"
    target.mkdir()
    (target / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (target / "entry_points.txt").write_text("[fieldgate.drivers]\ntank_gauge = tank_gauge:KIND\n")
    (tmp_path / "tank_gauge.py").write_text(code)
    (tmp_path / "fieldgate.toml").write_text(HEAD + TANK)
    env = {"PYTHONPATH": str(tmp_path)}
    checked = fieldgate("check", cwd=tmp_path, env=env)
    assert checked.code == 2
    assert words in checked.err
    assert fieldgate("decode", "tank-gauge", "/dev/null", cwd=tmp_path, env=env).code == 2
    help_ = fieldgate("decode", "--help", cwd=tmp_path, env=env)
    assert help_.code == 0
    assert "json: " in help_.out
