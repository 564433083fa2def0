"""A release's signed list: who has the key and the files sees that they are the ones; anything else is refused."""

import shutil
import subprocess
from pathlib import Path

import pytest
from fakes.command import Done, fieldgate

from deb import lock, release
from gateway import keys
from gateway.core.note import Note, SignatureLine

VERSION = "1.2.3"


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, str]:
    """A folder with three files of a version, some of others, and their list; and the key that verifies it."""
    folder = tmp_path / "dist"
    folder.mkdir()
    for name in ("fieldgate_1.2.3_arm64.deb", "fieldgate-1.2.3.tar.gz", "fieldgate_1.2.3_arm64.cdx.json"):
        (folder / name).write_text(name)
    for name in ("fieldgate_1.2.2_arm64.deb", "fieldgate-1.2.30.tar.gz", "fieldgate-1.2.3.1-py3-none-any.whl"):
        (folder / name).write_text("another version")
    vkey = release.new_key("releases.example", tmp_path / "release.key")
    assert release.sign(folder, VERSION, tmp_path / "release.key") == vkey
    return folder, vkey


def verify(folder: Path, vkey: str) -> Done:
    return fieldgate("verify", "--sums", folder / release.SUMS, "--key", vkey, cwd=folder)


def test_the_files_are_good(made: tuple[Path, str]) -> None:
    done = verify(*made)
    assert done.code == 0, done
    assert done.out.count(": good") == 3 and "1.2.2" not in done.out


def test_only_some_of_the_files_are_here(made: tuple[Path, str]) -> None:
    folder, vkey = made
    (folder / "fieldgate-1.2.3.tar.gz").unlink()
    done = verify(folder, vkey)
    assert done.code == 0 and "1 more are not here" in done.out
    for path in folder.glob("fieldgate*"):
        path.unlink()
    assert verify(folder, vkey).code == 3


def test_another_file_is_refused(made: tuple[Path, str]) -> None:
    folder, vkey = made
    (folder / "fieldgate_1.2.3_arm64.deb").write_text("another")
    done = verify(folder, vkey)
    assert done.code == 1 and "fieldgate_1.2.3_arm64.deb" in done.err


def test_another_list_is_refused(made: tuple[Path, str]) -> None:
    """A file and its sum changed together: the signature tells."""
    folder, vkey = made
    path, sums = folder / "fieldgate_1.2.3_arm64.deb", folder / release.SUMS
    before = lock.sha256(path)
    path.write_text("another")
    sums.write_text(sums.read_text().replace(before, lock.sha256(path)))
    assert verify(folder, vkey).code == 1


def test_another_key_is_refused(made: tuple[Path, str], tmp_path: Path) -> None:
    """One of the same name, too."""
    folder, _ = made
    assert verify(folder, release.new_key("releases.example", tmp_path / "other.key")).code == 1
    assert verify(folder, "releases.example").code == 2


@pytest.mark.parametrize("name", ["../fieldgate", "a/b", ".."])
def test_a_signed_name_outside_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    vkey = release.new_key("releases.example", tmp_path / "release.key")
    signer = keys.open_signer(f"file:{tmp_path / 'release.key'}")
    text = f"{'0' * 64}  {name}\n"
    line = SignatureLine(signer.vkey.name, signer.vkey.key_id, signer.sign(text.encode()))
    (tmp_path / release.SUMS).write_text(Note(text, (line,)).encode())
    assert verify(tmp_path, vkey).code == 1


def test_options_belong_together(tmp_path: Path) -> None:
    assert fieldgate("verify", "--sums", "x", cwd=tmp_path).code == 2
    assert fieldgate("verify", "receipt", "--sums", "x", "--key", "y", cwd=tmp_path).code == 2


def test_sha256sum_reads_it(made: tuple[Path, str]) -> None:
    folder, _ = made
    assert shutil.which("sha256sum"), "coreutils"
    command = ["sha256sum", "--check", "--ignore-missing", release.SUMS]
    assert subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0
    (folder / "fieldgate-1.2.3.tar.gz").write_text("another")
    assert subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 1
