"""Wheels laid into one folder for several Pythons at once.

What is pure Python is the same in every wheel of a version, and compiled modules carry Python and machine in their
names (`_core.cpython-311-aarch64-linux-gnu.so`), so one folder serves each Python that has its own. Where two wheels
differ in a file of one name, nothing is made.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterable
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, NamedTuple

from deb.archive import Entry, Tree
from deb.lock import LockError

_OF_AN_INSTALLER = re.compile(r"[^/]+\.dist-info/(RECORD|WHEEL|INSTALLER|REQUESTED|direct_url\.json)")
_DATA = re.compile(r"[^/]+\.data/")
_LICENCE = re.compile(r"(?i)(^|/)(licen[cs]e|copying|notice|edl-|epl-)[^/]*$")


class Part(NamedTuple):
    """A distribution that was laid in: its metadata, its licences' texts by file name, the paths that are its, and the
    CycloneDX components that it says are compiled into it.
    """

    told: Message
    licences: dict[str, str]
    tops: tuple[str, ...]
    inside: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """As its authors write it."""
        return str(self.told["Name"])

    @property
    def version(self) -> str:
        """Its version."""
        return str(self.told["Version"])


def unpack(paths: Iterable[Path]) -> tuple[Tree, list[Part]]:
    """All wheels in one tree, relative to the folder that goes to sys.path, and what they are, by name."""
    tree: Tree = {}
    parts: dict[str, Part] = {}
    for path in sorted(set(paths)):
        files = _files(path)
        for name, data in files.items():
            if tree.setdefault(name, Entry(data)).data != data:
                raise LockError(f"{path.name}: {name} is another file in a wheel of another Python")
        part = _part(files)
        known = parts.setdefault(part.name, part)
        parts[part.name] = known._replace(tops=tuple(sorted({*known.tops, *part.tops})))
    return tree, [parts[name] for name in sorted(parts, key=str.lower)]


def _files(path: Path) -> dict[str, bytes]:
    found = {}
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as wheel:
        for info in wheel.infolist():
            name = info.filename
            if info.is_dir() or _OF_AN_INSTALLER.fullmatch(name):
                continue
            if name.startswith("/") or ".." in name.split("/"):
                raise LockError(f"{path.name}: {name} is outside of the wheel")
            if not _DATA.match(name):  # man pages and scripts for a prefix: not imported
                found[name] = wheel.read(info)
    return found


def _part(files: dict[str, bytes]) -> Part:
    [inside] = [name for name in files if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
    folder = inside.rpartition("/")[0] + "/"
    told = HeaderParser().parsestr(files[inside].decode())
    licences = {
        name.removeprefix(folder).removeprefix("licenses/"): data.decode("utf-8", "replace")
        for name, data in sorted(files.items())
        if name.startswith(folder) and (_LICENCE.search(name) or name.startswith(folder + "licenses/"))
    }
    boms = [
        json.loads(data) for name, data in sorted(files.items()) if re.match(r"[^/]+\.dist-info/sboms/.+\.json$", name)
    ]
    below = [one for bom in boms for one in bom.get("components", ())]
    return Part(told, licences, tuple(sorted({name.split("/")[0] for name in files})), below)
