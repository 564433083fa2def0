"""Names and bytes of files that a power cut must not take back: flushed to the device, not to the kernel alone."""

import os
from pathlib import Path


def sync_folder(*folders: Path) -> None:
    """Flushes what is in the folders by name. OSError where the device refuses: fsync(2) of a folder."""
    for folder in folders:
        _sync(folder, os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Flushes a file's bytes. OSError where the device refuses."""
    _sync(path, 0)


def write_new(path: Path, text: str, mode: int) -> None:
    """A new file of UTF-8 text, flushed; its name is not. OSError where there is one, or no room."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
