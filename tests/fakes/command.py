"""The command line as a real process, in a folder of its own, with an environment that is almost empty."""

import io
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from gateway import cli

PATIENCE_S = 60.0
FIELDGATE = (sys.executable, "-m", "gateway.cli")

_ALMOST_EMPTY = {"PATH": "/usr/bin:/bin"}
# A process with the program imported, of which commands are forked: most of the time that a command takes is imports.
# That a command needs nothing that another imported is a test of its own (tests/cli/test_cli_main.py).
_WARM = multiprocessing.get_context("forkserver")
_WARM.set_forkserver_preload(
    ["gateway.cli", *sorted({module.partition(":")[0] for module, _ in cli.COMMANDS.values()})]
)


class Done(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines on stderr."""
        return self.err.splitlines()


def fieldgate(*args: str | Path, cwd: Path, env: Mapping[str, str] | None = None, under: tuple[str, ...] = ()) -> Done:
    """Run `fieldgate args` to its end, `under` a command where one is given. With `env` the interpreter starts anew:
    it may read that before we do."""
    if env is None and not under:
        return _forked(*map(str, args), cwd=cwd)
    done = subprocess.run(
        [*under, *FIELDGATE, *map(str, args)],
        cwd=cwd,
        env={**_ALMOST_EMPTY, **(env or {})},
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def _forked(*args: str, cwd: Path) -> Done:
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = _WARM.Process(target=_main, args=(args, cwd, out, err))
        process.start()
        process.join(PATIENCE_S)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(["fieldgate", *args], PATIENCE_S)
        return Done(process.exitcode, out.read_text("utf-8"), err.read_text("utf-8"))


def _main(args: tuple[str, ...], cwd: Path, out: Path, err: Path) -> None:
    """What the forked process does: it becomes `fieldgate args`, and ends as that does."""
    for number, path in ((0, os.devnull), (1, out), (2, err)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(_ALMOST_EMPTY)
    sys.argv = ["fieldgate", *args]
    cli.main()


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
