"""What a service manager is told, as it hears it; and that one who does not listen harms nothing."""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.service_manager import ServiceManager

from gateway import config
from gateway.core.limits import NOTIFY_STATUS_CHARS
from gateway.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServiceManager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@fieldgate-test/{os.getpid()}"
    made = ServiceManager(address)
    yield made
    made.close()


def test_each_message_is_heard_as_the_manual_has_it(manager: ServiceManager) -> None:
    notifier = Notifier(manager.address, 30.0)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.ready()
    notifier.reloading()
    notifier.stopping()
    notifier.alive()
    notifier.extend(1.5)
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    ready, reloading, *others = manager.listen()
    assert ready == {"READY": "1"}
    assert reloading.keys() == {"RELOADING", "MONOTONIC_USEC"}
    assert before <= int(reloading["MONOTONIC_USEC"]) <= after
    assert others == [{"STOPPING": "1"}, {"WATCHDOG": "1"}, {"EXTEND_TIMEOUT_USEC": "1500000"}]


def test_a_status_is_one_line_of_bounded_length_and_told_once(manager: ServiceManager) -> None:
    notifier = Notifier(manager.address)
    for text in ("All well", "All well", "bad\nREADY=1\n", "鸡" * 2 * NOTIFY_STATUS_CHARS, "All well"):
        notifier.status(text)
    heard = manager.listen()
    assert all(message.keys() == {"STATUS"} for message in heard), "no text ends the line and begins another message"
    told = [message["STATUS"] for message in heard]
    assert [told[0], told[2], told[3]] == ["All well", "鸡" * NOTIFY_STATUS_CHARS, "All well"]
    assert len(told) == 4


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234"])
def test_where_nobody_listens_nothing_is_sent_and_no_watchdog_is_fed(address: str) -> None:
    notifier = Notifier(address, 30.0)
    notifier.ready()
    assert not notifier.heard
    assert notifier.watchdog_s == 0


def test_a_manager_that_is_gone_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier(str(tmp_path / "gone"))
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            notifier.alive()
            notifier.ready()
    assert [record.getMessage() for record in caplog.records] == [
        "the service manager cannot be told anything: No such file or directory"
    ]


def test_a_manager_that_reads_nothing_holds_up_nobody(manager: ServiceManager) -> None:
    """Its queue fills; what is repeated anyway is not waited for."""
    notifier = Notifier(manager.address)
    for _ in range(100_000):
        notifier.alive()
        if notifier._failed:
            break
    assert notifier._failed, "the queue has a bound"
    assert manager.listen(), "and what it holds arrives"
    notifier.ready()
    assert manager.told("READY") == ["1"]


@pytest.mark.parametrize(
    ("variables", "watchdog_s"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "120000000"}, 120.0),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": str(os.getpid())}, 120.0),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "-5"}, 0.0),
        ({"WATCHDOG_USEC": "²"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_the_environment_says_whom_to_tell_and_how_often(
    variables: dict[str, str], watchdog_s: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert not config.notifier().heard
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    assert config.notifier().heard
    assert config.notifier().watchdog_s == watchdog_s
