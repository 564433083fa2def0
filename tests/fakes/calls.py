"""The system calls of a program that change files below a folder, listed by strace, and one of them made to fail.

A failing call is named by its name, its file and its place among the calls of that name on that file in one thread:
strace counts in each thread, so where two threads share a file (both open it) both meet the fault.
"""

import os
import re
import shutil
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

TRACED = (
    "openat,open,creat,write,pwrite64,writev,pwritev,fsync,fdatasync,sync_file_range,ftruncate,truncate,fallocate,"
    "rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir"
)
KILL = "SIGKILL"
PATIENCE_S = 60.0
FORKING = threading.RLock()  # a child that has not yet become another program holds the file locks of this one
_PATHS = Path(__file__).parents[2], Path(__file__).parents[1]
_LINE = re.compile(r"(\d+) +(.*)")
_UNFINISHED = re.compile(r"(.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)(.*)", re.DOTALL)
_OPEN = re.compile(r"\d+<([^>]*)>")
_QUOTED = re.compile(r'"([^"]*)"')
_BELOW = re.compile(r'(?:AT_FDCWD|\d+)<([^>]*)>, "([^"]*)"')


class Call(NamedTuple):
    """One call. `place` counts the calls of its name on its file in its thread, from 1; `args` as strace shows them."""

    name: str
    path: str
    place: int
    args: str
    result: str
    injected: bool = False

    def on(self, folder: Path) -> str:
        """Name and file, for a table."""
        return f"{self.name} {os.path.relpath(self.path, folder)}"


class Fault(NamedTuple):
    """One call, and what becomes of it: EIO, ENOSPC or SIGKILL."""

    call: Call
    what: str

    @property
    def option(self) -> str:
        kind = "signal" if self.what == KILL else "error"
        return f"inject={self.call.name}:{kind}={self.what}:when={self.call.place}"


@dataclass(frozen=True)
class Traced:
    """How a program went. `code` is negative where a signal ended it."""

    calls: list[Call]
    code: int
    words: str


def need_ptrace() -> None:
    """Skips where no process may be traced."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    told = subprocess.run(["strace", "-o", "/dev/null", "true"], check=False, capture_output=True)
    if told.returncode:
        pytest.skip("strace may not trace a process here")


def trace(
    command: Sequence[str | Path],
    log: Path,
    fault: Fault | None = None,
    *,
    data: bool = False,
    cwd: Path | None = None,
) -> Traced:
    """Runs the command and lists its calls; with a fault those on its file alone. data: all that is written, in hex."""
    args = ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={TRACED}"]
    if fault is None or fault.what != KILL:
        args.append("--seccomp-bpf")  # many times faster; it sends no signal, though
    args += ["-xx", "-s", "1000000"] if data else ["-s", "0" if fault else "256"]
    if fault:
        args += ["-P", fault.call.path, "-e", fault.option]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(path) for path in _PATHS),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    pipe = subprocess.PIPE
    with FORKING:
        program = subprocess.Popen([*args, *map(str, command)], stderr=pipe, text=True, env=environment, cwd=cwd)
    with program:
        try:
            _, words = program.communicate(timeout=PATIENCE_S)
        finally:
            program.kill()
    return Traced(parse(log.read_text(errors="replace")), program.returncode, words)


def parse(log: str) -> list[Call]:
    """The finished calls, each where it ended, and those that a kill cut off."""
    begun: dict[str, str] = {}
    places: dict[tuple[str, str, str], int] = defaultdict(int)
    calls = []
    for line in log.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        thread, text = match.groups()
        if unfinished := _UNFINISHED.fullmatch(text):
            begun[thread] = unfinished[1]
            continue
        if resumed := _RESUMED.fullmatch(text):
            text = begun.pop(thread, "") + resumed[1]
        if match := _CALL.fullmatch(text):
            calls.append(_call(thread, match, places))
    return calls


def _call(thread: str, match: re.Match[str], places: dict[tuple[str, str, str], int]) -> Call:
    name, args, result, rest = match.groups()
    path = named_by(name, args)
    places[thread, name, path] += 1
    return Call(name, path, places[thread, name, path], args, result, "INJECTED" in rest)


def named_by(name: str, args: str) -> str:
    """What strace finds the call by: the path of its open file, its first path, or the folder of a relative one."""
    if name.removesuffix("2").endswith("at"):
        folder, path = (_plain(text) for text in _BELOW.findall(args)[0])
        return path if path.startswith("/") else folder
    if match := _OPEN.match(args):
        return _plain(match[1])
    return _plain(_QUOTED.findall(args)[0])


def paths(call: Call) -> list[str]:
    """The whole paths that a call names; where it names none, that of its open file."""
    if call.name.removesuffix("2").endswith("at"):
        return [str(Path(_plain(folder), _plain(path))) for folder, path in _BELOW.findall(call.args)]
    if match := _OPEN.match(call.args):
        return [_plain(match[1])]
    return [_plain(path) for path in _QUOTED.findall(call.args)]


def _plain(text: str) -> str:
    """A path of which strace showed each byte in hex."""
    return re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), text)


def changes(call: Call) -> bool:
    """Whether it leaves files otherwise than before. A flush does not, nor a write to a WAL's index, which the first
    opening of the file makes anew whatever is in it (sqlite.org/walformat.html, 2.2)."""
    if call.result.startswith("-") or call.name in ("fsync", "fdatasync", "sync_file_range"):
        return False
    if call.name in ("open", "openat"):
        return "O_CREAT" in call.args or "O_TRUNC" in call.args
    return not (call.path.endswith("-shm") and call.name in ("pwrite64", "ftruncate"))


def succeeded(calls: Iterable[Call]) -> list[Call]:
    """Those that succeeded; one of each (name, file, place)."""
    found: dict[tuple[str, str, int], Call] = {}
    for call in calls:
        if not call.result.startswith("-"):
            found.setdefault((call.name, call.path, call.place), call)
    return list(found.values())
