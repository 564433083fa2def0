"""Names and bytes of files that a power cut must not take back: flushed to the device, not to the kernel alone."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

LOST_AND_FOUND: Final = "lost+found"
"""A folder of root's in each file system of the ext family."""


def sync_folder(*folders: Path) -> None:
    """Flushes what is in the folders by name. OSError where the device refuses: fsync(2) of a folder."""
    for folder in folders:
        _sync(folder, os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Flushes a file's bytes. OSError where the device refuses."""
    _sync(path, 0)


@contextlib.contextmanager
def new_file(path: Path, mode: int) -> Iterator[IO[bytes]]:
    """A new file to write to, flushed when all went well; its name is not. OSError where there is one, or no room."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def write_new(path: Path, text: str, mode: int) -> None:
    """As `new_file`, of UTF-8 text."""
    with new_file(path, mode) as file:
        file.write(text.encode())


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
