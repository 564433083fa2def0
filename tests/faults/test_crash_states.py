"""Every state in which a power cut may leave the store's two files opens by itself, holds what was acknowledged, and
goes on with the same chain.

A run of the real code is recorded (fakes/driven_gateway.py under fakes/calls.py): the very calls of the interpreter's
SQLite with the schema, pragmas, statements and checkpoints of gateway/store, in both files and their folder, in one
order, and between them what was acknowledged and signed. So the recording cannot differ from the code, as a model of it
could. From it come the states (fakes/crash_states.py); each is restarted, sealed to its end and verified by the code of
test_syscalls.py. Controls: with synchronous=NORMAL it loses, with OFF it breaks.
"""

import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from fakes import calls
from fakes.crash_states import Op, State, recorded, states
from fakes.driven_gateway import __file__ as driven
from fakes.field import CLI
from fakes.gateway_store import signer
from fakes.new_gateway import assert_whole, init_words, make_folders
from fakes.restarts import judge
from fakes.telling import Tell

from drivers.mqtt_memory import FilterMemory
from gateway import store as stores
from gateway.cli.init import init

SHARED_MEMORY = Path("/dev/shm")
OFTEN = "checkpoint-pages=12"


class Recording:
    """A run of a gateway whose store has some blocks already, and what it did to its files."""

    def __init__(self, folder: Path, sequence: str, *hows: str, before: str = "cs") -> None:
        self.data, self.said = folder / "data", folder / "said"
        self.begin = folder / "begin"
        self.data.mkdir()
        stores.create(self.data, signer().vkey)
        self._run(folder, before, *hows)
        self.said_before = self.said.read_bytes()
        shutil.copytree(self.data, self.begin)
        self.ops = self._ops(self._run(folder, sequence, *hows))

    def _run(self, folder: Path, sequence: str, *hows: str) -> list[calls.Call]:
        command = [sys.executable, driven, self.data, self.said, sequence, *hows]
        traced = calls.trace(command, folder / "calls", data=True)
        assert traced.code == 0, traced.words
        return traced.calls

    def _ops(self, made: list[calls.Call]) -> list[Op]:
        """In the folder as it was before; the index of a WAL is made anew by every opening and does not count."""
        there = {str(self.data / path.name) for path in self.begin.iterdir()}
        ops = [op for op in recorded(made, self.data, self.said, there) if not op.path.endswith("-shm")]
        return [op._replace(path=op.path.replace(str(self.data), str(self.begin))) for op in ops]

    def states(self, rng: random.Random, more: int) -> list[State]:
        return list(states(self.begin, self.ops, rng, more))


@contextmanager
def laid_out(recording: Recording, state: State) -> Iterator[tuple[Path, Path]]:
    """data_dir and what was said, as the cut left them."""
    place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None  # the code under test flushes a lot
    with tempfile.TemporaryDirectory(dir=place) as name:
        data, said = Path(name, "data"), Path(name, "said")
        state.write(recording.begin, data)
        said.write_bytes(recording.said_before + state.said)
        yield data, said


def outcomes(recording: Recording, chosen: list[State]) -> tuple[Counter[str], list[str]]:
    """How many states were good, lost something, broke; and what was wrong, a line each."""
    count: Counter[str] = Counter()
    wrong = []
    for state in chosen:
        with laid_out(recording, state) as (data, said):
            try:
                faults = judge(data, said).faults
                kind = "lost" if any(one.startswith("lost") for one in faults) else "bad" if faults else "good"
            except Exception as error:
                faults, kind = [f"no restart: {error!r}"], "broken"
        count[kind] += 1
        wrong += [f"after {state.after} of {len(recording.ops)} operations: {one}" for one in faults]
    return count, wrong


def _check(recording: Recording, rng: random.Random, more: int, at_most: int) -> tuple[str, Counter[str], list[str]]:
    found = recording.states(rng, more)
    chosen = rng.sample(found, min(at_most, len(found)))
    count, wrong = outcomes(recording, chosen)
    told = ", ".join(f"{number} {kind}" for kind, number in sorted(count.items()))
    return f"{len(recording.ops)} operations, {len(found)} states, of {len(chosen)}: {told}", count, wrong


@pytest.mark.timeout(120)
def test_any_cut_between_commits_seals_and_checkpoints(tmp_path: Path, tell: Tell, seed: int) -> None:
    calls.need_ptrace()
    recording = Recording(tmp_path, "cscbs", OFTEN)
    told, count, wrong = _check(recording, random.Random(seed), 3, 60)
    tell(f"crash states, seed {seed}: {told}")
    assert not wrong, "\n".join(wrong)
    assert count["good"] > 30


@pytest.mark.parametrize("how", ["synchronous=NORMAL", "ack-early"])
@pytest.mark.timeout(120)
def test_control_that_does_not_wait_for_the_device(tmp_path: Path, how: str, tell: Tell) -> None:
    calls.need_ptrace()
    told, count, _ = _check(Recording(tmp_path, "ccs", how), random.Random(1), 1, 24)
    tell(f"crash states, control {how}: {told}")
    assert count["lost"], "the states would not show a store that does not wait for the device"


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_control_that_waits_for_nothing_breaks(tmp_path: Path, tell: Tell) -> None:
    calls.need_ptrace()
    told, count, _ = _check(Recording(tmp_path, "cscbs", "synchronous=OFF", OFTEN), random.Random(1), 3, 300)
    tell(f"crash states, control synchronous=OFF: {told}")
    assert count["broken"], "the states would not show a file whose pages were not written in order"


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("sequence", ["cscbshcsbcs", "bbbbbbbbbbbbbbbbbbbbcs"])
def test_any_cut_in_a_longer_run(tmp_path: Path, sequence: str, tell: Tell, seed: int) -> None:
    calls.need_ptrace()
    hows = (OFTEN,) if "s" in sequence[:-1] else ()
    told, _, wrong = _check(Recording(tmp_path, sequence, *hows), random.Random(seed), 12, 3_000)
    tell(f"crash states, seed {seed}: {told}")
    assert not wrong, "\n".join(wrong)


# Files beside the store


@pytest.mark.parametrize("at_most", [40, pytest.param(10_000, marks=pytest.mark.nightly)])
@pytest.mark.timeout(300)
def test_any_cut_of_init_leaves_a_whole_gateway_or_nothing_that_counts(
    tmp_path: Path, at_most: int, tell: Tell, seed: int
) -> None:
    """Configuration and key are on another device than data_dir: what is written there has an order of its own."""
    calls.need_ptrace()
    home, said = tmp_path / "home", tmp_path / "said"
    make_folders(home)
    shutil.copytree(home, tmp_path / "begin")
    traced = calls.trace([*CLI, *init_words(home)], tmp_path / "calls", data=True)
    assert traced.code == 0, traced.words
    shutil.rmtree(home)
    shutil.copytree(tmp_path / "begin", home)
    ops = [op for op in recorded(traced.calls, home, said, set()) if not op.path.endswith("-shm")]
    rng = random.Random(seed)
    *begun, done = states(home, ops, rng, 2, [home / "etc"])
    for state in rng.sample(begun, min(at_most, len(begun))):
        _lay_out(state, home)
        again = CliRunner().invoke(init, init_words(home)[1:])
        assert again.exception is None or "is there already" in str(again.exception), (state.after, again.exception)
        assert_whole(home)
    _lay_out(done, home)
    assert_whole(home)
    tell(f"crash states, init: {len(ops)} operations, {min(at_most, len(begun))} of {len(begun) + 1} states")


def _lay_out(state: State, home: Path) -> None:
    shutil.rmtree(home)
    state.write(home, home)


REMEMBER = """
import os, sys
from pathlib import Path
from drivers.mqtt_memory import FilterMemory
said = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)
for topics in ("a", "a b", "c"):
    FilterMemory(Path(sys.argv[1])).save(topics.split())
    os.write(said, topics.encode() + b"\\n")
"""


def test_any_cut_leaves_the_filters_remembered_last_or_next(tmp_path: Path) -> None:
    calls.need_ptrace()
    data, said = tmp_path / "data", tmp_path / "said"
    data.mkdir()
    said.touch()
    command = [sys.executable, "-c", REMEMBER, data / "filters", said]
    traced = calls.trace(command, tmp_path / "calls", data=True)
    assert traced.code == 0, traced.words
    (data / "filters").unlink()
    ops = recorded(traced.calls, data, said, set())
    saves = [set(), {"a"}, {"a", "b"}, {"c"}]
    for state in states(data, ops, random.Random(1), 3):
        shutil.rmtree(data)
        state.write(data, data)
        newest = len(state.said.splitlines())
        assert FilterMemory(data / "filters").load() in saves[newest : newest + 2], state.after
