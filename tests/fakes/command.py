"""The command line as a real process, in a folder of its own, with an environment that is almost empty."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

PATIENCE_S = 60.0
FIELDGATE = (sys.executable, "-m", "gateway.cli")


class Done(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines on stderr."""
        return self.err.splitlines()


def fieldgate(*args: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> Done:
    """Run `fieldgate args` to its end."""
    done = subprocess.run(
        [*FIELDGATE, *map(str, args)],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", **(env or {})},
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())
