"""A support archive: what was found and what it was found in, without secrets, in a bounded size."""

import gzip
import io
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway import config
from gateway.config import ConfigFile
from gateway.core.limits import BUNDLE_LOG_LINES, BUNDLE_MEMBER_BYTES
from gateway.doctor import versions
from gateway.doctor.case import Case
from gateway.doctor.examination import Report
from gateway.doctor.redact import Redactor, secrets_in_addresses
from gateway.doctor.system import text
from gateway.errors import ConfigError

FOLDER = "fieldgate-support"
_REFERENCE = re.compile(r"file:/[^\"'\n]+|env:[A-Za-z_][A-Za-z0-9_]*|credential:[A-Za-z0-9._-]+")
_JOURNAL = ("journalctl", "--unit=fieldgate", f"--lines={BUNDLE_LOG_LINES}", "--no-pager", "--output=short-iso")
_JOURNAL_S = 20.0
_README = """What is in here

doctor.json         what `fieldgate doctor` found, and each of its checks with its figures
status.json         what the running gateway says of itself; where it does not run, why not
configuration.txt   the configuration, a line for each value; secrets are never in it, only where they are kept.
                    Comments are left out; a file with a fault of syntax is left out with its values
logs.json           the newest lines of the running gateway's log
journal.txt         the newest lines of the service in the system's journal, where there is one
system.json         versions of the program, of what it stands on, and of the system
mounts.txt          what is mounted, and how

Passwords, private keys, what stands before the @ of an address, and what stands behind the host in a chain's, are
replaced by "(not shown)" or "...".
Readings are not in it, but for the newest value of each source and the last payload that was refused.
Look through it before you send it.
"""


def secrets_of(written: str) -> list[str]:
    """Blocking. What stands where the text of a configuration points, right or wrong: to be looked for."""
    return [found for uri in set(_REFERENCE.findall(written)) if (found := config.text_of(uri))]


def members(case: Case, report: Report, logs: Any) -> dict[str, str]:
    """Blocking. The archive's files by name. `logs`: what the running gateway answers, or None."""
    files = _files(case.path)
    redactor = Redactor(_secrets(files))
    state: Any = case.state if case.state is not None else {"running": False, "why": str(case.silence or "not asked")}
    found = {
        "README.txt": _README,
        "configuration.txt": "\n".join(_configuration(file, redactor) for file in files) or "no file can be read\n",
        "doctor.json": _json(redactor.value(report.json())),
        "journal.txt": redactor.text(_journal()),
        "mounts.txt": redactor.text(text(case.root / "proc/mounts") or ""),
        "status.json": _json(redactor.value(state)),
        "system.json": _json(_system(case.root)),
    }
    if logs is not None:
        found["logs.json"] = _json(redactor.value(logs))
    return {name: _bounded(content) for name, content in sorted(found.items())}


def _secrets(files: Sequence[ConfigFile]) -> list[str]:
    written = "\n".join(file.data.decode("utf-8", "replace") for file in files)
    return secrets_of(written) + [one for file in files for one in secrets_in_addresses(_table(file) or {})]


def _files(path: Path | None) -> list[ConfigFile]:
    """The configuration and its drop-ins, as far as they can be read."""
    try:
        return list(config.files(path)) if path else []
    except ConfigError:
        return []


def _table(file: ConfigFile) -> dict[str, Any] | None:
    """What it says; None where it is not TOML."""
    try:
        return tomllib.loads(file.data.decode())
    except (ValueError, RecursionError):
        return None


def _configuration(file: ConfigFile, redactor: Redactor) -> str:
    table = _table(file)
    if table is None:
        listing = "It is not TOML: what it holds is left out, for it might be a secret. See doctor.json\n"
    else:
        listing = redactor.listing(table)
    return f"# {file.path}\n{listing}"


def _journal() -> str:
    """The service's newest lines; why there are none, where the system keeps no journal."""
    if shutil.which(_JOURNAL[0]) is None:
        return "there is no journalctl here\n"
    try:
        told = subprocess.run(_JOURNAL, capture_output=True, timeout=_JOURNAL_S, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        return f"journalctl failed: {error}\n"
    return told.stdout.decode("utf-8", "replace") or told.stderr.decode("utf-8", "replace")


def _system(root: Path) -> dict[str, Any]:
    return {
        "libraries": versions.installed(),
        "machine": platform.machine(),
        "model": text(root / "proc/device-tree/model"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "release": (text(root / "etc/os-release") or "").splitlines(),
        "user": os.geteuid(),
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _bounded(content: str) -> str:
    """The newest part of what is longer than it may be."""
    data = content.encode("utf-8", "backslashreplace")
    if len(data) <= BUNDLE_MEMBER_BYTES:
        return content
    return "(what is older is left out)\n" + data[-BUNDLE_MEMBER_BYTES:].decode("utf-8", "replace").partition("\n")[2]


def pack(contents: Mapping[str, str], now_s: int) -> bytes:
    """A tar.gz of the files in the order of their names: of the same contents and time the same bytes."""
    made = io.BytesIO()
    with gzip.GzipFile(fileobj=made, mode="wb", mtime=now_s) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in sorted(contents.items()):
            data = content.encode("utf-8", "backslashreplace")
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size, member.mtime, member.mode = len(data), now_s, 0o600
            tar.addfile(member, io.BytesIO(data))
    return made.getvalue()
