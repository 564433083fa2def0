"""A Debian package's bytes from a tree in memory: the same tree gives the same bytes, wherever it is made.

deb(5): an `ar` of `debian-binary`, `control.tar.xz` and `data.tar.xz`. Nothing is taken from a file system, so no
umask, owner, order or time of one can get in.
"""

import hashlib
import io
import lzma
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple


class Entry(NamedTuple):
    """A file's bytes and its mode, or a link's target; of a folder the mode alone. All belong to root."""

    data: bytes = b""
    mode: int = 0o644
    link: str = ""
    folder: bool = False


Tree = dict[str, Entry]
"""Path without a leading slash, to what is there. Folders above are made by themselves, with mode 0755."""


def deb(control: Mapping[str, Entry], data: Tree, epoch: int) -> bytes:
    """The package. `epoch`: Unix seconds of everything in it."""
    sums = "".join(f"{_md5(entry)}  {path}\n" for path, entry in _files(data))
    inside = {**control, "md5sums": Entry(sums.encode())}
    members = (
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", _xz(_tar(inside, epoch))),
        ("data.tar.xz", _xz(_tar(data, epoch))),
    )
    return b"!<arch>\n" + b"".join(_member(name, content, epoch) for name, content in members)


def installed_kib(data: Tree) -> int:
    """Installed-Size as deb-substvars(5) counts it: a KiB for each begun one of a file, and one for everything else."""
    return sum(-(-len(entry.data) // 1024) or 1 for entry in whole(data).values())


def whole(tree: Mapping[str, Entry]) -> Tree:
    """The tree with the folders above everything in it, in the order of their paths."""
    folders = {str(parent) for path in tree for parent in PurePosixPath(path).parents if str(parent) != "."}
    made = {path: Entry(mode=0o755, folder=True) for path in folders}
    return dict(sorted({**made, **tree}.items(), key=lambda one: one[0].split("/")))


def _md5(entry: Entry) -> str:
    """What dpkg --verify compares: no protection against anybody."""
    return hashlib.md5(entry.data, usedforsecurity=False).hexdigest()


def _files(tree: Mapping[str, Entry]) -> Iterable[tuple[str, Entry]]:
    return ((path, entry) for path, entry in sorted(tree.items()) if not entry.link and not entry.folder)


def _tar(tree: Mapping[str, Entry], epoch: int) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.GNU_FORMAT) as archive:
        root = {".": Entry(mode=0o755, folder=True)}
        for path, entry in {**root, **whole(tree)}.items():
            info = tarfile.TarInfo(path if path == "." else f"./{path}")
            info.mtime, info.mode, info.uname, info.gname = epoch, entry.mode, "root", "root"
            if entry.folder:
                info.type = tarfile.DIRTYPE
            elif entry.link:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
            info.size = len(entry.data)
            archive.addfile(info, io.BytesIO(entry.data))
    return held.getvalue()


def _xz(data: bytes) -> bytes:
    """One block, one thread: dpkg-deb cuts by its count of processors."""
    return lzma.compress(data, check=lzma.CHECK_CRC64, preset=6)


def _member(name: str, content: bytes, epoch: int) -> bytes:
    head = f"{name:<16}{epoch:<12}{0:<6}{0:<6}{0o100644:<8o}{len(content):<10}`\n"
    return head.encode("ascii") + content + b"\n" * (len(content) % 2)
