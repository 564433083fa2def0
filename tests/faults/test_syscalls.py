"""Each write, fsync, ftruncate, rename, unlink and open below data_dir fails once, with EIO and with ENOSPC, and the
process is killed at each: what was acknowledged is there exactly once, and no height gets a second header.

A run is listed first; then it is run again once for each call and fault. The program is fakes/driven_gateway.py: store,
intake and sealer as `fieldgate run` puts them together, without a network. After each fault a new process's code opens
what is left, seals it, and verifies all of it; what was acknowledged is told on another file.
"""

import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakes import calls
from fakes.calls import Call, Fault, Traced
from fakes.gateway_store import signer
from fakes.restarts import Found, judge

from gateway import store as stores
from gateway.cli import HELD, WORLD

DRIVEN = Path(calls.__file__).with_name("driven_gateway.py")
FAULTS = ("EIO", "ENOSPC", calls.KILL)
AT_ONCE = 3

# What SQLite may keep to itself, and why no reading hangs on it. Everything else that fails with EIO ends the process.
UNHEARD = {
    "openat .": "of the folder, by SQLite to flush a new WAL's name: Database.open has flushed it itself",
    "fdatasync .": "as above",
    "unlink fieldgate.db-wal": "at the stop, folded into the file before: an empty one is found and used again",
    "unlink sign-state.db-wal": "as above",
    "unlink fieldgate.db-shm": "an index that every opening makes anew",
    "unlink sign-state.db-shm": "as above",
}
# Where ENOSPC ends the process as EIO does, because SQLite has no word for "full" there.
ENDS_THOUGH_FULL = {"openat", "fsync", "fdatasync", "ftruncate"}


class Sweep:
    """One sequence, from one state of the store, with each fault at each of its calls."""

    def __init__(self, folder: Path, sequence: str, *hows: str, before: str = "") -> None:
        self.folder, self.sequence, self.hows = folder, sequence, hows
        self.begin = folder / "begin"
        self.begin.mkdir(parents=True)
        stores.create(self._data(self.begin), signer().vkey)
        if before:
            assert self._run(self.begin, sequence=before).code == 0
        whole = self._run(self._copy("whole"))
        assert whole.code == 0, whole.words
        self.calls = [self._at_begin(call) for call in calls.succeeded(whole.calls)]
        self.outcomes: Counter[str] = Counter()
        self.ends: dict[str, str] = {}

    @staticmethod
    def _data(home: Path) -> Path:
        (home / "data").mkdir(exist_ok=True)
        return home / "data"

    def _copy(self, name: str) -> Path:
        return Path(shutil.copytree(self.begin, self.folder / name))

    def _at_begin(self, call: Call) -> Call:
        return call._replace(path=call.path.replace(f"{self.folder}/whole/", f"{self.folder}/begin/"))

    def _run(self, home: Path, fault: Fault | None = None, *, sequence: str = "") -> Traced:
        data = home / "data"
        names = [f"{name}{end}" for name in (stores.DATABASE, stores.SIGN_STATE) for end in ("", "-wal", "-shm")]
        files = [data, *(data / name for name in (*names, stores.LOCK))]
        command = [sys.executable, DRIVEN, data, home / "said", sequence or self.sequence, *self.hows]
        return calls.trace(command, files, home / "calls", fault)

    def faults(self, whats: Iterable[str] = FAULTS) -> Iterator[Fault]:
        for call in self.calls:
            for what in whats:
                yield Fault(call, what)

    def run(self, faults: Iterable[Fault], check: Callable[[Fault, Traced, Found], list[str]]) -> list[str]:
        """What went wrong, a line each."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            told = list(pool.map(lambda numbered: self._one(*numbered, check), enumerate(faults)))
        return [line for lines in told for line in lines]

    def _one(self, number: int, fault: Fault, check: Callable[[Fault, Traced, Found], list[str]]) -> list[str]:
        home = self._copy(str(number))
        call = fault.call._replace(path=fault.call.path.replace(f"{self.begin}/", f"{home}/"))
        try:
            traced = self._run(home, Fault(call, fault.what))
            name = f"{call.on(home / 'data')} ({call.place}), {fault.what}"
            wrong = [] if _hit(traced, fault) else [f"the call was not met: {traced.words}"]
            try:
                wrong += check(Fault(call, fault.what), traced, judge(home / "data", home / "said"))
            except Exception as error:
                wrong.append(f"no restart: {error!r}")
            self.outcomes[f"{fault.what} {'survived' if traced.code == 0 else f'exit {traced.code}'}"] += 1
            if fault.what == "ENOSPC" and traced.code:
                self.ends[call.on(home / "data")] = traced.words.strip()
            return [f"{name}: {one}" for one in wrong]
        finally:
            shutil.rmtree(home)


def _hit(traced: Traced, fault: Fault) -> bool:
    return traced.code == -signal.SIGKILL if fault.what == calls.KILL else any(call.injected for call in traced.calls)


def as_promised(fault: Fault, traced: Traced, found: Found) -> list[str]:
    """What must hold after each fault."""
    wrong = found.faults
    call = fault.call.on(Path(fault.call.path).parent if not Path(fault.call.path).is_dir() else Path(fault.call.path))
    if fault.what == calls.KILL:
        return wrong
    lines = traced.words.splitlines()
    survives = fault.what == "ENOSPC" and fault.call.name not in ENDS_THOUGH_FULL
    if traced.code == 0 and (survives or call in UNHEARD):
        return wrong
    if traced.code not in (HELD, WORLD):
        wrong.append(f"exit {traced.code}: {traced.words}")
    if survives and not fault.call.path.endswith("-shm"):
        wrong.append(f"not survived in place: {traced.words}")
    if len(lines) != 1 or not lines[0].startswith("fieldgate: "):
        wrong.append(f"not one clear line: {lines}")
    return wrong


@pytest.mark.timeout(240)
def test_every_call_of_a_commit_a_seal_and_a_sign_fails_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls.need_ptrace()
    sweep = Sweep(tmp_path, "cs")
    wrong = sweep.run(sweep.faults(), as_promised)
    with capsys.disabled():
        print(f"\nsystem calls: {len(sweep.calls)} calls, {sum(sweep.outcomes.values())} faults: {told(sweep)}")
    assert not wrong, "\n".join(wrong)
    assert {"EIO exit 4", "ENOSPC survived", "SIGKILL exit -9"} <= set(sweep.outcomes)


def told(sweep: Sweep) -> str:
    ends = f"; ENOSPC ends it at {', '.join(sorted(sweep.ends))}" if sweep.ends else ""
    return ", ".join(f"{count} {what}" for what, count in sorted(sweep.outcomes.items())) + ends


def test_control_acknowledging_before_the_commit_fails_the_sweep(tmp_path: Path) -> None:
    calls.need_ptrace()
    sweep = Sweep(tmp_path, "c", "ack-early")
    of_wal = [call for call in sweep.calls if call.name == "fdatasync" and call.path.endswith("fieldgate.db-wal")]
    wrong = sweep.run((Fault(call, what) for call in of_wal for what in ("EIO", "SIGKILL")), as_promised)
    assert any("lost" in one for one in wrong), "the sweep would not notice a gateway that acknowledges too early"
