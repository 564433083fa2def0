"""The lock: which wheels are installed where, each with its SHA-256.

A file of pip's own requirements format (`pip install --require-hashes -r FILE`), with a comment for each hash that
names its wheel. So pip and pip-audit read it, and what is locked for which machine can be told without an index.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from email.parser import HeaderParser
from pathlib import Path
from typing import NamedTuple

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from deb import ROOT

LOCKS = ROOT / "deploy/lock"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Debian's name to the kernel's."""

_GLIBC = 36
"""Of Debian 12: 2.36. A wheel that wants a newer one is not locked."""
_HEAD = """\
# Made by `make lock`, from {origin}.
# Wheels for Linux (glibc 2.36 or newer) on {machines}, Python {pythons}.
# pip install --require-hashes --only-binary=:all: -r {name}
"""
_LINE = re.compile(
    r"(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?: ; (?P<marker>.+?))?(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})+)"
)


class LockError(Exception):
    """The lock, or a wheel, is not as it should be."""


class Target(NamedTuple):
    """A Python on a machine: "3.11" and "arm64"."""

    python: str
    arch: str

    @property
    def machine(self) -> str:
        """As wheels name it."""
        return ARCHITECTURES[self.arch]

    @property
    def platforms(self) -> list[str]:
        """Platform tags that run there, the best first."""
        return [
            *(f"manylinux_2_{minor}_{self.machine}" for minor in range(_GLIBC, 16, -1)),
            f"manylinux2014_{self.machine}",
        ]

    def tags(self) -> list[Tag]:
        """Wheel tags that run there, the best first."""
        version = tuple(map(int, self.python.split(".")))
        short = "cp" + "".join(map(str, version))
        return [*cpython_tags(version, platforms=self.platforms), *compatible_tags(version, short, self.platforms)]

    def environment(self) -> dict[str, str]:
        """What markers ask of."""
        return {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "platform_machine": self.machine,
            "platform_system": "Linux",
            "platform_python_implementation": "CPython",
            "implementation_name": "cpython",
            "sys_platform": "linux",
            "os_name": "posix",
        }


TARGETS = tuple(Target(python, arch) for python in PYTHONS for arch in ARCHITECTURES)
_NOT_YET = {"extras": ("3.14",)}  # coincurve has no wheels for it


def targets(name: str) -> list[Target]:
    """Those that a lock is for: `product`, `build` or `extras`."""
    return [target for target in TARGETS if target.python not in _NOT_YET.get(name, ())]


class Wheel(NamedTuple):
    """A file's name and the SHA-256 of its bytes in hex."""

    file: str
    sha256: str

    def runs_on(self, target: Target) -> int | None:
        """How well it fits: the place of its best tag among the target's; None where it does not run there."""
        tags = parse_wheel_filename(self.file)[3]
        return next((place for place, tag in enumerate(target.tags()) if tag in tags), None)


class Locked(NamedTuple):
    """One distribution at one version. `marker` says for which Pythons it is, or nothing."""

    name: str
    version: str
    marker: str
    wheels: tuple[Wheel, ...]

    def wanted(self, target: Target) -> bool:
        """Whether it is installed there."""
        return not self.marker or Marker(self.marker).evaluate(target.environment())

    def wheel(self, target: Target) -> Wheel:
        """The one that pip takes there. LockError where none runs."""
        fitting = [(place, one) for one in self.wheels if (place := one.runs_on(target)) is not None]
        if not fitting:
            raise LockError(f"{self.name} {self.version}: no locked wheel for Python {target.python} on {target.arch}")
        return min(fitting)[1]


def parse(text: str) -> list[Locked]:
    """What a lock holds. LockError for a line that is not as `text` writes it."""
    found = []
    for block in re.split(r"\n(?=[a-z0-9])", text):
        if block.startswith("#"):
            continue
        files = re.findall(r"^    # (\S+\.whl)$", block, re.MULTILINE)
        line = " ".join(part.strip(" \\") for part in block.splitlines() if part.strip()[:1] != "#").strip()
        match = _LINE.fullmatch(line)
        if match is None:
            raise LockError(f"not a locked requirement: {line[:80]}")
        hashes = re.findall(r"sha256:([0-9a-f]{64})", match["hashes"])
        if len(hashes) != len(files):
            raise LockError(f"{match['name']}: {len(hashes)} hashes, and {len(files)} wheels are named")
        wheels = tuple(map(Wheel, files, hashes))
        found.append(Locked(match["name"], match["version"], match["marker"] or "", wheels))
    return found


def read(name: str) -> list[Locked]:
    """The lock of that name: `product`, `build` or `extras`."""
    return parse((LOCKS / f"{name}.txt").read_text("utf-8"))


def write(locked: Iterable[Locked], head: str = "") -> str:
    """The file's text."""
    return head + "".join(map(_entry, locked))


def _entry(one: Locked) -> str:
    marker = f" ; {one.marker}" if one.marker else ""
    hashes = "".join(f" \\\n    --hash=sha256:{wheel.sha256}" for wheel in one.wheels)
    files = "".join(f"    # {wheel.file}\n" for wheel in one.wheels)
    return f"{one.name}=={one.version}{marker}{hashes}\n{files}"


class Dist(NamedTuple):
    """A wheel's metadata, as far as it matters here."""

    name: str
    version: str
    requires: tuple[Requirement, ...]


def metadata(path: Path) -> Dist:
    """Of a wheel file."""
    with zipfile.ZipFile(path) as wheel:
        [inside] = [name for name in wheel.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        told = HeaderParser().parsestr(wheel.read(inside).decode())
    requires = tuple(Requirement(one) for one in told.get_all("Requires-Dist", ()))
    return Dist(canonicalize_name(told["Name"]), told["Version"], requires)


def closure(wanted: Iterable[Requirement], dists: dict[str, Dist], target: Target) -> set[str]:
    """Names of all that a target needs. LockError where `dists` lack one, or have it at a version that does not do."""
    found: set[str] = set()
    left = [(one, "") for one in wanted]
    seen = set()
    while left:
        requirement, extra = left.pop()
        if requirement.marker and not requirement.marker.evaluate({**target.environment(), "extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        dist = dists.get(name)
        if dist is None or not requirement.specifier.contains(dist.version, prereleases=True):
            raise LockError(
                f"Python {target.python} on {target.arch} needs {requirement}, and there is {dist and dist.version}"
            )
        found.add(name)
        for key in ((name, ""), *((name, one) for one in requirement.extras)):
            if key not in seen:
                seen.add(key)
                left += [(one, key[1]) for one in dist.requires]
    return found


def sha256(path: Path) -> str:
    """Of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def renew(name: str, origin: str, wanted: Sequence[str], cache: Path, beside: Iterable[Locked] = ()) -> Path:
    """Writes the lock anew, with the newest versions that `wanted` allows; their wheels are kept in `cache`.

    beside: what is installed in the same place, at the versions that it has.
    """
    cache.mkdir(parents=True, exist_ok=True)
    versions = {one.name: one.version for one in beside}
    by_target: dict[Target, dict[str, Path]] = {}
    for target in targets(name):
        pinned = [f"{one}=={version}" for one, version in sorted(versions.items())]
        paths = {metadata(path).name: path for path in _download(target, wanted, cache, pinned)}
        by_target[target] = paths
        versions |= {one: metadata(path).version for one, path in paths.items() if one not in versions}
    requirements = [Requirement(one) for one in wanted]
    needed: dict[str, set[Target]] = {}
    for target, paths in by_target.items():
        for one in closure(requirements, {key: metadata(path) for key, path in paths.items()}, target):
            needed.setdefault(one, set()).add(target)
    locked = []
    for one in sorted(needed):
        files = sorted({by_target[target][one] for target in needed[one]})
        wheels = tuple(Wheel(path.name, sha256(path)) for path in files)
        locked.append(Locked(one, versions[one], _marker(needed[one], targets(name)), wheels))
    pythons = ", ".join(sorted({target.python for target in targets(name)}))
    head = _HEAD.format(origin=origin, name=f"{name}.txt", pythons=pythons, machines=" and ".join(ARCHITECTURES))
    path = LOCKS / f"{name}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text(write(locked, head), "utf-8")
    return path


def _marker(needing: set[Target], every: Sequence[Target]) -> str:
    pythons = [python for python in PYTHONS if any(one.python == python for one in needing)]
    if {Target(python, arch) for python in pythons for arch in ARCHITECTURES} != needing:
        raise LockError("a distribution that one machine needs and the other does not: the lock has no words for it")
    if needing == set(every):
        return ""
    return f'python_version in "{" ".join(pythons)}"'


def _download(target: Target, wanted: Sequence[str], cache: Path, pinned: Sequence[str]) -> Iterator[Path]:
    """pip's choice for a target, in `cache`."""
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        folder = Path(scratch)
        constraints = folder / "constraints.txt"
        constraints.write_text("".join(f"{one}\n" for one in pinned))
        _pip(target, folder, "--constraint", str(constraints), *wanted)
        for path in sorted(folder.glob("*.whl")):
            yield path.rename(cache / path.name)


def fetch(locked: Iterable[Locked], target: Target, cache: Path) -> list[Path]:
    """The wheels of a target, with the bytes that the lock names; what `cache` lacks is fetched into it."""
    cache.mkdir(parents=True, exist_ok=True)
    wanted = [(one, one.wheel(target)) for one in locked if one.wanted(target)]
    missing = [(one, wheel) for one, wheel in wanted if not _is(cache / wheel.file, wheel)]
    if missing:
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            lines = [f"{one.name}=={one.version} --hash=sha256:{wheel.sha256}\n" for one, wheel in missing]
            listed = Path(scratch) / "wanted.txt"
            listed.write_text("".join(lines))
            _pip(target, Path(scratch), "--no-deps", "--require-hashes", "-r", str(listed))
            for path in Path(scratch).glob("*.whl"):
                path.rename(cache / path.name)
    for _, wheel in wanted:
        if not _is(cache / wheel.file, wheel):
            raise LockError(f"{wheel.file} is not there with the bytes that the lock names")
    return [cache / wheel.file for _, wheel in wanted]


def _is(path: Path, wheel: Wheel) -> bool:
    return path.is_file() and sha256(path) == wheel.sha256


def _pip(target: Target, folder: Path, *args: str) -> None:
    platforms = [f"--platform={one}" for one in target.platforms]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    where = ["--implementation=cp", f"--python-version={target.python}", *platforms, "--dest", str(folder)]
    done = subprocess.run([*command, *where, *args], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise LockError(f"pip, for Python {target.python} on {target.arch}: " + " ".join(said or [done.stderr.strip()]))


def satisfies(requirement: Requirement, locked: Locked) -> bool:
    """Whether the locked version is one that a requirement allows."""
    return requirement.specifier.contains(Version(locked.version), prereleases=True)
