"""deploy/anchors: the contract's bytes are what npm's solc makes of its source, and what the gateway calls."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from fakes.anvil import installed

from gateway.core import anchor_evm
from gateway.core.keccak import keccak256

FOLDER = Path(__file__).parents[2] / "deploy" / "anchors"
BUILT = json.loads((FOLDER / "Anchor.json").read_text())


def test_the_build_is_reproducible() -> None:
    if shutil.which("node") is None:
        pytest.skip("npm is not installed")
    environment = {"PATH": os.environ["PATH"], "NODE_PATH": str(installed("solc", "0.8.30"))}
    command = ["node", str(FOLDER / "build.cjs")]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=100)
    assert json.loads(ran.stdout) == BUILT
    assert ran.stdout == (FOLDER / "Anchor.json").read_text()
    assert (BUILT["compiler"].partition("+")[0], BUILT["evmVersion"]) == ("0.8.30", "istanbul")


def test_function_and_event_are_those_that_the_gateway_knows() -> None:
    known = {one["name"]: f"{one['name']}({','.join(part['type'] for part in one['inputs'])})" for one in BUILT["abi"]}
    assert keccak256(known["anchor"].encode())[:4] == anchor_evm.CALL
    assert keccak256(known["Anchored"].encode()) == anchor_evm.ANCHORED
    (event,) = (one for one in BUILT["abi"] if one["type"] == "event")
    assert [part["indexed"] for part in event["inputs"]] == [True, True, False, False]
