"""By the Python of a root file system: a gateway and its node, through a version that seals nothing and a good one.

`python3 updates_in_debian.py FIRST BAD GOOD`, each a package; prints what was seen as JSON. The versions are installed
as a person does it, by apt; the rest, the way back among it, happens by itself.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAME = "quay.example"
CONFIG = Path("/etc/fieldgate/fieldgate.toml")
OUTCOME = Path("/var/lib/fieldgate-upgrade/outcome.json")
NODE = Path("/var/lib/fieldgate-node/node")
PATIENCE_S = 240
SOURCE = '[seal]\nmax_age_s = 2\n[source.box]\ndriver = "system"\nevery_s = 1\n'


def run(*command: str, **env: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **env})
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{logs()}")
    return done.stdout


def logs() -> str:
    return "\n".join(f"== {path}\n{path.read_text()[-3000:]}" for path in Path("/run/fake-systemd").glob("*.log"))


def as_user(user: str, *command: str) -> list[str]:
    return ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--reset-env", *command]


def status() -> dict[str, Any]:
    command = as_user("fieldgate", "fieldgate", "status", "--json", "--config", str(CONFIG))
    told: dict[str, Any] = json.loads(
        subprocess.run(command, check=False, capture_output=True, text=True).stdout or "{}"
    )
    return told


def until(what: str, seen: Callable[[], Any]) -> Any:
    for _ in range(PATIENCE_S * 5):
        with_it = seen()
        if with_it:
            return with_it
        time.sleep(0.2)
    sys.exit(f"never: {what}\n{json.dumps(status())[:2000]}\n{logs()}")


def install(deb: str) -> None:
    options = ["--yes", "--no-install-recommends", "-o", "APT::Sandbox::User=root"]
    run("apt-get", "install", *options, deb, FIELDGATE_NAME=NAME)


def cosigned(version: str, above: int = 0) -> dict[str, Any] | None:
    """The status of a gateway of this version that goes on behind a height, and is believed."""
    told = status()
    if told.get("version") != version or told["chain"]["held"]:
        return None
    nodes = told["nodes"].values()
    good = told["chain"]["size"] > above and any(one["cosigned_s"] is not None for one in nodes)
    return told if good else None


def stores(version: str) -> dict[str, Any] | None:
    told = status()
    box = told.get("sources", {}).get("box", {})
    return told if told.get("version") == version and box.get("stored") else None


def readings() -> list[float]:
    """The time of each, which no other has."""
    command = as_user("fieldgate", "fieldgate", "export", "box", "--from", "0", "--config", str(CONFIG))
    return [record["bt"] for record in json.loads(run(*command)) if "bt" in record]


def outcome(version: str) -> Callable[[], dict[str, Any] | None]:
    def seen() -> dict[str, Any] | None:
        if not OUTCOME.exists():
            return None
        told: dict[str, Any] = json.loads(OUTCOME.read_text())
        return told if told["to"] == version else None

    return seen


def add_node() -> subprocess.Popen[str]:
    """A node on the same machine, as README has it."""
    NODE.parent.mkdir(exist_ok=True)
    shutil.chown(NODE.parent, "fieldgate-node", "fieldgate-node")
    table = run(*as_user("fieldgate-node", "fieldgate", "node", "init", "--name", "node.example", "--dir", str(NODE)))
    vkey = until("the gateway answers", lambda: status().get("vkey"))
    with (NODE / "node.toml").open("a") as file:
        file.write(f"\n[gateway.quay]\nvkey = {json.dumps(vkey)}\n")
    with CONFIG.open("a") as file:
        file.write("\n" + table[table.index("[node.") :] + "\n" + SOURCE)
    command = as_user("fieldgate-node", "fieldgate", "node", "run", "--config", str(NODE / "node.toml"))
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)


def version_of(deb: str) -> str:
    return run("dpkg-deb", "--field", deb, "Version").strip()


def main(first: str, bad: str, good: str) -> None:
    Path("/run/systemd/system").mkdir(parents=True, exist_ok=True)
    os.chdir("/")
    one, two, three = (version_of(deb) for deb in (first, bad, good))
    install(first)
    node = add_node()
    run("systemctl", "restart", "fieldgate.service")
    before = until("the first version is believed", lambda: cosigned(one, 1))
    install(bad)
    meanwhile = until("the bad version stores", lambda: stores(two))
    early = readings()
    back = until("it is taken back", outcome(two))
    after = until("the first version goes on", lambda: cosigned(one, before["chain"]["size"]))
    problems = until("it is told", lambda: [one["condition"] for one in status().get("problems", ())])
    run("apt-mark", "unhold", "fieldgate")
    install(good)
    kept = until("the good version is judged", outcome(three))
    last = until("the good version goes on", lambda: cosigned(three, after["chain"]["size"]))
    told = {
        "sizes": [state["chain"]["size"] for state in (before, meanwhile, after, last)],
        "outcomes": [back, kept],
        "problems": problems,
        "held": "fieldgate" in run("apt-mark", "showhold"),
        "installed": run("dpkg-query", "--show", "--showformat=${Version}", "fieldgate"),
        "stored": meanwhile["sources"]["box"]["stored"],
        "early": len(early),
    }
    run("systemctl", "stop", "fieldgate.service")
    everything = readings()
    told["readings"], told["lost"] = len(everything), sorted(set(early).difference(everything))
    told["verified"] = run(*as_user("fieldgate", "fieldgate", "verify", "--store", "/var/lib/fieldgate"))
    node.terminate()
    print(json.dumps(told))


main(*sys.argv[1:4])
