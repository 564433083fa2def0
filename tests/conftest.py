"""What every test may ask for, and two guards: the event loop is never blocked, and no test is skipped unlisted."""

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster
from fakes.telling import Tell
from hypothesis import settings

SKIPS = Path(__file__).with_name("skips.txt")


def _folder(variable: str) -> Path:
    value = os.environ.get(variable, "")
    if not value or not Path(value).is_dir():
        pytest.skip(f"{variable} names no folder")
    return Path(value)


@pytest.fixture(scope="session")
def captures() -> Path:
    """Payloads recorded by other people's devices."""
    return _folder("FIELDGATE_CAPTURES")


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The standards' own test vectors."""
    return _folder("FIELDGATE_VECTORS")


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Says a line in the summary of the run, and with the test's output where it fails."""

    def say(line: str) -> None:
        record_property("told", line)
        print(line)

    return say


@pytest.fixture
def seed(request: pytest.FixtureRequest, tell: Tell) -> int:
    """Of what a test makes up. FIELDGATE_SEED=N repeats a run; it is told before anything can go wrong."""
    number = int(os.environ.get("FIELDGATE_SEED", random.randrange(2**32)))
    tell(f"FIELDGATE_SEED={number} {request.node.nodeid}")
    return number


@pytest.fixture(autouse=True)
def no_blocking_call(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test in which our code makes a blocking call on the event loop."""
    if request.node.get_closest_marker("may_block"):
        yield
        return
    guard = BlockBuster(["gateway", "drivers"], excluded_modules=["drivers.simulators"])
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()


def pytest_configure(config: pytest.Config) -> None:
    # What a shell runs in the background ignores Ctrl-C, and so would the programs that tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # No test asserts a time. What a property is tried with by day is drawn anew each day; at night it is tried harder.
    settings.register_profile("day", deadline=None, max_examples=30)
    settings.register_profile("night", deadline=None, max_examples=200)
    settings.load_profile(config.getoption("--hypothesis-profile", None) or "day")
    config.addinivalue_line("markers", "nightly: takes longer than a run before each commit should")
    config.addinivalue_line("markers", "may_block: the loop is blocked on purpose")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without -m, what is nightly is left out, not skipped."""
    if config.option.markexpr:
        return
    nightly = [item for item in items if item.get_closest_marker("nightly")]
    if nightly:
        config.hook.pytest_deselected(items=nightly)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The lines of `tell`, of tests that passed and of those that did not."""
    reports = [one for outcome in ("passed", "failed") for one in terminalreporter.stats.get(outcome, [])]
    told = [str(line) for one in reports if one.when == "call" for name, line in one.user_properties if name == "told"]
    if told:
        terminalreporter.section("told")
        for line in told:
            terminalreporter.write_line(line)


def _listed(reason: str) -> bool:
    lines = SKIPS.read_text("utf-8").splitlines()
    return any(line.strip() in reason for line in lines if line.strip() and not line.startswith("#"))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A skip whose reason skips.txt does not list fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    reasons = {str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr) for report in skipped}
    unlisted = sorted(reason for reason in reasons if not _listed(reason))
    for reason in unlisted:
        reporter.write_line(f"a skip that tests/skips.txt does not list: {reason}", red=True)
    if unlisted and exitstatus == 0:
        session.exitstatus = 1
