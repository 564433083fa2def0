"""Run by systemd in the guest, when everything else has started: looks at the services, and prints a line a check.

`CHECK name`, a tab, `ok` or what is wrong; at the end `DONE`. It goes to the console, which the host reads.

`in_guest.py probe` is run by the gateway's own unit before the gateway, in its sandbox: it tells what it may do.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

CONFIG = Path("/etc/fieldgate/fieldgate.toml")
DATA = Path("/var/lib/fieldgate")
PROBED = DATA / "probed.json"
UNIT = "fieldgate.service"
DROP_IN = Path("/etc/systemd/system/fieldgate.service.d")
PATIENCE_S = 240
SOURCE = """
[seal]
max_age_s = 2
[source.scale]
driver = "serial_line"
port = "/dev/ttyS1"
baud = 9600
format = "csv"
columns = ["n"]
values = { n = {} }
"""


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}: {(done.stdout + done.stderr)[-400:]}"
    return done.stdout


def fieldgate(*args: str) -> str:
    who = ("--reuid", "fieldgate", "--regid", "fieldgate", "--init-groups", "--reset-env")
    return run("setpriv", *who, "fieldgate", *args)


def unit(*names: str, of: str = UNIT) -> dict[str, str]:
    """Properties of a unit."""
    told = run("systemctl", "show", of, *(f"--property={name}" for name in names))
    return dict(line.split("=", 1) for line in told.splitlines())


def until(what: str, seen: Callable[[], object]) -> object:
    last, deadline = "", time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if found := seen():
                return found
        except (AssertionError, KeyError, ValueError, OSError) as error:
            last = str(error)
        time.sleep(0.5)
    log = run("journalctl", "--unit", UNIT, "--no-pager", "--lines=8", "--output=cat")
    raise AssertionError(f"never: {what} {last} {unit('ActiveState', 'SubState', 'StatusText', 'Result')} {log}")


def status() -> dict:  # type: ignore[type-arg]
    told = json.loads(fieldgate("status", "--json"))
    assert told.get("running", True)
    return told  # type: ignore[no-any-return]


def active(restarts: int | None = None) -> bool:
    told = unit("ActiveState", "NRestarts")
    return told["ActiveState"] == "active" and (restarts is None or int(told["NRestarts"]) == restarts)


def stored() -> int:
    return int(status()["sources"]["scale"]["stored"])


def more_is_stored() -> None:
    before = stored()
    until("more readings", lambda: stored() > before)


# -- in the sandbox ----------------------------------------------------------------------------------------------------


def probe() -> None:
    """What the gateway's unit lets it do: an errno's name, or "" where it was allowed."""

    def tried(call: Callable[[], object]) -> str:
        try:
            call()
        except OSError as error:
            return os.strerror(error.errno or 0)
        return ""

    def opened(path: str, flags: int = os.O_RDONLY) -> Callable[[], object]:
        return lambda: os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY))

    def asks_the_clock() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.adjtimex(ctypes.create_string_buffer(512)) < 0:
            raise OSError(ctypes.get_errno(), "")

    credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
    told = {
        "serial": tried(opened("/dev/ttyS1", os.O_RDWR)),
        "clock asked": tried(asks_the_clock),
        "clock set": tried(lambda: time.clock_settime(time.CLOCK_REALTIME, time.time())),
        "memory": tried(opened("/dev/mem")),
        "disk": tried(opened("/dev/vda")),
        "etc": tried(opened("/etc/fieldgate/new", os.O_CREAT | os.O_WRONLY)),
        "usr": tried(opened("/usr/new", os.O_CREAT | os.O_WRONLY)),
        "home": tried(opened("/root/secret")),
        "shadow": tried(opened("/etc/shadow")),
        "netlink": tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()),
        "internet": tried(lambda: socket.socket(socket.AF_INET).close()),
        "namespace": tried(_unshare),
        "data": tried(opened(str(DATA / "touched"), os.O_CREAT | os.O_WRONLY)),
        "credentials": _names(Path(credentials)) if credentials else [],
    }
    PROBED.write_text(json.dumps(told))


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000) < 0:  # CLONE_NEWUSER
        raise OSError(ctypes.get_errno(), "")


# -- the checks --------------------------------------------------------------------------------------------------------


def ready() -> None:
    until("the gateway runs", active)
    told = unit("Type", "NRestarts", "StatusText", "WatchdogUSec")
    assert told["Type"] == "notify", told
    assert told["WatchdogUSec"] == "2min", told
    until("its status", lambda: unit("StatusText")["StatusText"])


def serial_line() -> None:
    until("readings", stored)
    more_is_stored()


def sandbox() -> None:
    told = json.loads(PROBED.read_text())
    allowed = {name for name, why in told.items() if why == ""}
    assert allowed == {"serial", "clock asked", "internet", "data"}, told


def reload() -> None:
    CONFIG.write_text(CONFIG.read_text() + '[source.box]\ndriver = "system"\nevery_s = 5\n')
    run("systemctl", "reload", UNIT)
    until("the new source", lambda: status()["sources"]["box"]["stored"])
    assert active(0)


def killed() -> None:
    os.kill(int(unit("MainPID")["MainPID"]), signal.SIGKILL)
    until("a restart", lambda: active(1))
    more_is_stored()


def watchdog() -> None:
    """A process that does not turn any more."""
    (DROP_IN / "short.conf").write_text("[Service]\nWatchdogSec=20\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", UNIT)
    until("it runs", lambda: active(0))
    time.sleep(45)
    assert active(0), f"it is fed while it is well: {unit('NRestarts', 'Result')}"
    os.kill(int(unit("MainPID")["MainPID"]), signal.SIGSTOP)
    until("a restart", lambda: active(1))
    assert "Watchdog timeout" in run("journalctl", "--unit", UNIT, "--no-pager")
    (DROP_IN / "short.conf").unlink()
    run("systemctl", "daemon-reload")
    more_is_stored()


def credential() -> None:
    key = status()["vkey"]
    run("chown", "root:", "/etc/fieldgate/log.key")
    DROP_IN.joinpath("credential.conf").write_text(Path("/usr/share/fieldgate/systemd/credential.conf").read_text())
    text = CONFIG.read_text()
    assert 'key = "file:/etc/fieldgate/log.key"' in text
    CONFIG.write_text(text.replace('key = "file:/etc/fieldgate/log.key"', 'key = "credential:log.key"'))
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", UNIT)
    more_is_stored()
    told = status()
    assert told["vkey"] == key
    assert told["chain"]["held"] is None, told["chain"]
    assert json.loads(PROBED.read_text())["credentials"] == ["log.key"]


def verification() -> None:
    assert unit("ActiveState", of="fieldgate-verify.timer")["ActiveState"] == "active"
    run("systemctl", "start", "fieldgate-verify.service")
    kept = json.loads((DATA / "verified.json").read_text())
    assert kept["faults"] == 0 and kept["blocks"] > 0, kept
    assert (DATA / "verified.json").stat().st_uid == DATA.stat().st_uid


def faulty_configuration() -> None:
    text = CONFIG.read_text()
    CONFIG.write_text(text + "[source.scale2]\n")
    subprocess.run(["systemctl", "restart", UNIT], capture_output=True, check=False)
    until("it has failed", lambda: unit("ActiveState")["ActiveState"] == "failed")
    time.sleep(12)
    told = unit("ActiveState", "NRestarts", "ExecMainStatus")
    assert (told["ActiveState"], told["ExecMainStatus"]) == ("failed", "2"), told
    CONFIG.write_text(text)
    run("systemctl", "start", UNIT)
    more_is_stored()


def usb_adapter() -> None:
    """qemu's is an FT232BM."""
    until("the adapter", lambda: Path("/dev/ttyUSB0").exists())
    run("udevadm", "settle")
    names = _names(Path("/dev/fieldgate"))
    assert any(name.startswith("socket-") for name in names) and len(names) == 2, names
    told = run("udevadm", "info", "--query=property", "--name=/dev/ttyUSB0")
    assert "ID_MM_PORT_IGNORE=1" in told, told
    port = Path("/sys/class/tty/ttyUSB0/device").resolve()
    adapter = next(folder for folder in port.parents if (folder / "idVendor").exists())
    parent = run("udevadm", "info", "--query=property", f"--path={adapter}")
    assert "ID_MM_DEVICE_IGNORE=1" in parent, parent


def updates() -> None:
    before = status()["chain"]["size"]
    for deb in ("next.deb", "first.deb"):
        run("dpkg", "--install", f"/srv/{deb}")
        until("it runs", active)
        more_is_stored()
    assert status()["chain"]["size"] > before


def stop() -> None:
    run("systemctl", "stop", UNIT)
    assert unit("Result", "ActiveState") == {"Result": "success", "ActiveState": "inactive"}
    assert "all good" in fieldgate("verify", "--store", str(DATA))


CHECKS = (
    ready,
    serial_line,
    sandbox,
    reload,
    usb_adapter,
    killed,
    watchdog,
    verification,
    credential,
    faulty_configuration,
    updates,
    stop,
)


def main() -> None:
    with Path("/dev/console").open("w") as console:
        for check in CHECKS:
            try:
                check()
                said = "ok"
            except Exception as error:
                said = " ".join(f"{type(error).__name__}: {error}".split())[:1500]
                traceback.print_exc()
            print(f"\nCHECK {check.__name__}\t{said}", file=console, flush=True)
        print("\nDONE", file=console, flush=True)
    subprocess.run(["systemctl", "poweroff", "--force"], check=False)


if __name__ == "__main__":
    probe() if sys.argv[1:] == ["probe"] else main()
