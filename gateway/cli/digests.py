"""Digests of what a command hands out: SHA-256, and SM3 for whoever keeps evidence by that."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from gateway.cli import say
from gateway.core.sm3 import sm3

_LABELS = {"sha-256": "SHA-256", "sm3": "SM3"}


def digests_of(path: Path, wanted: Sequence[str] = ("sha-256", "sm3")) -> dict[str, str]:
    """Digests of a file in hexadecimal, by what a person calls them. `wanted`: as [gateway] digests has them."""
    return {_LABELS[name]: _digest(path, name) for name in wanted}


def tell_digests(path: Path | None, wanted: Sequence[str] | None) -> None:
    """Those that the configuration asks for, of a file that a command has written."""
    if path is not None and path.is_file():
        for label, text in digests_of(path, wanted or ()).items():
            say(f"{path}: {label} {text}")


def _digest(path: Path, name: str) -> str:
    with path.open("rb") as file:
        if name == "sha-256":
            return hashlib.file_digest(file, "sha256").hexdigest()
        try:
            return hashlib.file_digest(file, lambda: hashlib.new("sm3")).hexdigest()
        except ValueError:  # this Python's OpenSSL has none
            return sm3(file.read()).hex()
