"""Gateway, network and two nodes under seeded faults: safety at every event, then convergence once the faults stop.

A run that fails prints its seed, what the seed decided, its last events, and the command that runs it again.
"""

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes.telling import Tell
from sim.world import Report, run

pytestmark = pytest.mark.may_block  # SQLite works on the loop here

TESTS = Path(__file__).parent.parent
NIGHTLY = 5_000


def judged(reports: Sequence[Report]) -> Sequence[Report]:
    """Fails where any run was in breach."""
    bad = [report for report in reports if report.breaches]
    assert not bad, "\n\n".join(map(str, bad[:3])) + f"\n{len(bad)} of {len(reports)} seeds"
    return reports


@pytest.mark.timeout(300)
def test_an_honest_log_is_safe_and_converges() -> None:
    reports = judged([run(seed) for seed in range(30)])
    assert sum(report.deaths for report in reports) > 30
    assert sum(report.blocks for report in reports) > 165
    assert sum(report.pruned for report in reports) >= 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fork", ["restored", pytest.param("cloned", marks=pytest.mark.nightly)])
def test_a_card_that_signs_twice_is_found_out(fork: str) -> None:
    reports = judged([run(seed, fork) for seed in range(18)])
    assert sum(bool(report.both) for report in reports) >= 2, "hardly a node was ever shown two views"


def test_one_seed_is_one_run() -> None:
    assert run(7).trace == run(7).trace != run(8).trace


def test_a_seed_is_the_same_run_in_another_process() -> None:
    """What Python draws at its start (the hashes of strings) changes nothing."""
    told = []
    for hashes in ("1", "2"):
        env = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONHASHSEED": hashes}
        done = subprocess.run(
            [sys.executable, "-m", "sim", "7"], cwd=TESTS.parent, env=env, capture_output=True, text=True, check=True
        )
        told.append(done.stdout)
    assert told[0] == told[1] == f"{run(7)}\n"


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
def test_thousands_of_seeds(tell: Tell, seed: int) -> None:
    """Other seeds each time. Each worker starts afresh, so that none inherits this process's threads."""
    runs = [(seed + n, ("", "", "", "restored", "cloned")[n % 5]) for n in range(NIGHTLY)]
    fresh = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(mp_context=fresh) as pool:
        reports = judged(list(pool.map(run, *zip(*runs, strict=True), chunksize=20)))
    deaths, blocks = sum(report.deaths for report in reports), sum(report.blocks for report in reports)
    both = sum(bool(report.both) for report in reports)
    tell(f"simulation, seeds from {seed}: {deaths} deaths, {blocks} blocks, {both} forks shown to a node")
