"""Another user of this computer, nobody, and a folder that this one can reach: pytest's own are closed to others."""

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

NOBODY = 65_534
SETPRIV = ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--inh-caps=-all")


@contextlib.contextmanager
def reachable_folder() -> Iterator[Path]:
    """Skips the test where the other user may not run this interpreter."""
    try:
        done = subprocess.run([*SETPRIV, sys.executable, "-c", "import gateway.app"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("another user may not run this interpreter: there is no setpriv")
    if done.returncode:
        pytest.skip(f"another user may not run this interpreter: {done.stderr.decode(errors='replace')[-200:]}")
    folder = Path(tempfile.mkdtemp(prefix="other-user-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
