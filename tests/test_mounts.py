"""mountinfo and fstab, as the kernel and people write them."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.device.mounts import UNSAFE, VOLATILE, Mount, mount_of, mounted, wanted


def test_what_this_kernel_says_is_understood() -> None:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    found = mounted()
    assert len(found) == len(lines)
    for told, plainly in zip(found, Path("/proc/self/mounts").read_text().splitlines(), strict=True):
        device, _, kind, options = plainly.split(" ")[:4]
        assert (told.kind, told.device.replace(" ", "\\040")) == (kind, device)
        assert {one for one in told.options if one not in {"rw", "ro"}} >= {
            one for one in options.split(",") if one not in {"rw", "ro"}
        }


def test_what_is_mounted_over_something_counts(tmp_path: Path) -> None:
    low, high = Mount(Path("/data"), "ext4"), Mount(Path("/data"), "tmpfs")
    root, deep = Mount(Path("/"), "xfs"), Mount(Path("/data/deep"), "btrfs")
    assert mount_of(Path("/data/x"), [root, low, high, deep]) == high
    assert mount_of(Path("/data/deep/x"), [deep, root, low]) == deep
    assert mount_of(Path("/database"), [low, root]) == root
    assert mount_of(Path("/database"), [low]) is None


ROW = "36 35 98:0 / /data rw,noatime shared:1 - ext4 /dev/root rw"


@given(st.lists(st.sampled_from([*ROW.split(" "), "", "-", "\\040", "\\999", "\x00", "\udcff"]), max_size=14))
def test_whatever_stands_there_is_read(words: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mountinfo"
        path.write_bytes(f"{' '.join(words)}\n{ROW}\n".encode("utf-8", "surrogateescape"))
        assert mounted(path)[-1].point == Path("/data")
        wanted(path)


@pytest.mark.parametrize(
    ("line", "points"),
    [
        ("UUID=1 /data ext4 defaults 0 2", ["/data"]),
        ("UUID=1 /data\\040disk ext4 noatime", ["/data disk"]),
        ("UUID=1 /data ext4 noauto,user 0 0", []),
        ("# UUID=1 /data ext4 defaults 0 2", []),
        ("UUID=1 none swap sw 0 0", []),
        ("UUID=1 / ext4 defaults 0 1", []),
        ("UUID=1 /data", []),
    ],
)
def test_what_fstab_wants(tmp_path: Path, line: str, points: list[str]) -> None:
    (tmp_path / "fstab").write_text(f"{line}\n")
    assert wanted(tmp_path / "fstab") == [Path(point) for point in points]


def test_no_file_system_is_in_both_sets() -> None:
    assert not VOLATILE & UNSAFE
    assert not (VOLATILE | UNSAFE) & {"ext4", "xfs", "btrfs", "f2fs"}
