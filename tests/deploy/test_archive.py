"""The package's bytes: the same for the same tree, and what dpkg makes of them is that tree."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from deb import archive
from deb.archive import Entry, Tree

EPOCH = 1_700_000_000
CONTROL = {
    "control": Entry(b"Package: p\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x.invalid>\nDescription: x\n"),
    "postinst": Entry(b"#!/bin/sh\n", 0o755),
}
LONG = "usr/share/" + "deep-" * 30 + "/" + "name-" * 20 + ".txt"
DATA: Tree = {
    "usr/bin/p": Entry(b"#!/bin/sh\necho p\n", 0o755),
    "usr/lib/p/x.so": Entry(bytes(range(256)) * 300),
    "usr/lib/p/empty": Entry(),
    "usr/lib/p/link": Entry(link="x.so"),
    "var/lib/p": Entry(mode=0o700, folder=True),
    "usr/share/doc/p/größe": Entry("ä\n".encode()),
    LONG: Entry(b"long"),
}

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")


def test_the_same_tree_gives_the_same_bytes() -> None:
    """In whatever order it was put together, under whatever umask."""
    first = archive.deb(CONTROL, DATA, EPOCH)
    before = os.umask(0o077)
    try:
        again = archive.deb(dict(reversed(CONTROL.items())), dict(reversed(DATA.items())), EPOCH)
    finally:
        os.umask(before)
    assert first == again
    assert first != archive.deb(CONTROL, DATA, EPOCH + 1)
    assert first != archive.deb(CONTROL, {**DATA, "usr/lib/p/empty": Entry(mode=0o600)}, EPOCH)


@needs_dpkg
def test_dpkg_unpacks_just_that_tree(tmp_path: Path) -> None:
    package, root = tmp_path / "p.deb", tmp_path / "root"
    package.write_bytes(archive.deb(CONTROL, DATA, EPOCH))
    subprocess.run(["dpkg-deb", "-R", package, root], check=True)
    found = {str(path.relative_to(root)): path for path in root.rglob("*") if "DEBIAN" not in path.parts}
    assert set(found) == set(archive.whole(DATA))
    for name, entry in archive.whole(DATA).items():
        path = found[name]
        told = path.lstat()
        assert told.st_mtime == EPOCH, name
        if entry.link:
            assert path.is_symlink() and str(path.readlink()) == entry.link
            continue
        assert stat.S_IMODE(told.st_mode) == entry.mode, name
        assert path.is_dir() == entry.folder and (entry.folder or path.read_bytes() == entry.data), name
    assert stat.S_IMODE((root / "DEBIAN/postinst").stat().st_mode) == 0o755
    sums = subprocess.run(["md5sum", "-c", "--quiet", "DEBIAN/md5sums"], cwd=root, check=False)
    assert sums.returncode == 0


@needs_dpkg
def test_everything_belongs_to_root_and_parents_come_first(tmp_path: Path) -> None:
    package = tmp_path / "p.deb"
    package.write_bytes(archive.deb(CONTROL, DATA, EPOCH))
    listed = subprocess.run(["dpkg-deb", "-c", package], check=True, capture_output=True, text=True).stdout.splitlines()
    assert all(line.split()[1] == "root/root" for line in listed)
    seen = {"./"}
    for path in (line.split()[5] for line in listed[1:]):
        assert path.rstrip("/").rpartition("/")[0] + "/" in seen, path
        seen.add(path)


@needs_dpkg
def test_the_size_told_is_the_size_installed(tmp_path: Path) -> None:
    package, root = tmp_path / "p.deb", tmp_path / "root"
    package.write_bytes(archive.deb(CONTROL, DATA, EPOCH))
    subprocess.run(["dpkg-deb", "-x", package, root], check=True)
    files = [path.stat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    others = sum(1 for path in root.rglob("*") if path.is_symlink() or not path.is_file())
    assert archive.installed_kib(DATA) == sum(-(-size // 1024) or 1 for size in files) + others
