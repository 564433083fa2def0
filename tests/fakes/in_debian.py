"""Run by the Python of a root file system: a broker with Debian's configuration and the drop-in, and a gateway.

`python3 in_debian.py COUNT` lets COUNT messages wait at the broker while the gateway is away, then starts it, and
prints as JSON what it stored and what `verify --store` says.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TOPIC = "farm/climate"
PATIENCE_S = 120


def as_user(user: str, *command: str) -> list[str]:
    return ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--reset-env", *command]


def fieldgate(*args: str) -> str:
    return subprocess.run(as_user("fieldgate", "fieldgate", *args), check=True, capture_output=True, text=True).stdout


def status() -> dict[str, Any]:
    """Of a gateway that may not run yet: the command then ends with 3."""
    command = as_user("fieldgate", "fieldgate", "status", "--json")
    told: dict[str, Any] = json.loads(subprocess.run(command, check=False, capture_output=True, text=True).stdout)
    return told


def until(what: str, seen) -> None:  # type: ignore[no-untyped-def]
    for _ in range(PATIENCE_S * 10):
        if seen():
            return
        time.sleep(0.1)
    sys.exit(f"never: {what}")


def publish(text: str) -> bool:
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-q", "1", "-t", TOPIC, "-l"]
    return subprocess.run(command, input=text, text=True, check=False, capture_output=True).returncode == 0


def start() -> subprocess.Popen[str]:
    gateway = subprocess.Popen(as_user("fieldgate", "fieldgate", "run"), stderr=subprocess.PIPE, text=True)

    def answers() -> bool:
        if gateway.poll() is not None:
            sys.exit(gateway.stderr.read())  # type: ignore[union-attr]
        told = status()
        return bool(told["running"] and told["sources"]["climate"]["up"])

    until("the gateway is up", answers)
    return gateway


def stop(gateway: subprocess.Popen[str]) -> None:
    gateway.terminate()
    _, said = gateway.communicate(timeout=PATIENCE_S)
    if gateway.returncode:
        sys.exit(said)


def main(count: int) -> None:
    shutil.copy("/usr/share/fieldgate/mosquitto/lossless.conf", "/etc/mosquitto/conf.d/fieldgate.conf")
    Path("/run/mosquitto").mkdir(exist_ok=True)
    shutil.chown("/run/mosquitto", "mosquitto")
    Path("/root").chmod(0o700)
    os.chdir("/root")  # which the gateway's user may not enter
    broker = subprocess.Popen(as_user("mosquitto", "/usr/sbin/mosquitto", "-c", "/etc/mosquitto/mosquitto.conf"))
    until("the broker is up", lambda: publish(""))
    stop(start())  # from now on it has a session
    publish("".join(f'{{"temp": {n}}}\n' for n in range(count)))
    gateway = start()
    until("all is stored", lambda: status()["sources"]["climate"]["stored"] == count)
    stop(gateway)
    broker.terminate()
    told = {
        "version": fieldgate("--version").strip(),
        "readings": len(json.loads(fieldgate("export", "climate", "--from", "0"))),
        "verified": fieldgate("verify", "--store", "/var/lib/fieldgate"),
    }
    print(json.dumps(told))


main(int(sys.argv[1]))
