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
from typing import TypeVar

T = TypeVar("T")
CONFIG = Path("/etc/fieldgate/fieldgate.toml")
DATA = Path("/var/lib/fieldgate")
PROBED = DATA / "probed.json"
UNIT = "fieldgate.service"
NODE_UNIT = "fieldgate-node.service"
JUDGE_UNIT = "fieldgate-upgrade.service"
NODE = Path("/var/lib/fieldgate-node")
OUTCOME = Path("/var/lib/fieldgate-upgrade/outcome.json")
ADAPTER = Path("/dev/ttyUSB0")
DROP_IN = Path("/etc/systemd/system/fieldgate.service.d")
PATIENCE_S = 240
JUDGED_S = 900
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
LATE = """
[source.late]
driver = "serial_line"
port = "/dev/serial/by-id/{name}"
baud = 9600
format = "csv"
columns = ["n"]
values = {{ n = {{}} }}
"""


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr)[-400:]
    if done.returncode and command[0] == "systemctl":
        said += logged()[-600:]
    assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}: {said}"
    return done.stdout


def logged() -> str:
    """What the units have said last."""
    units = [f"--unit={name}" for name in (UNIT, NODE_UNIT, JUDGE_UNIT)]
    return run("journalctl", *units, "--no-pager", "--lines=8", "--output=cat")


def fieldgate(*args: str) -> str:
    who = ("--reuid", "fieldgate", "--regid", "fieldgate", "--init-groups", "--reset-env")
    return run("setpriv", *who, "fieldgate", *args)


def unit(*names: str, of: str = UNIT) -> dict[str, str]:
    """Properties of a unit."""
    told = run("systemctl", "show", of, *(f"--property={name}" for name in names))
    return dict(line.split("=", 1) for line in told.splitlines())


def until(what: str, seen: Callable[[], T | None], within_s: float = PATIENCE_S) -> T:
    last, deadline = "", time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if found := seen():
                return found
        except (AssertionError, KeyError, ValueError, OSError) as error:
            last = str(error)
        time.sleep(0.5)
    raise AssertionError(f"never: {what} {last} {unit('ActiveState', 'SubState', 'StatusText', 'Result')} {logged()}")


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


def readings() -> list[object]:
    """All that are stored of the scale."""
    found: list[object] = json.loads(fieldgate("export", "scale", "--from", "0"))
    return found


def installed() -> str:
    """The version that dpkg has."""
    return run("dpkg-query", "--show", "--showformat=${Version}", "fieldgate")


def install(deb: str) -> None:
    run("dpkg", "--install", f"/srv/{deb}")


def outcome(version: str) -> dict[str, str]:
    """What came of the update to a version; it ends when that is known."""

    def seen() -> dict[str, str] | None:
        told: dict[str, str] = json.loads(OUTCOME.read_text())
        ended = unit("ActiveState", of=JUDGE_UNIT)["ActiveState"] == "inactive"
        return told if ended and told["to"] == version else None

    return until("it is judged", seen, JUDGED_S)


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
    """The log's key from systemd: as a file of root's, then encrypted for this machine, as credential.conf has both."""
    key, drop_in = status()["vkey"], DROP_IN / "credential.conf"
    run("chown", "root:", "/etc/fieldgate/log.key")
    drop_in.write_text(Path("/usr/share/fieldgate/systemd/credential.conf").read_text())
    text = CONFIG.read_text()
    assert 'key = "file:/etc/fieldgate/log.key"' in text
    CONFIG.write_text(text.replace('key = "file:/etc/fieldgate/log.key"', 'key = "credential:log.key"'))
    _signs_with(key)
    lines = drop_in.read_text().splitlines()
    [command] = [line.strip("# ").split() for line in lines if "systemd-creds encrypt" in line]
    run(*command)
    Path("/etc/fieldgate/log.key").rename("/root/log.key")
    lines = [line.removeprefix("# ") if line.startswith("# LoadCredential") else line for line in lines]
    drop_in.write_text("\n".join(line for line in lines if not line.startswith("LoadCredential=")))
    assert "\nLoadCredentialEncrypted=" in drop_in.read_text()
    _signs_with(key)


def _signs_with(key: str) -> None:
    """Started anew, with the key that systemd hands over."""
    size = status()["chain"]["size"]
    PROBED.unlink()
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", UNIT)
    until("a block more", lambda: status()["chain"]["size"] > size + 1)  # one was sealed as it stopped
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
    until("the adapter", ADAPTER.exists)
    run("udevadm", "settle")
    names = _names(Path("/dev/fieldgate"))
    assert any(name.startswith("socket-") for name in names) and len(names) == 2, names
    told = run("udevadm", "info", "--query=property", f"--name={ADAPTER}")
    assert "ID_MM_PORT_IGNORE=1" in told, told
    port = Path("/sys/class/tty/ttyUSB0/device").resolve()
    adapter = next(folder for folder in port.parents if (folder / "idVendor").exists())
    parent = run("udevadm", "info", "--query=property", f"--path={adapter}")
    assert "ID_MM_DEVICE_IGNORE=1" in parent, parent


def late_adapter() -> None:
    """Its module comes when the gateway runs already: systemd allows only what the kernel knew at the start."""
    run("systemctl", "stop", UNIT)
    run("modprobe", "-r", "ftdi_sio", "usbserial")
    until("no adapter", lambda: not ADAPTER.exists())
    assert "ttyUSB" not in Path("/proc/devices").read_text()
    run("systemctl", "start", UNIT)
    until("it runs", active)
    assert not ADAPTER.exists()
    run("modprobe", "ftdi_sio")
    until("the adapter", ADAPTER.exists)
    run("udevadm", "settle")
    [name] = _names(Path("/dev/serial/by-id"))
    CONFIG.write_text(CONFIG.read_text() + LATE.format(name=name))
    run("systemctl", "reload", UNIT)
    until("its port is open", lambda: status()["sources"]["late"]["up"])
    assert active(0)


def node() -> None:
    """On the same machine, as the manual has it. It goes on, so that updates have to be co-signed."""
    config = NODE / "node.toml"
    made = run("fieldgate", "node", "init", "--name", "node.example", "--dir", str(NODE))
    run("chown", "-R", "fieldgate-node:", str(NODE))
    with config.open("a") as file:
        file.write(f"\n[gateway.guest]\nvkey = {json.dumps(status()['vkey'])}\n")
    run("fieldgate", "check", "--node", "--config", str(config))
    run("systemctl", "enable", "--now", NODE_UNIT)
    told = unit("Type", "ActiveState", "StatusText", of=NODE_UNIT)
    assert (told["Type"], told["ActiveState"]) == ("notify", "active"), told
    until("its status", lambda: unit("StatusText", of=NODE_UNIT)["StatusText"].startswith("Serves 1 log"))
    CONFIG.write_text(CONFIG.read_text() + "\n" + made[made.index("[node.") :])
    run("systemctl", "reload", UNIT)
    until("it co-signs", lambda: status()["nodes"]["node"]["cosigned_s"] is not None)
    run("systemctl", "restart", NODE_UNIT)
    _node_goes_on()
    run("systemctl", "stop", NODE_UNIT)
    told = unit("ActiveState", "Result", "NRestarts", of=NODE_UNIT)
    assert told == {"ActiveState": "inactive", "Result": "success", "NRestarts": "0"}
    run("systemctl", "start", NODE_UNIT)
    _node_goes_on()


def _node_goes_on() -> None:
    size = status()["chain"]["size"]
    until("a block more is kept by the node", lambda: status()["nodes"]["node"]["stored"] > size)
    assert active(0)


def updates() -> None:
    """The next version is judged to be good, and a node that runs is started anew with it."""
    before, kept, pid = status()["chain"]["size"], readings(), unit("MainPID", of=NODE_UNIT)
    install("next.deb")
    told = outcome(installed())
    assert told["result"] == "good", told
    assert unit("Result", of=JUDGE_UNIT)["Result"] == "success"
    until("it runs", active)
    more_is_stored()
    assert status()["version"] == installed()
    assert status()["chain"]["size"] > before
    assert readings()[: len(kept)] == kept
    until("the node's new version", lambda: unit("MainPID", of=NODE_UNIT) != pid)
    _node_goes_on()


def taken_back() -> None:
    """A version whose gateway ends at once; it is judged by its own upgrade.py, which guest.py has made impatient."""
    good, before, kept = installed(), status()["chain"]["size"], readings()
    install("bad.deb")
    bad = installed()
    assert bad != good
    until("the judge", lambda: unit("ActiveState", of=JUDGE_UNIT)["ActiveState"] == "active")
    done = subprocess.run(["systemctl", "stop", JUDGE_UNIT], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "refused" in done.stderr, done
    told = outcome(bad)
    assert (told["result"], told["from"]) == ("taken-back", good), told
    assert told["why"].startswith("the gateway does not answer"), told
    assert unit("Result", of=JUDGE_UNIT)["Result"] == "success"
    assert installed() == good
    until("it runs", active)
    more_is_stored()
    assert status()["version"] == good
    until("blocks", lambda: status()["chain"]["size"] > before + 1)
    assert readings()[: len(kept)] == kept
    until("it is told", lambda: "upgrade-taken-back" in [one["condition"] for one in status()["problems"]])
    assert "fieldgate" in run("apt-mark", "showhold")
    _node_goes_on()


def older() -> None:
    """Whoever installs an older version knows why: nothing is judged."""
    run("apt-mark", "unhold", "fieldgate")
    told, before = OUTCOME.read_text(), status()["chain"]["size"]
    install("first.deb")
    until("it runs", active)
    more_is_stored()
    assert status()["chain"]["size"] > before
    assert not OUTCOME.with_name("before.json").exists()
    assert OUTCOME.read_text() == told


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
    late_adapter,
    killed,
    watchdog,
    verification,
    credential,
    faulty_configuration,
    node,
    updates,
    taken_back,
    older,
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
