"""The units as systemd itself reads them: nothing in them is unknown, and little is exposed."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway import app, cli
from gateway.core import limits
from gateway.node import run as node_run

ROOT = Path(__file__).parents[2]
UNITS = sorted(path.name for path in (ROOT / "systemd").glob("fieldgate*.service"))
SANDBOXED = [name for name in UNITS if name != "fieldgate-upgrade.service"]  # that one installs packages
TIMERS = sorted(path.name for path in (ROOT / "systemd").glob("fieldgate*.timer"))
DAEMONS = ["fieldgate.service", "fieldgate-node.service"]
DROP_INS = sorted(path.name for path in (ROOT / "deploy" / "systemd").glob("*.conf"))
EXPOSED_TENTHS = 20
# systemd 252, which Debian 12 has, says of these that it does not know them.
LATER_SINCE = 254
LATER = re.compile(r".*: Unknown key (name )?'(RestartSteps|RestartMaxDelaySec)' in section .*, ignoring\.")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root folder with the units, their program, and what they are ordered after."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for path in (ROOT / "systemd").iterdir():
        if path.suffix in {".service", ".timer"}:
            shutil.copy(path, units)
    for name in ("usr/bin/fieldgate", "usr/lib/fieldgate/upgrade.py"):
        program = tmp_path / name
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    for name in ("basic", "sysinit", "shutdown", "multi-user", "local-fs", "time-set", "time-sync", "network-online"):
        (units / f"{name}.target").write_text(f"[Unit]\nDescription={name}\n")
    (units / "timers.target").write_text("[Unit]\nDescription=timers\n")
    return tmp_path


def add(root: Path, drop_in: str, unit: str = "fieldgate.service") -> None:
    folder = root / "etc/systemd/system" / f"{unit}.d"
    folder.mkdir()
    shutil.copy(ROOT / "deploy/systemd" / drop_in, folder)


def analyze(root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", f"--root={root}", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def settings(unit: str) -> configparser.SectionProxy:
    """The last value of each setting of [Service]."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",), delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(ROOT / "systemd" / unit)
    return parser["Service"]


def systemd_version(told: str) -> int:
    """Of systemd, by what `--version` of one of its programs tells."""
    return int(told.split()[1])


def surprises(told: str, systemd: int) -> list[str]:
    """The lines of `verify`, but for what a systemd of that version is too old to know."""
    return [line for line in told.splitlines() if systemd >= LATER_SINCE or not LATER.fullmatch(line)]


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    told = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True).stdout
    return surprises(done.stdout + done.stderr, systemd_version(told))


@pytest.mark.parametrize("unit", [*UNITS, *TIMERS])
def test_systemd_knows_everything_in_a_unit(unit: str, root: Path) -> None:
    done = analyze(root, "verify", "--man=no", "--recursive-errors=no", unit)
    assert said(done) == []


def test_only_an_old_systemd_may_not_know_a_setting() -> None:
    """A control."""
    line = "/lib/systemd/system/fieldgate.service:35: Unknown key 'RestartSteps' in section [Service], ignoring."
    assert (surprises(line, 252), surprises(line, 254)) == ([], [line])


def test_a_unit_with_a_fault_is_found(root: Path) -> None:
    """A control."""
    path = root / "etc/systemd/system/fieldgate.service"
    path.write_text(path.read_text().replace("ProtectHome=yes", "ProtectHom=yes"))
    assert any("ProtectHom" in line for line in said(analyze(root, "verify", "--man=no", "fieldgate.service")))


@pytest.mark.parametrize("unit", SANDBOXED)
def test_little_is_exposed(unit: str, root: Path) -> None:
    done = analyze(root, "security", "--offline=true", f"--threshold={EXPOSED_TENTHS}", unit)
    assert done.returncode == 0, done.stdout[-200:]


def test_a_unit_without_its_sandbox_is_over_the_threshold(root: Path) -> None:
    """A control: the exposure is judged, not only printed, and drop-ins count."""
    folder = root / "etc/systemd/system/fieldgate.service.d"
    folder.mkdir()
    (folder / "open.conf").write_text("[Service]\nSystemCallFilter=\nCapabilityBoundingSet=CAP_SYS_ADMIN\n")
    args = ("security", "--offline=true", f"--threshold={EXPOSED_TENTHS}", "fieldgate.service")
    assert analyze(root, *args).returncode != 0


@pytest.mark.parametrize("drop_in", DROP_INS)
def test_a_drop_in_is_known_and_exposes_little_more(drop_in: str, root: Path) -> None:
    add(root, drop_in)
    assert said(analyze(root, "verify", "--man=no", "--recursive-errors=no", "fieldgate.service")) == []
    done = analyze(root, "security", "--offline=true", f"--threshold={EXPOSED_TENTHS}", "fieldgate.service")
    assert done.returncode == 0, done.stdout[-200:]


@pytest.mark.parametrize("drop_in", DROP_INS)
def test_the_manual_has_each_drop_in(drop_in: str) -> None:
    assert f"/usr/share/fieldgate/systemd/{drop_in}" in (ROOT / "docs/operations.md").read_text()


def test_a_stop_has_time_for_its_deadlines() -> None:
    assert int(settings("fieldgate.service")["TimeoutStopSec"]) > app._DRAIN_S + app._PUSH_S
    assert int(settings("fieldgate-node.service")["TimeoutStopSec"]) > node_run._GRACE_S


@pytest.mark.parametrize("unit", DAEMONS)
def test_the_watchdog_is_slower_than_what_it_waits_for(unit: str) -> None:
    within_s = int(settings(unit)["WatchdogSec"])
    assert within_s / 2 > limits.COMMIT_S + limits.WATCHDOG_LAG_S
    assert settings(unit)["Type"] == "notify"
    assert settings(unit)["NotifyAccess"] == "main"


@pytest.mark.parametrize("unit", DAEMONS)
def test_only_what_needs_a_person_is_not_restarted(unit: str) -> None:
    assert settings(unit)["Restart"] == "on-failure"
    assert settings(unit)["RestartPreventExitStatus"] == str(cli.USAGE)


@pytest.mark.parametrize("unit", DAEMONS)
def test_the_clock_may_be_asked(unit: str) -> None:
    """ProtectClock= would take adjtimex away, and systemd-analyze would praise it."""
    assert "ProtectClock" not in settings(unit)
    text = (ROOT / "systemd" / unit).read_text()
    assert "SystemCallFilter=adjtimex clock_adjtime" in text
