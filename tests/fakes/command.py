"""The command line as a real process, in a folder of its own, with an environment that is almost empty."""

import io
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from gateway import cli

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


def within(*args: str | Path, cwd: Path) -> Done:
    """The same without a process of its own, for commands that print and are done: a tenth of the time."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with chdir(cwd), redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main([*map(str, args)])
        except SystemExit as exc:
            code = exc.code
    assert isinstance(code, int)
    return Done(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))  # type: ignore[attr-defined]
