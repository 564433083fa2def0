"""The signed list of a release's files: a C2SP signed note whose text is what sha256sum writes and reads."""

from pathlib import Path

from deb.lock import LockError, sha256
from gateway import keys
from gateway.core.note import ED25519, Note, SignatureLine, parse_note, verify_note

SUMS = "SHA256SUMS"


def sign(folder: Path, version: str, key: Path) -> str:
    """Writes `SHA256SUMS` over the files of that version in a folder; returns the key that verifies it."""
    signer = keys.open_signer(f"file:{key.absolute()}")
    starts = (f"fieldgate_{version}_", f"fieldgate-{version}-", f"fieldgate-{version}.tar.")
    files = sorted(path for path in folder.iterdir() if path.name.startswith(starts))
    if not files:
        raise LockError(f"{folder} has no file of version {version}: run make wheel and make deb first")
    text = "".join(f"{sha256(path)}  {path.name}\n" for path in files)
    line = SignatureLine(signer.vkey.name, signer.vkey.key_id, signer.sign(text.encode()))
    note = Note(text, (line,)).encode()
    verify_note(parse_note(note), signer.vkey)
    (folder / SUMS).write_text(note, "utf-8")
    return str(signer.vkey)


def new_key(name: str, file: Path) -> str:
    """Writes a new key (mode 0600), and returns the one that verifies."""
    keys.write_key(file, keys.generate(name, ED25519))
    return str(keys.open_signer(f"file:{file.absolute()}").vkey)
