"""A version that does not do its work is taken back: real dpkg, a system in a folder, and programs that misbehave."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from gateway.core import limits

SCRIPT = Path(__file__).parents[2] / "deploy" / "deb" / "upgrade.py"
ORIGIN = "hen.example/1"
GOOD: dict[str, Any] = {
    "origin": ORIGIN,
    "version": "1",
    "chain": {"size": 7, "held": None, "commits": 3, "sealed": 4},
    "journal": {"stores": True},
    "nodes": {"coop": {"cosigned_s": 12.0}},
}
# Of each version: what its `status` prints lies in a file of its own, and how it ends in another.
PROGRAM = """#!/bin/sh
echo "$1 of {version}" >> {root}/calls
[ "$1" != status ] || {{ cat {root}/status-{version} && exit "$(cat {root}/ends-{version})"; }}
[ "$1" != restore ] || exit 1
"""
PRERM = """#!/bin/sh
[ "$1" != upgrade ] || {python} -c 'import runpy, sys; from pathlib import Path
m = runpy.run_path("{script}")
m["keep"](m["Place"](Path("{root}")), sys.argv[1])' "$2" || echo "not kept" >> {root}/calls
"""
COMMAND = """#!/bin/sh
echo "{name} $*" >> {root}/calls
{more}
"""


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fieldgate_upgrade", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


upgrade = load()


class System:
    """A folder that dpkg takes for a system, with commands of the service manager that only write down."""

    def __init__(self, root: Path, commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.commands, self.place = root, commands, upgrade.Place(root)
        for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "etc/fieldgate"):
            (root / folder).mkdir(parents=True)
        (root / "var/lib/dpkg/status").touch()
        (root / "var/lib/dpkg/lock-frontend").touch()
        commands.mkdir()
        self.command("systemctl")
        self.command("apt-mark")
        monkeypatch.setenv("PATH", f"{commands}:/usr/sbin:/usr/bin:/sbin:/bin")

    def command(self, name: str, more: str = "") -> None:
        path = self.commands / name
        path.write_text(COMMAND.format(name=name, root=self.root, more=more))
        path.chmod(0o755)

    def package(self, version: str, postinst: str = "") -> Path:
        tree = self.root.parent / f"tree-{version}"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(
            f"Package: fieldgate\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <a@b.invalid>\n"
            "Description: a program\n that is none\n"
        )
        (tree / "DEBIAN/postinst").write_text(f"#!/bin/sh\necho postinst {version} >> {self.root}/calls\n{postinst}\n")
        (tree / "DEBIAN/postinst").chmod(0o755)
        (tree / "DEBIAN/prerm").write_text(PRERM.format(python=sys.executable, script=SCRIPT, root=self.root))
        (tree / "DEBIAN/prerm").chmod(0o755)
        (tree / "usr/bin").mkdir(parents=True)
        (tree / "usr/bin/fieldgate").write_text(PROGRAM.format(version=version, root=self.root))
        (tree / "usr/bin/fieldgate").chmod(0o755)
        lib = tree / f"usr/lib/fieldgate/{version}"
        lib.mkdir(parents=True)
        (lib / "a module.py").write_text(f"VERSION = {version!r}\n")
        (lib / "a module.py").chmod(0o640)
        (lib / "link").symlink_to("a module.py")
        path = self.root.parent / f"fieldgate_{version}.deb"
        subprocess.run(["dpkg-deb", "-Zgzip", "--build", str(tree), str(path)], check=True, capture_output=True)
        return path

    def dpkg(self, *args: str, check: bool = True) -> None:
        command = self.place.dpkg("dpkg", "--force-downgrade", *args)
        subprocess.run(command, check=check, capture_output=True)

    def tells(self, version: str, **changes: Any) -> None:
        told = {**GOOD, "version": version, **changes}
        (self.root / f"status-{version}").write_text(json.dumps(told))
        held = told["chain"]["held"] is not None
        (self.root / f"ends-{version}").write_text("4" if held else "0")  # as `fieldgate status` does

    @property
    def installed(self) -> str:
        return str(upgrade.installed(self.place))

    @property
    def outcome(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / "var/lib/fieldgate-upgrade/outcome.json").read_text())
        return found

    @property
    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()

    def update(self, path: Path, old: str, new: str) -> None:
        """By dpkg, whose prerm of the old version keeps it."""
        self.dpkg("--install", str(path))
        assert old != self.installed == new

    def watch(self, longest_s: float = 0.0) -> None:
        upgrade.watch(self.place, look_s=0.01, longest_s=longest_s)

    def watch_as_process(self) -> int:
        """As the service does, so that it can be killed."""
        code = f"import runpy; m = runpy.run_path({str(SCRIPT)!r}); P = m['Place']; from pathlib import Path\n"
        code += f"m['watch'](P(Path({str(self.root)!r})), look_s=0.01, longest_s=0.0)"
        return subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    made = System(tmp_path / "root", tmp_path / "bin", monkeypatch)
    made.dpkg("--install", str(made.package("1")))
    made.tells("1")
    return made


def later(size: int = 8, cosigned_s: float | None = 1.0) -> dict[str, Any]:
    return {
        "chain": {"size": size, "held": None, "commits": 1, "sealed": 1},
        "nodes": {"coop": {"cosigned_s": cosigned_s}},
    }


def files(root: Path) -> dict[str, tuple[int, bytes | str]]:
    paths = [path for path in sorted((root / "usr").rglob("*")) if path.is_symlink() or not path.is_dir()]
    return {
        str(path.relative_to(root)): (
            path.lstat().st_mode,
            str(path.readlink()) if path.is_symlink() else path.read_bytes(),
        )
        for path in paths
    }


def test_a_good_version_stays(system: System) -> None:
    system.update(system.package("2"), "1", "2")
    system.tells("2", **later())
    system.watch()
    assert system.installed == "2"
    assert (system.outcome["result"], system.outcome["from"], system.outcome["to"]) == ("good", "1", "2")
    assert not system.place.before.exists()
    assert not [call for call in system.calls if call.startswith(("systemctl", "apt-mark"))]
    system.watch()  # nothing is left to judge
    assert system.outcome["to"] == "2"


def test_a_version_that_does_not_answer_is_taken_back_byte_for_byte(system: System) -> None:
    before = files(system.root)
    system.update(system.package("2"), "1", "2")
    system.watch()
    assert system.installed == "1"
    assert files(system.root) == before
    assert system.outcome["result"] == "taken-back"
    assert system.outcome["why"] == "the gateway does not answer"
    own = system.calls[system.calls.index("postinst 2") + 1 :]
    assert [call for call in own if not call.startswith(("status", "systemctl show"))] == [
        "systemctl stop fieldgate.service",
        "postinst 1",
        "systemctl stop fieldgate.service",
        "restore of 1",
        "apt-mark hold fieldgate",
        "systemctl start fieldgate.service",
    ]
    assert not system.place.before.exists()


def test_a_version_before_that_does_not_answer_either_is_told(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of the store that could not be taken back, for one."""
    monkeypatch.setattr(upgrade, "ANSWER_S", 0.05)
    system.update(system.package("2"), "1", "2")
    (system.root / "status-1").unlink()
    system.watch()
    assert system.installed == "1"
    assert system.outcome["result"] == "taken-back"
    assert system.outcome["why"].endswith("fieldgate restore ended with 1: ")
    assert "the version before, put back, does not answer" in system.outcome["why"]
    assert system.calls[-1].startswith("status of 1")


HELD = {**GOOD["chain"], "held": "a copy of the card"}  # `fieldgate status` tells it, and ends with 4


def test_a_version_that_holds_signing_is_taken_back_for_that(system: System) -> None:
    system.update(system.package("2"), "1", "2")
    system.tells("2", chain=HELD)
    system.watch()
    assert (system.installed, system.outcome["why"]) == ("1", "signing is held: a copy of the card")


def test_a_gateway_that_was_held_before_has_to_answer_afterwards(system: System) -> None:
    """It need not sign."""
    system.tells("1", chain=HELD)
    system.update(system.package("2"), "1", "2")
    system.tells("2", chain=HELD)
    system.watch()
    assert (system.installed, system.outcome["result"]) == ("2", "good")
    system.update(system.package("3"), "2", "3")
    system.watch()
    assert (system.installed, system.outcome["why"]) == ("2", "the gateway does not answer")


def test_it_is_waited_for_a_while(system: System) -> None:
    system.update(system.package("2"), "1", "2")
    system.tells("2", **later(size=7))
    told = system.root / "status-2"
    (system.root / "usr/bin/fieldgate").write_text(
        f"#!/bin/sh\necho status of 2 >> {system.root}/calls; cat {told}; sed -i 's/: 7,/: 8,/' {told}\n"
    )
    system.watch(longest_s=60)
    assert system.installed == "2"
    assert system.outcome["result"] == "good"
    assert system.calls.count("status of 2") == 2


MISSING: dict[str, tuple[dict[str, Any], str]] = {
    "another version runs": ({"version": "1"}, "version 1 runs, and 2 is installed"),
    "another log": ({"origin": "hen.example/2"}, "the log is hen.example/2, and was hen.example/1"),
    "no commit": ({"chain": {"size": 8, "held": None, "commits": 0, "sealed": 1}}, "nothing is stored"),
    "storing fails": ({"journal": {"stores": False}}, "nothing is stored"),
    "held": ({"chain": {"size": 7, "held": "a state", "commits": 1, "sealed": 0}}, "signing is held: a state"),
    "no block": (
        {"chain": {"size": 7, "held": None, "commits": 1, "sealed": 0}},
        "it has sealed no block behind block 6",
    ),
    "no block of its own": (
        {"chain": {"size": 8, "held": None, "commits": 1, "sealed": 0}},
        "it has sealed no block behind block 6",
    ),
    "no node": ({"nodes": {"coop": {"cosigned_s": None}}}, "no node has co-signed"),
    "nodes gone": ({"nodes": {}}, "no node has co-signed"),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_a_good_version_does(case: str) -> None:
    before = {"from": "1", "to": "2", "ran": True, **upgrade.facts(GOOD)}
    good = {**GOOD, "version": "2", **later()}
    assert upgrade.judge(before, good, "2") == {}
    changes, why = MISSING[case]
    assert list(upgrade.judge(before, {**good, **changes}, "2").values()) == [why]


def test_nothing_is_asked_that_was_not_so_before() -> None:
    held = {**GOOD, "chain": {"size": 7, "held": "cloned", "commits": 1}, "nodes": {"coop": {"cosigned_s": 4_000.0}}}
    before = {"from": "1", "to": "2", "ran": True, **upgrade.facts(held)}
    alone = {**held, "version": "2", "nodes": {"coop": {"cosigned_s": None}}}
    assert upgrade.judge(before, alone, "2") == {}
    forked = {**held, "nodes": {"coop": {"cosigned_s": 12.0}}}  # by what the node has seen since: it co-signs no more
    assert upgrade.judge({**before, **upgrade.facts(forked)}, alone, "2") == {}
    full = {**GOOD, "journal": {"stores": False}}
    filled = {**full, "version": "2", "chain": {"size": 7, "held": None, "commits": 0, "sealed": 0}}
    assert upgrade.judge({**before, **upgrade.facts(full), "cosigned": []}, filled, "2") == {}
    stopped = {"from": "1", "to": "2", "ran": False, **upgrade.facts(None)}
    assert upgrade.judge(stopped, None, "2") == {}


@pytest.mark.parametrize("broken", [{"chain": {}}, {"chain": None}, {"chain": {**GOOD["chain"], "size": None}},
                                    {"nodes": []}, {"nodes": {"coop": None}}, {"journal": 7}])  # fmt: skip
def test_a_version_that_tells_nonsense_is_not_good(broken: dict[str, Any], system: System) -> None:
    before = {"from": "1", "to": "2", "ran": True, **upgrade.facts(GOOD)}
    told = {**GOOD, "version": "2", **later(), **broken}
    assert "status" in upgrade.judge(before, told, "2")


@pytest.mark.parametrize("told", ["", "[]", "7", "{", '{"chain": {}}', "null"])
def test_a_program_that_tells_nonsense_does_not_answer(system: System, told: str) -> None:
    (system.root / "status-1").write_text(told)
    assert upgrade.status(system.place) is None


def test_a_node_that_nobody_reaches_is_no_fault_of_the_version(system: System) -> None:
    with socket.create_server(("127.0.0.1", 0)) as node:
        port = node.getsockname()[1]
        system.place.config.write_text(f'[node.coop]\nurl = "http://127.0.0.1:{port}"\n')
        system.update(system.package("2"), "1", "2")
        system.tells("2", **later(cosigned_s=None))
        system.watch()
        assert (system.installed, system.outcome["why"]) == ("1", "no node has co-signed")
    system.update(system.root.parent / "fieldgate_2.deb", "1", "2")
    system.watch()
    assert system.installed == "2"
    assert system.outcome["result"] == "good"
    assert "can be reached" in system.outcome["why"]


def test_only_a_node_that_had_co_signed_is_asked_for(system: System) -> None:
    """It is away; another one answers, and has never co-signed."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = {"coop": 1, "other": other.getsockname()[1]}
        tables = [f'[node.{name}]\nurl = "http://127.0.0.1:{port}"\n' for name, port in ports.items()]
        system.place.config.write_text("".join(tables))
        never = {"other": {"cosigned_s": None}}
        system.tells("1", nodes={**GOOD["nodes"], **never})
        system.update(system.package("2"), "1", "2")
        system.tells("2", **{**later(), "nodes": {"coop": {"cosigned_s": None}, **never}})
        system.watch()
    assert (system.installed, system.outcome["result"]) == ("2", "good")


def test_the_same_version_again_is_judged_all_the_same(system: System) -> None:
    system.update(system.package("2"), "1", "2")
    system.dpkg("--install", str(system.root.parent / "fieldgate_2.deb"))
    system.watch()
    assert (system.installed, system.outcome["result"]) == ("1", "taken-back")


def test_of_a_version_that_is_not_judged_yet_nothing_is_kept(system: System) -> None:
    system.update(system.package("2"), "1", "2")
    system.update(system.package("3"), "2", "3")
    system.watch()
    assert system.installed == "1"
    assert (system.outcome["from"], system.outcome["to"]) == ("1", "3")


def test_an_update_that_was_cut_short_is_finished(system: System) -> None:
    path = system.package("2")
    system.dpkg("--unpack", str(path))
    system.tells("2", **later())
    system.watch()
    assert system.installed == "2"
    assert system.outcome["result"] == "good"
    assert "postinst 2" in system.calls


def test_an_update_that_cannot_be_finished_is_taken_back(system: System) -> None:
    path = system.package("2", postinst="exit 1")
    system.dpkg("--install", str(path), check=False)
    system.watch()
    assert system.installed == "1"
    assert system.outcome["why"].startswith("the update was cut short: dpkg ")


def test_an_update_that_never_took_place(system: System) -> None:
    upgrade.keep(system.place, "2")
    system.watch()
    assert system.installed == "1"
    assert not system.place.before.exists()
    assert not system.place.outcome.exists()


@pytest.mark.parametrize("step", range(4))
def test_killed_at_every_step_of_the_way_back_it_goes_on(system: System, step: int) -> None:
    """The commands kill who calls them, once."""
    system.update(system.package("2"), "1", "2")
    once = system.root / "once"
    once.write_text("0")
    kills = f'n=$(cat {once}); echo $((n + 1)) > {once}; [ "$n" != {step} ] || kill -9 $PPID'
    system.command("systemctl", kills)
    system.command("apt-mark", kills)
    assert system.watch_as_process() == -9
    assert system.watch_as_process() == 0
    assert system.installed == "1"
    assert system.outcome["result"] == "taken-back"
    assert system.calls[-2:] == ["systemctl start fieldgate.service", "status of 1"]


def test_without_a_version_to_put_back_the_new_one_stays_and_is_told(system: System) -> None:
    system.update(system.package("2"), "1", "2")
    system.place.previous.unlink()
    system.tells("2", chain={**later()["chain"], "held": "x" * 100_000})
    system.watch()
    assert system.installed == "2"
    assert system.outcome["result"] == "bad"
    assert "there is no version to put back" in system.outcome["why"]
    assert len(system.outcome["why"]) < limits.OUTCOME_BYTES / 16, "it is shown"


def test_of_an_image_without_manuals_the_version_is_kept_as_it_ran(system: System) -> None:
    """dpkg lists what `path-exclude` left out, too."""
    (system.root / "usr/lib/fieldgate/1/a module.py").unlink()
    before = files(system.root)
    system.update(system.package("2"), "1", "2")
    system.watch()
    assert files(system.root) == before
    assert system.outcome["result"] == "taken-back"


def test_what_is_not_kept_is_judged_all_the_same(system: System) -> None:
    """Also where an older version lies there: that is not the one before."""
    system.place.folder.mkdir(parents=True)
    older = system.package("0.5")
    system.place.previous.write_bytes(older.read_bytes())
    system.command("dpkg-deb", f'[ "$2" != -z1 ] || exit 1; exec {shutil.which("dpkg-deb")} "$@"')
    system.update(system.package("2"), "1", "2")
    assert "not kept" in system.calls
    system.watch()
    assert (system.installed, system.outcome["result"]) == ("2", "bad")
    assert system.outcome["why"] == "the gateway does not answer; and there is no version to put back"


def test_a_disk_that_is_full_is_no_fault_of_the_version(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start waits for room, whichever version."""
    (system.root / "etc/fieldgate/fieldgate.toml").write_text('[gateway]\ndata_dir = "/var/lib/fieldgate"\n')
    (system.root / "var/lib/fieldgate").mkdir()
    system.update(system.package("2"), "1", "2")
    looks, told = iter((1, 1, 4096)), os.statvfs(system.root)

    def statvfs(path: Path) -> object:
        assert Path(path) == system.root / "var/lib/fieldgate"
        free = next(looks)
        if free > 1:
            system.tells("2", **later())
        return SimpleNamespace(f_bavail=free, f_frsize=told.f_frsize)

    monkeypatch.setattr(os, "statvfs", statvfs)
    system.watch(longest_s=5)
    assert (system.installed, system.outcome["result"]) == ("2", "good")


@pytest.mark.parametrize("ends", [True, False])
def test_a_start_that_goes_on_has_its_time(system: System, monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    monkeypatch.setattr(upgrade, "START_S", 60.0 if ends else 0.05)
    told = system.root / "status-2"
    good = json.dumps({**GOOD, "version": "2", **later()})
    (system.root / "ends-2").write_text("0")
    answers = f"[ $(grep -c SubState {system.root}/calls) -lt 5 ] || echo '{good}' > {told}" if ends else ":"
    system.command("systemctl", f'[ "$1" != show ] || {{ echo SubState=start; echo NRestarts=0; {answers}; }}')
    system.update(system.package("2"), "1", "2")
    system.watch()
    assert (system.installed, system.outcome["result"]) == (("2", "good") if ends else ("1", "taken-back"))


@pytest.mark.parametrize("state", ["auto-restart", "start"])
def test_a_version_that_dies_at_each_start_has_no_hour(system: System, state: str) -> None:
    """The service manager calls it activating between two starts, too."""
    count = f"$(grep -c SubState {system.root}/calls)"
    system.command("systemctl", f'[ "$1" != show ] || {{ echo SubState={state}; echo "NRestarts={count}"; }}')
    system.update(system.package("2"), "1", "2")
    system.watch()
    assert (system.installed, system.outcome["result"]) == ("1", "taken-back")


def test_a_disk_that_fills_up_meanwhile_is_no_fault_either(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    (system.root / "etc/fieldgate/fieldgate.toml").write_text('[gateway]\ndata_dir = "/var/lib/fieldgate"\n')
    system.update(system.package("2"), "1", "2")
    stopped = {"chain": {"size": 7, "held": None, "commits": 0, "sealed": 0}, "journal": {"stores": False}}
    system.tells("2", **stopped)
    looks = iter((0, 0, 4096))

    def statvfs(_: Path) -> object:
        free = next(looks)
        if free:
            system.tells("2", **later())
        return SimpleNamespace(f_bavail=free, f_frsize=4096)

    monkeypatch.setattr(os, "statvfs", statvfs)
    system.watch(longest_s=5)
    assert (system.installed, system.outcome["result"]) == ("2", "good")


def test_a_version_that_seals_nothing_is_taken_back(system: System) -> None:
    system.update(system.package("2"), "1", "2")
    system.tells("2", chain={"size": 7, "held": None, "commits": 1, "sealed": 0}, nodes={"coop": {"cosigned_s": None}})
    system.watch()
    assert (system.installed, system.outcome["result"]) == ("1", "taken-back")


def test_a_block_that_is_older_than_anybody_waits_is_not_waited_for(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrade, "MOST_S", 0.0)
    (system.root / "etc/fieldgate/fieldgate.toml").write_text("[seal]\nmax_age_s = 10_800\n")
    system.update(system.package("2"), "1", "2")
    system.tells("2", chain={"size": 7, "held": None, "commits": 1, "sealed": 0}, nodes={"coop": {"cosigned_s": None}})
    system.watch()
    assert (system.installed, system.outcome["result"]) == ("2", "good")
    system.update(system.package("3"), "2", "3")
    system.tells("3", chain={"size": 7, "held": None, "commits": 0, "sealed": 0})
    system.watch()
    assert (system.installed, system.outcome["result"]) == ("2", "taken-back")


def test_of_a_copy_that_finds_no_room_nothing_is_left(system: System) -> None:
    system.command("dpkg-deb", 'for made; do :; done; echo part > "$made"; exit 2')
    with pytest.raises(upgrade.Failed, match="dpkg-deb"):
        upgrade.keep(system.place, "2")
    assert list(system.place.folder.iterdir()) == [system.place.before]


@pytest.mark.parametrize("words", [["keep", "2"], ["watch"]])
def test_what_cannot_be_written_is_one_sentence_and_stops_nothing(
    words: list[str], system: System, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if words == ["watch"]:
        system.dpkg("--install", str(system.package("2", postinst="exit 1")), check=False)
    system.place.folder.mkdir(exist_ok=True)
    system.place.before.with_suffix(".new").mkdir()  # in place of a full disk, which root does not meet soon
    monkeypatch.setattr(upgrade, "Place", lambda: system.place)
    before = system.installed
    assert upgrade.main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith("fieldgate: ") and said.count("\n") == 1 and "before.new" in said
    assert system.installed == before
    assert not [call for call in system.calls if call.startswith("systemctl stop")]


def test_a_gateway_whose_version_cannot_be_replaced_goes_on(system: System) -> None:
    system.update(system.package("2"), "1", "2")
    system.place.previous.write_bytes(b"no package")
    system.watch()
    assert (system.installed, system.outcome["result"]) == ("2", "bad")
    assert "could not be put back" in system.outcome["why"]
    assert system.calls[-1] == "systemctl start fieldgate.service"


def test_back_by_hand_once_and_not_twice(
    system: System, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(upgrade, "Place", lambda: system.place)
    assert upgrade.main(["back"]) == 1
    assert "no version" in capsys.readouterr().err
    system.update(system.package("2"), "1", "2")
    system.tells("2", **later())
    system.watch()
    assert upgrade.main(["back"]) == 0
    assert system.installed == "1"
    assert (system.outcome["result"], system.outcome["from"], system.outcome["to"]) == ("taken-back", "1", "2")
    calls = system.calls
    assert upgrade.main(["back"]) == 1
    assert "version 1" in capsys.readouterr().err
    assert system.calls == calls


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("", 600.0), ("[seal]\nmax_age_s = 60\n", 600.0), ("[seal]\nmax_age_s = 3600\n", 3720.0),
     ("[seal]\nmax_age_s = 86400\n", 7200.0), ("broken [", 600.0), ('[seal]\nmax_age_s = "x"\n', 600.0)],
)  # fmt: skip
def test_a_block_has_to_be_sealed_meanwhile(system: System, text: str, wanted: float) -> None:
    system.place.config.write_text(text)
    assert upgrade.patience(system.place, 600.0) == wanted


def test_who_goes_back_by_hand_is_not_judged(system: System) -> None:
    system.update(system.package("2"), "1", "2")
    system.dpkg("--install", str(system.root.parent / "fieldgate_1.deb"))
    system.watch()
    assert system.installed == "1"
    assert not system.place.before.exists()
    assert not system.place.outcome.exists()


@pytest.mark.parametrize("what", ["wait_for_dpkg(place)", "put_back(place, m['read'](place.before), 'bad')"])
def test_dpkg_that_still_works_is_waited_for(system: System, what: str) -> None:
    system.update(system.package("2"), "1", "2")
    lock = system.root / "var/lib/dpkg/lock-frontend"
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'rb+'); fcntl.lockf(f, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        waiter = subprocess.Popen(
            [sys.executable, "-c", f"import runpy; from pathlib import Path; m = runpy.run_path({str(SCRIPT)!r});"
             f"place = m['Place'](Path({str(system.root)!r})); m[{what.partition('(')[0]!r}]({what.partition('(')[2]}"],
        )  # fmt: skip
        with pytest.raises(subprocess.TimeoutExpired):
            waiter.wait(timeout=0.5)
        holder.stdin.close()
        assert waiter.wait(timeout=30) == 0
    assert system.installed == ("1" if "put_back" in what else "2")


def test_it_needs_nothing_but_the_standard_library() -> None:
    done = subprocess.run(
        [sys.executable, "-IS", str(SCRIPT), "nonsense"], capture_output=True, text=True, check=False, env={}
    )
    assert done.returncode == 2
    assert "watch" in done.stderr
    assert "Traceback" not in done.stderr
