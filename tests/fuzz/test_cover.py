"""What faces the network and every driver's codec, led by coverage for a while each."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.telling import Tell
from fuzz.targets import KINDS

TESTS = Path(__file__).parent.parent
SECONDS = 60


@pytest.mark.nightly
@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.parametrize("name", ["strict_cbor", "chains", "requests", "mqtt", *KINDS])
def test_nothing_is_found_in_a_while(name: str, tmp_path: Path, tell: Tell) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris does not install here")
    seconds = SECONDS if name not in KINDS else SECONDS // 3
    command = [sys.executable, "-m", "fuzz.cover", name, str(tmp_path / "fuzz"), str(seconds)]
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, cwd=TESTS.parent, env=env, capture_output=True, text=True, check=False)
    found = sorted((tmp_path / "fuzz").glob("[cto]*-*"))  # crash-, timeout-, oom-
    cases = "\n".join(f"TARGETS[{name!r}]({path.read_bytes()!r})" for path in found)
    assert done.returncode == 0 and not found, f"{cases}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    runs = re.findall(r"Done (\d+) runs", done.stderr)
    tell(f"fuzzing {name}: {runs[0] if runs else '?'} runs in {seconds} s")
