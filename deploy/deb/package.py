"""The tree and the control files of the package."""

import gzip
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from deb import ROOT, archive, licensing, lock, manual, sbom, wheels
from deb.archive import Entry, Tree
from gateway.cli.completion import script

PYTHONS = ("3.11", "3.13")
"""Of Debian 12 and 13."""

_SCRIPTS = Path(__file__).with_name("debian")
_MANUALS = "anchors", "drivers", "format", "json", "operations", "release"
_DEPENDS = (
    "python3 (>= 3.11), python3 (<< 3.12~) | python3 (>= 3.13), python3 (<< 3.14~), libc6 (>= 2.36), systemd (>= 252)"
)
_MAINTAINER = "The Fieldgate authors <fieldgate@fieldgate.invalid>"
_CONTROL = """\
Package: fieldgate
Version: {version}
Architecture: {arch}
Maintainer: {maintainer}
Installed-Size: {size}
Depends: {depends}
Recommends: mosquitto
Section: net
Priority: optional
Description: sensor gateway that signs what it was told
 Takes readings over MQTT, serial lines, Modbus and the network, makes each one
 durable before it acknowledges it, seals them into blocks that it signs on the
 device, and keeps upstream nodes in step. A receipt of one reading is verified
 years later, offline.
 .
 The Python packages that it is built on are in it, for the Python of Debian 12
 and of Debian 13. Nothing goes into the system's own.
"""
_EPOCH = 1580601600
"""Where neither SOURCE_DATE_EPOCH nor git tells a time: hatchling's own."""


class Package(NamedTuple):
    """A package's file name and bytes, and its list of parts."""

    file: str
    data: bytes
    sbom: str


def version() -> str:
    """The project's."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return str(told["project"]["version"])


def epoch() -> int:
    """Unix seconds of all that is made: SOURCE_DATE_EPOCH, or the last commit's."""
    if told := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(told)
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(command, capture_output=True, text=True, check=False) if (ROOT / ".git").exists() else None
    return int(done.stdout) if done is not None and not done.returncode else _EPOCH


def build(arch: str, cache: Path) -> Package:
    """The package for one of Debian's architectures; wheels are in `cache`, or fetched into it."""
    locked, targets, moment = lock.read("product"), [lock.Target(python, arch) for python in PYTHONS], epoch()
    paths = [path for target in targets for path in lock.fetch(locked, target, cache)]
    with tempfile.TemporaryDirectory() as scratch:
        own = distributions(moment, Path(scratch), "wheel")
        library, parts = wheels.unpack([*own, *paths])
    bom = sbom.document(version(), arch, parts, locked, targets, moment)
    data = tree(library, licensing.copyright_file(parts), bom, moment)
    made = archive.deb(control_files(arch, data), data, moment)
    return Package(f"fieldgate_{version()}_{arch}.deb", made, bom)


def control_files(arch: str, data: Tree) -> Tree:
    """What dpkg reads and runs: `control` and the maintainer's scripts."""
    size = archive.installed_kib(data)
    text = _CONTROL.format(maintainer=_MAINTAINER, version=version(), arch=arch, size=size, depends=_DEPENDS)
    units = _units(data)
    scripts = {name: _script(name, units, 0o755) for name in ("postinst", "prerm", "postrm")}
    return {"control": Entry(text.encode()), **scripts}


def distributions(moment: int, folder: Path, *kinds: str) -> list[Path]:
    """The project's `wheel` and `sdist`, made by its own build tool in a folder."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder.absolute())]
    wanted = [word for kind in kinds for word in ("-t", kind)]
    dated = {**os.environ, "SOURCE_DATE_EPOCH": str(moment)}
    done = subprocess.run([*command, *wanted], cwd=ROOT, env=dated, capture_output=True, text=True, check=False)
    if done.returncode:
        raise lock.LockError(f"hatchling: {done.stderr.strip()}")
    names = f"fieldgate-{version()}.tar.gz", f"fieldgate-{version()}-*.whl"
    return [path for path in sorted(folder.iterdir()) if any(map(path.match, names))]


def library_path() -> str:
    """Where the program lies. The version is in it: what runs during an update finds its own or nothing."""
    return f"/usr/lib/fieldgate/{version()}"


def tree(library: Tree, copyrights: str, bom: str, moment: int) -> Tree:
    """Everything that is installed."""
    below = library_path()[1:]
    files = {f"{below}/{path}": entry for path, entry in library.items()}
    files |= {"usr/bin/fieldgate": _script("fieldgate", {}, 0o755)}
    files |= {"usr/lib/fieldgate/upgrade.py": Entry(_SCRIPTS.with_name("upgrade.py").read_bytes(), 0o755)}
    files |= {"usr/share/python3/runtime.d/fieldgate.rtupdate": _script("fieldgate.rtupdate", {}, 0o755)}
    files |= _of_systemd() | _completions()
    day = datetime.fromtimestamp(moment, UTC).date().isoformat()
    files |= {f"usr/share/man/man1/{name}.gz": _gzip(text) for name, text in manual.pages(day).items()}
    doc = "usr/share/doc/fieldgate"
    files |= {f"{doc}/copyright": Entry(copyrights.encode()), f"{doc}/sbom.cdx.json.gz": _gzip(bom)}
    files |= {f"{doc}/changelog.gz": _gzip(_changelog(moment))}
    files |= {f"{doc}/{name}.md.gz": _gzip(_text(f"docs/{name}.md")) for name in _MANUALS}
    files |= _folder("deploy", f"{doc}/examples", "*.toml")
    for name in ("anchors", "card", "mosquitto", "systemd", "watch"):
        files |= _folder(f"deploy/{name}", f"usr/share/fieldgate/{name}", "*")
    files |= _folder("deploy/lock", "usr/share/fieldgate/lock", "extras.txt")
    files |= {"usr/share/lintian/overrides/fieldgate": Entry((_SCRIPTS / "lintian-overrides").read_bytes())}
    return files


def _of_systemd() -> Tree:
    """Units, users, folders and device rules: whatever lies in systemd/ and deploy/udev, by its ending."""
    files: Tree = {}
    for ending in ("service", "timer"):
        files |= _folder("systemd", "usr/lib/systemd/system", f"*.{ending}")
    for kind in ("sysusers", "tmpfiles"):
        found = _folder("systemd", f"usr/lib/{kind}.d", f"*.{kind}")
        files |= {path.removesuffix(kind) + "conf": entry for path, entry in found.items()}
    files |= _folder("deploy/udev", "usr/lib/udev/rules.d", "*.rules")
    files |= _folder("deploy/watch", "usr/lib/systemd/catalog", "*.catalog")
    return files


def _units(data: Tree) -> dict[str, str]:
    """For the scripts: the gateway's units that start with the machine, those of them that dpkg may stop, and the
    others, which are kept as they are.
    """
    units = {
        path.rpartition("/")[2]: entry.data
        for path, entry in data.items()
        if path.startswith("usr/lib/systemd/system/")
    }
    enabled = [name for name, text in units.items() if b"[Install]" in text and not name.startswith("fieldgate-node")]
    stopped = [name for name in enabled if b"\nRefuseManualStop=yes" not in units[name]]
    others = [name for name in units if name not in enabled]
    return {"ENABLED": " ".join(enabled), "STOPPED": " ".join(stopped), "NOT_ENABLED": " ".join(others)}


def _completions() -> Tree:
    places = {
        "bash": "usr/share/bash-completion/completions/fieldgate",
        "zsh": "usr/share/zsh/vendor-completions/_fieldgate",
        "fish": "usr/share/fish/vendor_completions.d/fieldgate.fish",
    }
    return {place: Entry(script(shell).encode()) for shell, place in places.items()}


def _script(name: str, units: dict[str, str], mode: int) -> Entry:
    text = (_SCRIPTS / name).read_text("utf-8").replace("@LIB@", library_path())
    for key, value in units.items():
        text = text.replace(f"@{key}@", value)
    return Entry(text.encode(), mode)


def _folder(source: str, target: str, pattern: str) -> Tree:
    return {
        f"{target}/{path.name}": Entry(path.read_bytes())
        for path in sorted((ROOT / source).glob(pattern))
        if path.is_file()
    }


def _text(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def _gzip(text: str) -> Entry:
    return Entry(gzip.compress(text.encode(), 9, mtime=0))


def _changelog(moment: int) -> str:
    """CHANGELOG.md's newest part, as Debian writes it."""
    newest = _text("CHANGELOG.md").split("\n## ")[1].partition("\n")[2]
    items = [" ".join(one.split()) for one in re.split(r"^- ", newest, flags=re.MULTILINE)[1:]]
    date = datetime.fromtimestamp(moment, UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
    lines = "".join(textwrap.fill(one, 78, initial_indent="  * ", subsequent_indent="    ") + "\n" for one in items)
    return f"fieldgate ({version()}) stable; urgency=medium\n\n{lines}\n -- {_MAINTAINER}  {date}\n"
