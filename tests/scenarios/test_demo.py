"""`fieldgate demo` with each broker, as `make demo` runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(150)
@pytest.mark.parametrize("broker", ["mosquitto", pytest.param("amqtt", marks=pytest.mark.nightly)])
def test_demo(broker: str, tmp_path: Path) -> None:
    environment = {**os.environ, "DEMO": "7", "DEMO_BROKER": broker}
    command = [sys.executable, "-m", "gateway.cli", "demo"]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=140
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^demo: \d+ readings, \d+ blocks, stored by 1 of 1, receipt verified$", done.stdout, re.MULTILINE)
    assert ("demo broker, not lossless" in done.stdout) == (broker == "amqtt")
    refused = dict(re.findall(r"^  (\w[\w -]*?) +(\d)$", done.stdout, re.MULTILINE))
    assert set(refused.values()) == {"1", "2", "3", "4", "6", "7"}
    left = tmp_path / "demo"
    second = Path(__file__).parents[1] / "second_opinion.py"
    command = [sys.executable, str(second), str(left / "receipt.tlog-proof"), str(left / "policy")]
    opinion = subprocess.run(command, check=False, capture_output=True)
    assert opinion.returncode == 0, opinion.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.timeout(60)
def test_demo_without_its_broker_says_so(tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path), "DEMO_BROKER": "mosquitto"}
    command = [sys.executable, "-c", _WITHOUT_MOSQUITTO]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 1
    assert "mosquitto is not installed" in done.stderr
    assert "apt install mosquitto" in done.stderr


_WITHOUT_MOSQUITTO = """
from gateway.cli import demo_site, main
demo_site._mosquitto = lambda: None
main(["demo"])
"""
