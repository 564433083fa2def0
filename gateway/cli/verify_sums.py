"""`fieldgate verify --sums`: files of a release against the signed list of their SHA-256.

The list is a signed note (docs/format.md, section 5) whose text is what sha256sum writes: a line a file, 64 hex digits,
two spaces, the file's name without a folder.
"""

import hashlib
import re
from pathlib import Path

import click

from gateway.cli.common import read_file
from gateway.core.limits import NOTE_BYTES
from gateway.core.note import VerifierKey, parse_note, verify_note
from gateway.core.text import plain
from gateway.errors import FormatError, NotFoundError, Refused

_LINE = re.compile(r"([0-9a-f]{64})  ([^/\0\n]+)")


def sums_of(data: bytes, key: VerifierKey) -> dict[str, str]:
    """File name to SHA-256 in hex, of a list that this key signed. FormatError where it did not, or a line is none."""
    note = parse_note(data)
    verify_note(note, key)
    found: dict[str, str] = {}
    for line in note.text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match[2] in found or match[2] in (".", ".."):
            raise FormatError(f"not a line of SHA-256 and a file's name, once: {plain(line)}")
        found[match[2]] = match[1]
    return found


def verify_sums(path: Path, vkey: str) -> None:
    """Checks each listed file that lies beside the list, and says so; Refused for one that is another."""
    try:
        key = VerifierKey.parse(vkey)
    except FormatError as exc:
        raise click.UsageError(f"--key: {exc}") from None
    try:
        sums = sums_of(read_file(path, NOTE_BYTES, "a list of sums"), key)
    except FormatError as exc:
        raise Refused(str(exc), where=str(path), cure="Install none of its files") from exc
    here = {name: digest for name, digest in sums.items() if (path.parent / name).is_file()}
    if not here:
        raise NotFoundError("none of the files that it lists lies beside it", where=str(path))
    for name, digest in here.items():
        with (path.parent / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise Refused(
                    "is another file than the one that was signed", where=plain(name), cure="Do not install it"
                )
        click.echo(f"{plain(name)}: good")
    click.echo(
        f"signed by {key.name}" + (f"; {len(sums) - len(here)} more are not here" if len(here) < len(sums) else "")
    )
