#!/usr/bin/python3 -IS
"""Watches a new version of the package, and puts the one before back where the new one does not do its work.

Installed beside the program and stands alone: it needs nothing of the version that it judges but its commands.

upgrade.py keep NEW   by the version that is replaced, before it is: makes its package anew from what is installed, and
                      writes down how the gateway does. Whatever fails, the update goes on, without a way back.
upgrade.py watch      by fieldgate-upgrade.service, as root: judges the new version until it is good or its time is up.
upgrade.py back       puts the version before back now.
"""

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

NAME = "fieldgate"
UNIT = "fieldgate.service"
LONGEST_S = 600.0  # that a new version has; more where blocks are made less often
SEAL_S = 120.0  # beyond the age at which a block is sealed
MOST_S = 7_200.0
START_S = 3_600.0  # for which a start that goes on is not held against it
LOOK_S = 5.0
ANSWER_S = 90.0  # from the start of a version that was put back
RECENT_S = 3_600.0  # a node that co-signed within it has to co-sign again
_COMMAND_S = 60.0
_DPKG_S = 900.0
_STORE_S = 7_200.0  # to write a store anew: 8 GiB on a card that takes 2 MiB a second
_TELLS = (0, 1, 4)  # how `fieldgate status` ends where a gateway answers: well, with counts that do not add up, held
_FILE_BYTES = 1 << 20
_FULL_BYTES = 1 << 20
_WHY_CHARS = 2_000  # of what a bad version says of itself
_OF_DPKG = re.compile(  # fields of its status that no package has
    r"^(?:Status|Conffiles|Config-Version|Triggers-Pending|Triggers-Awaited):.*\n(?: .*\n)*", re.MULTILINE
)
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

State = dict[str, Any]


class Place(NamedTuple):
    """Below which folder everything is, and where the configuration and the program are."""

    root: Path = Path("/")

    @property
    def folder(self) -> Path:
        """What is known of an update; root's, and everybody may read it."""
        return self.root / "var/lib/fieldgate-upgrade"

    @property
    def before(self) -> Path:
        """How the gateway did before an update that is not judged yet."""
        return self.folder / "before.json"

    @property
    def outcome(self) -> Path:
        """What came of the newest one."""
        return self.folder / "outcome.json"

    @property
    def previous(self) -> Path:
        """The version before, as a package."""
        return self.folder / "previous.deb"

    @property
    def config(self) -> Path:
        """Of the gateway."""
        return self.root / "etc/fieldgate/fieldgate.toml"

    def dpkg(self, command: str, *args: str) -> list[str]:
        """dpkg or dpkg-query on this system."""
        if self.root == Path("/"):
            return [command, *args]
        apart = ["--force-script-chrootless", "--force-not-root"] if command == "dpkg" else []
        return [command, f"--root={self.root}", *apart, *args]


class Failed(Exception):
    """A step that cannot be done, in one sentence."""


# -- before -----------------------------------------------------------------------------------------------------------


def keep(place: Place, new: str) -> None:
    """Writes down how the installed version does, and makes its package anew. Raises Failed.

    Of a version that is not judged yet nothing is kept: the one before it stays the way back. Who goes back to an older
    version knows why, and nothing is judged; who installs the same one again changes nothing.
    """
    old, pending = installed(place), read(place.before)
    if new == old or (pending is not None and pending.get("back")):
        return
    if not is_newer(new, old):
        place.before.unlink(missing_ok=True)
        return
    place.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    if pending is not None and place.previous.exists():
        write(place.before, {**pending, "to": new, "at_s": time.time()})
        return
    told = status(place)
    failed = None
    try:
        repack(place, old)
    except Failed as error:
        failed = error
    write(place.before, {"from": old, "to": new, "at_s": time.time(), "ran": told is not None, **facts(told)})
    if failed is not None:
        raise failed  # the new one is judged all the same, and what is the matter with it is told


def facts(told: State | None) -> State:
    """What of a status a new version is held to."""
    if told is None:
        return {"origin": "", "size": 0, "held": None, "stored": False, "cosigned": []}
    chain, ages = told["chain"], {name: node.get("cosigned_s") for name, node in told["nodes"].items()}
    return {
        "origin": told["origin"],
        "size": chain["size"],
        "held": chain["held"],
        "stored": bool(told["journal"]["stores"]),
        "cosigned": [name for name, age in ages.items() if age is not None and age < RECENT_S],
    }


def repack(place: Place, version: str) -> None:
    """The installed package as a file, of what dpkg knows and of the files that are there: images may lack manuals."""
    tree, made = place.folder / "tree", place.folder / "previous.new"
    shutil.rmtree(tree, ignore_errors=True)
    try:
        for path in ask(place.dpkg("dpkg-query", "--listfiles", NAME)).splitlines():
            source, target = place.root / path.lstrip("/"), tree / path.lstrip("/")
            if path.startswith("/") and path != "/." and os.path.lexists(source):
                _take(source, target)
        control = tree / "DEBIAN"
        control.mkdir(mode=0o755)
        fields = ask(place.dpkg("dpkg-query", "--status", NAME))
        text = _OF_DPKG.sub("", fields.rstrip("\n") + "\n")
        (control / "control").write_text(text)
        for path in ask(place.dpkg("dpkg-query", "--control-path", NAME)).splitlines():
            source = place.root / path.removeprefix(str(place.root)).lstrip("/")
            shutil.copy2(source, control / source.suffix.removeprefix("."))
        run(["dpkg-deb", "-Zgzip", "-z1", "--build", str(tree), str(made)], _DPKG_S)
        if version_of(made) != version:
            raise Failed("the package that was made anew is not of the installed version")
        settle(made, place.previous)
    except OSError as error:
        raise Failed(f"the installed version cannot be kept: {error}") from error
    finally:
        shutil.rmtree(tree, ignore_errors=True)
        made.unlink(missing_ok=True)


def _take(source: Path, target: Path) -> None:
    if source.is_symlink() or not source.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:  # another file system
            shutil.copy2(source, target, follow_symlinks=False)
    else:
        target.mkdir(mode=0o755, parents=True, exist_ok=True)


# -- after ------------------------------------------------------------------------------------------------------------


def watch(place: Place, *, look_s: float = LOOK_S, longest_s: float = LONGEST_S) -> None:
    """Until the new version is good or its time is up; then the version before is put back."""
    wait_for_dpkg(place)
    finish_dpkg(place)
    at_s, begun, since, first = None, 0.0, 0.0, None
    while (before := read(place.before)) is not None:
        now = installed(place)
        if now == before["from"]:
            place.before.unlink(missing_ok=True)  # the update did not take place
            return
        if before["at_s"] != at_s:
            at_s, begun = before["at_s"], time.monotonic()
            since, first = begun, None
        told = status(place)
        missing = judge(before, told, now)
        if not missing:
            settled(place, before, "good", "")
            return
        going = starts() if told is None else None
        first = going if first is None else first
        waits = set(missing) <= {"status", "journal", "chain", "cosigned"} and is_full(place)
        if waits or (going is not None and going == first and time.monotonic() - since < START_S):
            begun = time.monotonic()  # which is no fault of the version, or not yet
        elif time.monotonic() - begun >= patience(place, longest_s):
            urls = nodes(place)
            late = oldest_s(place) + SEAL_S > max(longest_s, MOST_S)  # nobody waits that long
            if late and "chain" in missing and set(missing) <= {"chain", "cosigned"}:
                settled(place, before, "good", "it stores, and has no block to seal yet")
            elif set(missing) == {"cosigned"} and not any(reachable(urls.get(name, "")) for name in before["cosigned"]):
                settled(place, before, "good", "no node that co-signed before can be reached")
            else:
                put_back(place, before, "; ".join(missing.values()))
            return
        time.sleep(look_s)


def judge(before: State, told: State | None, version: str) -> dict[str, str]:
    """What is missing for the new version to be good, by name, in words. Pure.

    A gateway that did not run before, or that signed nothing, is not held to it afterwards.
    """
    if not before["ran"]:
        return {}
    if told is None:
        return {"status": "the gateway does not answer"}
    try:
        return _missing(before, told, version)
    except (AttributeError, KeyError, TypeError):
        return {"status": "what the gateway answers cannot be understood"}


def _missing(before: State, told: State, version: str) -> dict[str, str]:
    chain, missing = told["chain"], {}
    if told.get("version") != version:
        missing["version"] = f"version {told.get('version')} runs, and {version} is installed"
    if told["origin"] != before["origin"]:
        missing["origin"] = f"the log is {told['origin']}, and was {before['origin']}"
    stored = before.get("stored", True)
    sealed = chain["size"] > before["size"] and chain["sealed"]  # the version before sealed one as it stopped
    if stored and not (chain["commits"] and told["journal"]["stores"]):
        missing["journal"] = "nothing is stored"
    if before["held"] is None:
        if chain["held"] is not None:
            missing["held"] = f"signing is held: {chain['held']}"
        elif stored and not sealed:
            missing["chain"] = f"it has sealed no block behind block {before['size'] - 1}"
        if before["cosigned"] and not any(node.get("cosigned_s") is not None for node in told["nodes"].values()):
            missing["cosigned"] = "no node has co-signed"
    return missing


def patience(place: Place, longest_s: float) -> float:
    """How long a new version has, in seconds: a block has to be sealed in it."""
    longest = oldest_s(place)
    return min(max(longest_s, longest + SEAL_S if longest > SEAL_S else 0), max(longest_s, MOST_S))


def oldest_s(place: Place) -> float:
    """The age at which a block is sealed, where the configuration names one; 0."""
    ages = [table.get("seal", {}).get("max_age_s", 0) for table in tables(place)]
    return max((age for age in ages if isinstance(age, int | float)), default=0)


def is_full(place: Place) -> bool:
    """Whether nothing of the gateway's can be written: then it waits for room, whichever version."""
    folders = [table.get("gateway", {}).get("data_dir") for table in tables(place)]
    for folder in (one for one in folders if isinstance(one, str)):
        with suppress(OSError, ValueError):
            told = os.statvfs(place.root / folder.lstrip("/"))
            if told.f_bavail * told.f_frsize < _FULL_BYTES:
                return True
    return False


def starts() -> int | None:
    """How often it was restarted, while the service manager waits for a start that goes on; None else.

    One that dies and is started anew counts up.
    """
    with suppress(Failed, ValueError):
        told = ask(["systemctl", "show", "--property=SubState", "--property=NRestarts", UNIT]).splitlines()
        found = dict(line.partition("=")[::2] for line in told)
        if found.get("SubState", "").startswith("start"):
            return int(found.get("NRestarts", ""))
    return None


def put_back(place: Place, before: State, why: str) -> None:
    """The version before, with all that the new one has stored and signed; held there until a person says otherwise."""
    why = why[:_WHY_CHARS]
    if not is_kept(place, before["from"]):
        settled(place, before, "bad", f"{why}; and there is no version to put back")
        return
    wait_for_dpkg(place)
    # Decided: from here on a restart of the machine goes on with it.
    write(place.before, {**before, "back": why})
    _systemctl("stop")
    try:
        run(place.dpkg("dpkg", "--force-downgrade", "--force-confold", "--install", str(place.previous)), _DPKG_S)
    except Failed as error:
        _systemctl("start")  # whichever is there
        settled(place, before, "bad", f"{why}; and the version before could not be put back: {error}")
        return
    _systemctl("stop")
    refused = ""
    try:
        run(as_gateway(place, "restore", "--snapshot"), _STORE_S)
    except Failed as error:  # also where the newer one has stepped on nothing
        refused = str(error)
    with suppress(Failed):
        run(["apt-mark", "hold", NAME], _COMMAND_S)
    _systemctl("start")
    if refused and before.get("ran") and not _answers(place):
        why = f"{why}; and the version before, put back, does not answer: {refused}"
    settled(place, before, "taken-back", why)


def _answers(place: Place) -> bool:
    until = time.monotonic() + ANSWER_S
    while (told := status(place)) is None and time.monotonic() < until:
        time.sleep(1)
    return told is not None


def _systemctl(word: str) -> None:
    with suppress(Failed):
        run(["systemctl", word, UNIT], _COMMAND_S * 3)


def back(place: Place) -> None:
    """Puts the version before back because a person wants it. Raises Failed where that is not what would come of it."""
    now, pending = installed(place), read(place.before)
    if not place.previous.exists():
        raise Failed("no version before this one is kept")
    kept = version_of(place.previous)
    if kept == now:
        raise Failed(f"version {kept} is installed already, and none before it is kept")
    put_back(place, {**(pending or {}), "from": kept, "to": now}, "it was asked for")


def settled(place: Place, before: State, result: str, why: str) -> None:
    """The outcome, durably; the update is judged."""
    told = {"from": before["from"], "to": before["to"], "at_ms": int(time.time() * 1000), "result": result, "why": why}
    write(place.outcome, told)
    place.before.unlink(missing_ok=True)
    print(f"{NAME} {before['from']} to {before['to']}: {result}{f': {why}' if why else ''}", flush=True)


# -- the system -------------------------------------------------------------------------------------------------------


def installed(place: Place) -> str:
    """The version that dpkg has. Raises Failed where it is not there."""
    told = ask(place.dpkg("dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", NAME)).split()
    if len(told) != 2 or told[0] in ("not-installed", "config-files"):
        raise Failed(f"{NAME} is not installed")
    return told[1]


def version_of(package: Path) -> str:
    """Of a package in a file. Raises Failed where it is none."""
    return ask(["dpkg-deb", "--field", str(package), "Version"]).strip()


def is_kept(place: Place, version: str) -> bool:
    """Whether that is what would be put back. Of what cannot be read dpkg will say why."""
    with suppress(Failed):
        return place.previous.exists() and version_of(place.previous) == version
    return True


def is_newer(one: str, other: str) -> bool:
    """As dpkg compares versions."""
    try:
        ask(["dpkg", "--compare-versions", one, "gt", other])
    except Failed:
        return False
    return True


def wait_for_dpkg(place: Place) -> None:
    """Returns when nobody holds dpkg's lock: the update that began this goes on for a while."""
    lock = place.root / "var/lib/dpkg/lock-frontend"
    while lock.exists():
        with lock.open("rb+") as file, suppress(OSError):
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(1)


def finish_dpkg(place: Place) -> None:
    """What a power cut in the middle of an update left is taken to its end, or back."""
    before = read(place.before)
    if before is None:
        return
    if before.get("back"):
        put_back(place, before, before["back"])
        return
    try:
        told = ask(place.dpkg("dpkg-query", "--show", "--showformat=${db:Status-Status}", NAME))
        if told != "installed":
            run(place.dpkg("dpkg", "--configure", NAME), _DPKG_S)
    except Failed as error:
        put_back(place, before, f"the update was cut short: {error}")


def status(place: Place) -> State | None:
    """What the running gateway tells; None where it does not."""
    try:
        told = json.loads(run(as_gateway(place, "status", "--json"), _COMMAND_S, _TELLS))
        facts(told)
        return told if {"origin", "journal"} <= told.keys() else None
    except (Failed, ValueError, AttributeError, KeyError, TypeError):
        return None


def as_gateway(place: Place, *args: str) -> list[str]:
    """The program as the service's user. Root's rights are not for what may be a bad version."""
    program = [str(place.root / "usr/bin/fieldgate"), *args, "--config", str(place.config)]
    as_user = ["setpriv", "--reuid", NAME, "--regid", NAME, "--init-groups", "--reset-env"]
    return program if place.root != Path("/") else [*as_user, *program]


def nodes(place: Place) -> dict[str, str]:
    """The addresses of the nodes that are configured, by name."""
    found = [(name, node.get("url")) for table in tables(place) for name, node in table.get("node", {}).items()]
    return {name: url for name, url in found if isinstance(url, str)}


def tables(place: Place) -> Iterator[State]:
    """The configuration, file by file; what cannot be read is passed over."""
    for path in (place.config, *sorted(place.config.with_suffix(".d").glob("*.toml"))):
        with suppress(OSError, ValueError):
            yield tomllib.loads(path.read_text("utf-8"))


def reachable(url: str) -> bool:
    """Whether anything takes a connection there."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "", port), timeout=10):
            return True
    except (OSError, ValueError):
        return False


def run(command: list[str], within_s: float, well: tuple[int, ...] = (0,)) -> str:
    """What a command prints. Raises Failed where it does not end with one of `well`, or not in time."""
    environment = {"PATH": os.environ.get("PATH", _PATH), "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=within_s,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{command[0]}: {error}") from error
    if done.returncode not in well:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Failed(f"{' '.join(command[:2])} ended with {done.returncode}: {said[-1][:_WHY_CHARS] if said else ''}")
    return done.stdout


def ask(command: list[str]) -> str:
    """`run`, for what answers soon."""
    return run(command, _COMMAND_S)


def read(path: Path) -> State | None:
    """What was written down; None where nothing is, or nothing that can be read."""
    try:
        told = json.loads(path.read_bytes()[:_FILE_BYTES])
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def write(path: Path, told: State) -> None:
    """Durable, and all or nothing."""
    made = path.with_suffix(".new")
    made.write_text(json.dumps(told, indent=1) + "\n")
    made.chmod(0o644)
    settle(made, path)


def settle(made: Path, path: Path) -> None:
    """A finished file under its name, durably."""
    for what, flags in ((made, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        if what == path.parent:
            made.replace(path)
        descriptor = os.open(what, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def main(args: list[str]) -> int:
    """The exit code."""
    place = Place()
    try:
        match args:
            case ["keep", new]:
                keep(place, new)
            case ["watch"]:
                watch(place)
            case ["back"]:
                back(place)
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except (Failed, OSError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
