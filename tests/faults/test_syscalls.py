"""Each write, fsync, ftruncate, rename, unlink and open below data_dir fails once, with EIO and with ENOSPC, and the
process is killed at each: what was acknowledged is there exactly once, and no height gets a second header.

A run is listed first; then it is run again once for a call of each kind and each fault (fakes/sweep.py). Here that is
fakes/driven_gateway.py: store, intake and sealer as `fieldgate run` puts them together, without a network. After each
fault the code opens what is left, seals it, and verifies all of it; what was acknowledged is told on another file. The
nightly sweeps go through all of it, a longer run with checkpoints, `fieldgate init`, a whole `fieldgate run`, a node's
store and the MQTT driver's memory.
"""

import asyncio
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner
from fakes import calls, driven_node
from fakes.broker import free_port
from fakes.calls import Fault, Traced
from fakes.field import CLI
from fakes.gateway_store import signer
from fakes.new_gateway import assert_whole, init_words, make_folders
from fakes.restarts import judge
from fakes.sweep import Program, Sweep
from fakes.telling import Tell

from drivers.mqtt_memory import FilterMemory
from gateway import store as stores
from gateway.cli import HELD, USAGE, WORLD
from gateway.cli.init import init
from gateway.cli.verify_store import verify_store
from gateway.core import merkle
from gateway.node.schema import create_file
from gateway.node.sqlite import SqliteStore
from gateway.store.rollup import ROLLUP

FAKES = Path(calls.__file__).parent
FAULTS = ("EIO", "ENOSPC", calls.KILL)

# What SQLite may keep to itself, and why no reading hangs on it. Everything else that fails with EIO ends the process.
UNHEARD = {
    "openat .": "of the folder, by SQLite to flush a new WAL's name: Database.open has flushed it itself",
    "fdatasync .": "as above",
    "unlink fieldgate.db-wal": "at the stop, folded into the file before: an empty one is found and used again",
    "unlink sign-state.db-wal": "as above",
    "unlink node.sqlite-wal": "as above",
    "unlink fieldgate.db-shm": "an index that every opening makes anew",
    "unlink sign-state.db-shm": "as above",
    "unlink node.sqlite-shm": "as above",
    "pwrite64 fieldgate.db-shm": "that index while it grows: SQLite calls every failure a full disk; it is tried again",
    "pwrite64 sign-state.db-shm": "as above",
    "fallocate ballast": "dead weight: made again later, or done without",
}
# Where ENOSPC ends the process as EIO does, because SQLite has no word for "full" there.
ENDS_THOUGH_FULL = {"openat", "fsync", "fdatasync", "ftruncate"}


def faults(of: Iterable[calls.Call], whats: Iterable[str] = FAULTS) -> list[Fault]:
    return [Fault(call, what) for call in of for what in whats]


def as_promised(fault: Fault, name: str, traced: Traced) -> list[str]:
    """How a process that keeps readings must end, or go on."""
    if fault.what == calls.KILL:
        return []
    lines = traced.words.splitlines()
    survives = fault.what == "ENOSPC" and fault.call.name not in ENDS_THOUGH_FULL
    if traced.code == 0 and (survives or name in UNHEARD):
        return []
    wrong = []
    if traced.code not in (HELD, WORLD):
        wrong.append(f"exit {traced.code}: {traced.words}")
    if survives and not fault.call.path.endswith("-shm"):
        wrong.append(f"not survived in place: {traced.words}")
    if not lines or not lines[-1].startswith("fieldgate: ") or any("Traceback" in line for line in lines):
        wrong.append(f"not one clear line: {lines}")
    return wrong


def driven(sequence: str, *hows: str) -> Program:
    """A store with some blocks, and a gateway that goes through the sequence."""

    def make(home: Path) -> None:
        (home / "data").mkdir()
        stores.create(home / "data", signer().vkey)

    return Program(
        make,
        lambda home: [sys.executable, FAKES / "driven_gateway.py", home / "data", home / "said", sequence, *hows],
        "data",
        lambda home, traced: judge(home / "data", home / "said").faults,
    )


def _sweep(folder: Path, program: Program, tell: Tell, what: str) -> Sweep:
    calls.need_ptrace()
    sweep = Sweep(folder, program)
    wrong = sweep.run(faults(sweep.calls), as_promised)
    tell(f"system calls of {what}: {sweep.told()}")
    assert not wrong, "\n".join(wrong)
    return sweep


@pytest.mark.timeout(240)
def test_one_call_of_each_kind_of_a_commit_a_seal_and_a_sign_fails(tmp_path: Path, tell: Tell) -> None:
    calls.need_ptrace()
    sweep = Sweep(tmp_path, driven("cs"))
    wrong = sweep.run(faults(sweep.one_of_each), as_promised)
    tell(f"system calls of a commit, a seal and a sign, one of each: {sweep.told()}")
    assert not wrong, "\n".join(wrong)
    assert {"EIO exit 4", "ENOSPC survived", "SIGKILL exit -9"} <= set(sweep.outcomes)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_every_call_of_a_commit_a_seal_and_a_sign_fails_once(tmp_path: Path, tell: Tell) -> None:
    sweep = _sweep(tmp_path, driven("cs"), tell, "a commit, a seal and a sign")
    assert {"EIO exit 4", "ENOSPC survived", "SIGKILL exit -9"} <= set(sweep.outcomes)


def test_control_acknowledging_before_the_commit_fails_the_sweep(tmp_path: Path) -> None:
    calls.need_ptrace()
    sweep = Sweep(tmp_path, driven("c", "ack-early"))
    of_wal = [call for call in sweep.calls if call.name == "fdatasync" and call.path.endswith("fieldgate.db-wal")]
    wrong = sweep.run(faults(of_wal, ("EIO", calls.KILL)), as_promised)
    assert any("lost" in one for one in wrong), "the sweep would not notice a gateway that acknowledges too early"


def of_charts(found: Iterable[calls.Call]) -> list[calls.Call]:
    return [call for call in found if ROLLUP in call.path]


def in_spite_of_it(fault: Fault, name: str, traced: Traced) -> list[str]:
    """Nothing that fails with the charts is noticed by anything else."""
    return [] if fault.what == calls.KILL or traced.code == 0 else [f"exit {traced.code}: {traced.words}"]


@pytest.mark.nightly
def test_one_call_of_each_kind_on_the_charts_fails(tmp_path: Path, tell: Tell) -> None:
    calls.need_ptrace()
    sweep = Sweep(tmp_path, driven("crcr"))
    chosen = of_charts(sweep.one_of_each)
    wrong = sweep.run(faults(chosen, ("EIO", "ENOSPC")), in_spite_of_it)
    tell(f"system calls of charts: {sweep.told()}")
    assert not wrong, "\n".join(wrong)
    assert {"openat", "pwrite64", "fdatasync", "unlink"} <= {call.name for call in chosen}


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_every_call_on_the_charts_fails_once(tmp_path: Path, tell: Tell) -> None:
    calls.need_ptrace()
    sweep = Sweep(tmp_path, driven("crcr"))
    wrong = sweep.run(faults(of_charts(sweep.calls)), in_spite_of_it)
    tell(f"every system call of charts: {sweep.told()}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_every_call_of_a_longer_run_with_checkpoints(tmp_path: Path, tell: Tell) -> None:
    sweep = _sweep(tmp_path, driven("csbchbscbs", "checkpoint-pages=24"), tell, "a longer run with checkpoints")
    folded = [call for call in sweep.calls if call.name == "fdatasync" and call.path.endswith("fieldgate.db")]
    assert len(folded) > 1, "no checkpoint before that of the stop"


# Other programs, and other files


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_every_call_of_init(tmp_path: Path, tell: Tell) -> None:
    def after(home: Path, traced: Traced) -> list[str]:
        if traced.code:
            again = CliRunner().invoke(init, init_words(home / "home")[1:])
            if again.exception is not None and "is there already" not in str(again.exception):
                return [f"init again: {again.exception}"]
        assert_whole(home / "home")
        return []

    def promise(fault: Fault, name: str, traced: Traced) -> list[str]:
        lines = traced.words.splitlines()
        told = bool(lines) and lines[-1].startswith("fieldgate: ") and traced.code in (USAGE, WORLD, HELD)
        return [] if fault.what == calls.KILL or traced.code == 0 or told else [f"exit {traced.code}: {lines}"]

    calls.need_ptrace()
    words: Callable[[Path], list[str | Path]] = lambda home: [*CLI, *init_words(home / "home")]  # noqa: E731
    sweep = Sweep(tmp_path, Program(lambda home: make_folders(home / "home"), words, "home", after))
    wrong = sweep.run(faults(sweep.calls), promise)
    tell(f"system calls of init: {sweep.told()}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_calls_of_a_whole_gateway(tmp_path: Path, tell: Tell) -> None:
    """`fieldgate run` with its own events for readings, and its ordered stop; one call of each kind on each file."""

    def make(home: Path) -> None:
        make_folders(home)
        made = CliRunner().invoke(init, init_words(home)[1:])
        assert made.exception is None
        with (home / "etc" / "fieldgate.toml").open("a") as file:
            file.write(f'[web]\nlisten = "127.0.0.1:{free_port()}"\n')

    def words(home: Path) -> list[str | Path]:
        config = home / "etc" / "fieldgate.toml"
        config.write_text(config.read_text().replace(str(tmp_path / "begin"), str(home)))
        return [sys.executable, FAKES / "briefly.py", config]

    def after(home: Path, traced: Traced) -> list[str]:
        again = calls.trace(words(home), home / "again")
        good = again.code == 0 and verify_store(home / "disk" / "data", None, verbose=True) == 0
        return [] if good else [f"started again: exit {again.code}: {again.words}"]

    calls.need_ptrace()
    sweep = Sweep(tmp_path, Program(make, words, "disk/data", after))
    chosen = [call for call in sweep.one_of_each if not call.path.endswith("control.sock")]  # comes when it comes
    wrong = sweep.run(faults(chosen), as_promised)
    tell(f"system calls of a whole gateway: {sweep.told()}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_every_call_of_a_nodes_store(tmp_path: Path, tell: Tell) -> None:
    def make(home: Path) -> None:
        (home / "data").mkdir()
        create_file(home / "data" / "node.sqlite")

    def after(home: Path, traced: Traced) -> list[str]:
        said = (home / "said").read_text().split()[1::2] if (home / "said").exists() else []
        size = asyncio.run(_node_size(home / "data" / "node.sqlite"))
        return [] if size >= max(map(int, said), default=0) else [f"lost: {size} entries, {said} said"]

    program = Program(
        make,
        lambda home: [sys.executable, FAKES / "driven_node.py", home / "data" / "node.sqlite", home / "said", "3"],
        "data",
        after,
    )
    _sweep(tmp_path, program, tell, "a node's store")


async def _node_size(path: Path) -> int:
    """After a step more; the entries, the tree, the lines and the bodies must be in step."""
    store = await SqliteStore.open(path)
    try:
        await store.enrol(driven_node.LOG, "vkey", 0)
        head = await store.head(driven_node.LOG)
        entries = await store.entries(driven_node.LOG, 0, 10_000)
        assert entries == [driven_node.entry(height) for height in range(head.size)]
        assert head.frontier.root() == merkle.root([merkle.leaf_hash(entry) for entry in entries])
        wanted = {height for low, high in await store.wants(driven_node.LOG, 100) for height in range(low, high)}
        for height in range(head.size):
            assert (await store.body(driven_node.LOG, height) is None) == (height in wanted)
        return head.size
    finally:
        await store.close()


def test_every_call_of_the_filters_that_a_broker_may_hold(tmp_path: Path) -> None:
    """A disk that refuses is no reason not to connect: what is remembered is the old or the new, and never half."""
    code = "import sys, pathlib, drivers.mqtt_memory as m; m.FilterMemory(pathlib.Path(sys.argv[1])).save(['b'])"

    def make(home: Path) -> None:
        (home / "data").mkdir()
        FilterMemory(home / "data" / "filters").save(["a"])

    def words(home: Path) -> list[str | Path]:
        return [sys.executable, "-c", code, home / "data" / "filters"]

    def after(home: Path, traced: Traced) -> list[str]:
        found = FilterMemory(home / "data" / "filters").load()
        return [] if found in ({"a"}, {"b"}) else [f"remembered: {found}"]

    calls.need_ptrace()
    sweep = Sweep(tmp_path, Program(make, words, "data", after))
    wrong = sweep.run(faults(sweep.calls), lambda fault, name, traced: [traced.words] if traced.words else [])
    assert not wrong, "\n".join(wrong)
    assert len(sweep.calls) >= 5
