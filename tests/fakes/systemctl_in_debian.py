#!/usr/bin/python3
"""In place of systemctl in a root file system where no systemd runs: the gateway's unit, and the judge of updates."""

import os
import runpy
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PIDS = Path("/run/fake-systemd")
GATEWAY = ["setpriv", "--reuid", "fieldgate", "--regid", "fieldgate", "--init-groups", "--reset-env"]
GATEWAY += ["/usr/bin/fieldgate", "run", "--config", "/etc/fieldgate/fieldgate.toml"]
JUDGE = [sys.executable, __file__, "judge"]
UNITS = {"fieldgate.service": GATEWAY, "fieldgate-upgrade.service": JUDGE}
PATIENCE_S = 30.0  # in place of ten minutes


def alive(pid: int) -> bool:
    """Whether it runs, and is not only waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def main_pid(unit: str) -> int | None:
    with suppress(OSError, ValueError):
        pid = int((PIDS / unit).read_text())
        return pid if alive(pid) else None
    return None


def start(unit: str) -> None:
    if main_pid(unit) is not None:
        return
    with (PIDS / f"{unit}.log").open("a") as log:
        process = subprocess.Popen(
            UNITS[unit], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    (PIDS / unit).write_text(str(process.pid))


def stop(unit: str) -> None:
    pid = main_pid(unit)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        for _ in range(600):
            if not alive(pid):
                return
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)


def main(args: list[str]) -> int:
    if args == ["judge"]:
        names = runpy.run_path("/usr/lib/fieldgate/upgrade.py")
        names["watch"](names["Place"](), look_s=0.5, longest_s=PATIENCE_S)
        return 0
    PIDS.mkdir(exist_ok=True)
    words = [word for word in args if not word.startswith("-")]
    known = [word for word in words[1:] if word in UNITS]
    if "is-active" in words:
        return 0 if known and main_pid(known[0]) is not None else 3
    for unit in known:
        if words[0] in {"stop", "restart", "try-restart"} and unit == "fieldgate.service":
            stop(unit)
        if words[0] in {"start", "restart"} and not (words[0] == "restart" and unit == "fieldgate-upgrade.service"):
            start(unit)
    return 0


sys.exit(main(sys.argv[1:]))
