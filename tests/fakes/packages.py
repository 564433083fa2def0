"""Packages of this source tree, and of copies of it that say or do something else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from deb import package

EPOCH = "1700000000"


def build(source: Path, out: Path, arch: str, **env: str) -> Path:
    """The package of a source tree."""
    command = [
        sys.executable,
        "-m",
        "deb",
        "build",
        "--arch",
        arch,
        "--out",
        str(out),
        "--wheels",
        str(package.ROOT / "build/wheels"),
    ]
    where = {**os.environ, "PYTHONPATH": f"{source / 'deploy'}:{source}", "SOURCE_DATE_EPOCH": EPOCH, **env}
    done = subprocess.run(command, cwd=source, env=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.split()[-1])


def copied(folder: Path) -> Path:
    """The source tree as git has it, with what is not committed yet."""
    command = ["git", "-C", str(package.ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (package.ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(package.ROOT / name, folder / name)
    return folder
