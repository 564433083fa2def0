"""Power, temperature, memory, mounts, clock, versions: trees of files, and what the kernel here really says."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest
from fakes.tree import tree

from gateway.clock import RELEASED_MS
from gateway.core.limits import SYSTEM_FILE_BYTES
from gateway.device.card import Card
from gateway.device.mounts import Mount, mount_of, mounted
from gateway.doctor import Case, Outcome, clock, disk, memory, power, system, versions
from gateway.settings import RetentionSettings

MIB = 2**20


def ids(outcome: Outcome) -> list[str]:
    return [one.condition for one in outcome.problems]


def case(root: Path, **more: Any) -> Case:
    return Case(settings=None, root=root, **more)


THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({THROTTLED: "0\n"}, []),
        ({THROTTLED: "50005\n"}, ["power-low"]),  # the kernel writes hexadecimal without 0x
        ({THROTTLED: "0x50000\n"}, ["power-was-low"]),
        ({THROTTLED: "4\n"}, ["device-throttled"]),
        ({THROTTLED: "2\n"}, ["device-throttled"]),
        ({THROTTLED: "80000\n"}, []),
        ({THROTTLED: "rubbish\n"}, []),
        ({"sys/class/hwmon/hwmon1/name": "rpi_volt\n", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n"}, ["power-low"]),
        ({"sys/class/hwmon/hwmon1/name": "rpi_volt\n", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0\n"}, []),
        ({"sys/class/hwmon/hwmon1/name": "other\n", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n"}, []),
        ({"sys/class/thermal/thermal_zone0/temp": "79999\n"}, []),
        (
            {"sys/class/thermal/thermal_zone0/temp": "40000\n", "sys/class/thermal/thermal_zone1/temp": "80000\n"},
            ["device-hot"],
        ),
        ({"sys/class/thermal/thermal_zone0/temp": "-5000\n"}, []),
    ],
)
async def test_power_and_temperature(tmp_path: Path, files: dict[str, str], found: list[str]) -> None:
    assert ids(await power.look(case(tree(tmp_path, files)))) == found


async def test_a_machine_that_tells_nothing_of_its_power(tmp_path: Path) -> None:
    outcome = await power.look(case(tmp_path))
    assert (outcome.unseen, outcome.problems) == (True, ())


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"proc/meminfo": "MemTotal: 1000000 kB\nMemAvailable: 65536 kB\n", "proc/vmstat": "nr 1\noom_kill 0\n"}, []),
        ({"proc/meminfo": "MemTotal: 1000000 kB\nMemAvailable: 65535 kB\n"}, ["memory-low"]),
        ({"proc/vmstat": "oom_kill 2\n"}, ["memory-killed"]),
        ({"proc/meminfo": "MemAvailable\nx:y\n::\n", "proc/vmstat": "oom_kill\n"}, []),
        ({}, []),
    ],
)
async def test_memory(tmp_path: Path, files: dict[str, str], found: list[str]) -> None:
    assert ids(await memory.look(case(tree(tmp_path, files)))) == found


def facts(mount: str = "", **more: Any) -> disk.Facts:
    found = None
    if mount:
        device, point, kind, options = mount.split()
        found = Mount(Path(point), kind, device, "", frozenset(options.split(",")))
    return disk.Facts(**{"free": 9000 * MIB, "total": 10000 * MIB, "used": MIB, "mount": found} | more)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (facts(), []),
        (facts(free=64 * MIB - 1), ["disk-full"]),
        (facts(free=64 * MIB), ["disk-small"]),
        (facts(free=8192 * MIB + 64 * MIB, used=0), []),
        (facts(free=8192 * MIB + 64 * MIB - 1, used=0), ["disk-small"]),
        (facts(a_day=600 * MIB), ["disk-soon"]),
        (facts(a_day=500 * MIB), []),
        (facts("/dev/mmcblk0p2 / ext4 rw,noatime"), []),
        (facts("/dev/mmcblk0p2 / ext4 rw,strictatime"), ["disk-noatime"]),
        (facts("/dev/sda1 / ext4 ro,relatime"), ["disk-read-only"]),
        (facts("/dev/sda1 / ext4 rw,sync"), ["disk-sync"]),
        (facts("tmpfs /var tmpfs rw"), ["disk-volatile"]),
        (facts("overlayroot / overlay rw"), ["disk-volatile"]),
        (facts("/dev/sda1 /mnt vfat rw"), ["disk-no-rights"]),
        (facts("node:/x /mnt nfs4 rw"), ["disk-no-rights"]),
        (facts("/dev/sda1 / ext4 rw,nobarrier"), ["disk-no-barrier"]),
        (facts("/dev/sda1 / ext4 rw,barrier=0"), ["disk-no-barrier"]),
        (facts("/dev/sda1 / ext4 rw,barrier,data=ordered,errors=remount-ro,commit=60"), []),
        (facts("/dev/sda1 / ext4 rw,data=writeback"), ["disk-writeback"]),
        (facts("/dev/sda1 / ext4 rw,errors=continue"), ["disk-goes-on"]),
        (facts(card=Card("MMC", 89, 0)), []),
        (facts(card=Card("MMC", 90, 80)), ["disk-spare", "disk-worn"]),
    ],
)
def test_disk(given: disk.Facts, found: list[str]) -> None:
    assert sorted(ids(disk.judge(given, RetentionSettings(), keepers=0))) == found


def test_a_disk_whose_readings_nodes_hold_may_fill_up() -> None:
    assert ids(disk.judge(facts(a_day=600 * MIB), RetentionSettings(), keepers=1)) == []


MOUNTS = """\
22 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw,commit=60
23 22 179:1 / /boot\\040files rw - vfat /dev/mmcblk0p1 rw
24 22 0:9 / {point} rw - tmpfs tmpfs rw
25 24 179:3 / {point} rw,relatime - ext4 /dev/mmcblk0p3 rw,errors=remount-ro
broken line
"""


def test_the_mount_and_the_card_of_the_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    files = {
        "proc/self/mountinfo": MOUNTS.format(point=data),
        "proc/uptime": "7200.00 1.00\n",
        "proc/fs/ext4/mmcblk0p3/options": "rw\nbarrier\nerrors=remount-ro\ndata=ordered\n",
        "sys/block/mmcblk0/device/life_time": "0x0a 0x01\n",
        "sys/block/mmcblk0/device/pre_eol_info": "0x02\n",
        "sys/block/mmcblk0/device/type": "MMC\n",
        "sys/block/mmcblk0/stat": " 1 2 3 4 5 6 2048 8 9 10 11\n",
        "sys/block/mmcblk0/mmcblk0p3/partition": "3\n",
    }
    root = tree(tmp_path / "root", files)
    (root / "sys/dev/block").mkdir(parents=True)
    (root / "sys/dev/block/179:3").symlink_to("../../block/mmcblk0/mmcblk0p3")
    found = disk._facts(data / "deeper" / "not-there", root)
    assert found.mount is not None
    assert (found.mount.device, found.mount.kind, found.mount.point) == ("/dev/mmcblk0p3", "ext4", data)
    assert found.mount.options >= {"rw", "relatime", "barrier", "data=ordered", "errors=remount-ro"}
    assert found.card == Card("MMC", worn=100, spare=80, written=2048 * 512)
    assert found.written == 12 * 2048 * 512
    other = disk._facts(Path("/nowhere"), root)
    assert other.mount is not None
    assert (other.mount.point, other.card) == (Path("/"), Card())
    assert disk._facts(data, tmp_path / "empty").mount is None


def test_a_copy_from_before_an_update_is_not_the_store(tmp_path: Path) -> None:
    """The limit of the store's size does not count it, and it goes when room gets short."""
    for name, size in {"fieldgate.db": 100, "fieldgate.db-wal": 20, "fieldgate.db.schema-3": 100}.items():
        (tmp_path / name).write_bytes(bytes(size))
    assert disk._facts(tmp_path, tmp_path).used == 120
    (tmp_path / "fieldgate.db-wal").unlink()
    (tmp_path / "fieldgate.db-wal").symlink_to("gone")  # while it was looked for
    assert disk._facts(tmp_path, tmp_path).used == 100


def test_this_machine_has_mounts_processes_and_users() -> None:
    root = Path("/")
    mount = mount_of(Path("/proc/self"), mounted())
    assert mount is not None
    assert mount.kind == "proc"
    assert os.getpid() in [one.pid for one in system.processes(root)]
    assert system.user(0, root).name == "root"
    assert memory._facts(root).available


def test_a_file_that_is_large_strange_or_away(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (SYSTEM_FILE_BYTES + 1))
    assert len(system.text(tmp_path / "large") or "") == SYSTEM_FILE_BYTES
    (tmp_path / "strange").write_bytes(b"\xff\x00")
    assert system.text(tmp_path / "strange") == "�"
    assert system.text(tmp_path) is None
    assert system.number(tmp_path / "strange") is None


def test_who_may_do_what(tmp_path: Path) -> None:
    files = {"etc/passwd": "a:x:7:70::/:\nb:x:8:80::/:\n", "etc/group": "dialout:x:20:b,c\nbroken\n"}
    root = tree(tmp_path, files)
    assert system.user(8, root) == system.User(8, frozenset((80, 20)), "b")
    assert system.user(9, root) == system.User(9, frozenset(), "9")
    path = tmp_path / "device"
    path.touch()
    path.chmod(0o640)
    told = path.stat()
    owner, member, other = (
        system.User(told.st_uid or 1, frozenset(), "o"),
        system.User(99, frozenset((told.st_gid,)), "m"),
        system.User(99, frozenset(), "x"),
    )
    assert member.may(path, 4)
    assert not member.may(path, 6)
    assert not other.may(path, 4)
    assert told.st_uid == 0 or owner.may(path, 6)
    assert system.User(0, frozenset(), "root").may(path, 6)


async def test_the_clock_against_the_build_and_the_chain(tmp_path: Path) -> None:
    good = clock.Facts(RELEASED_MS + 1000, 5_000, {"chrony"})
    assert ids(clock.judge(good)) == []
    assert ids(clock.judge(good._replace(now_ms=1_420_070_400_000))) == ["clock-off"]
    assert "2015" in clock.judge(good._replace(now_ms=1_420_070_400_000)).problems[0].what
    assert ids(clock.judge(good._replace(now_ms=0))) == ["clock-off"]
    ahead = RELEASED_MS + 86_400_000
    assert ids(clock.judge(good._replace(sealed_ms=ahead))) == ["clock-off"]
    assert ids(clock.judge(good._replace(sealed_ms=ahead, now_ms=ahead - 60_000))) == []
    assert ids(clock.judge(good._replace(error_us=16_000_000))) == ["clock-unsynchronised"]
    assert ids(clock.judge(good._replace(error_us=None, setters=()))) == ["clock-unset"]
    root = tree(tmp_path, {"proc/12/comm": "systemd-timesyn\n", "proc/13/comm": "bash\n", "proc/self": "x"})
    outcome = await clock.look(case(root))
    assert outcome.figures["set by"] == "systemd-timesyncd"
    assert time.strftime("%Y") in outcome.figures["now"]


def test_versions() -> None:
    here = versions.installed()
    assert "aiohttp" in here
    assert ids(versions.judge(versions.Facts("", here))) == []
    assert ids(versions.judge(versions.Facts("0.0.1", here))) == ["gateway-old"]
    assert ids(versions.judge(versions.Facts("", {"aiohttp": "3.14.2"}))) == ["library-old"]
    assert ids(versions.judge(versions.Facts("", {"aiohttp": "3.14.3"}))) == []
    assert ids(versions.judge(versions.Facts("", {"aiohttp": "4.0.0rc1"}))) == []
    assert ids(asyncio.run(versions.look(case(Path("/"), state={"version": 7})))) == ["gateway-old"]


async def test_a_look_that_hangs_is_given_up_and_holds_up_nothing() -> None:
    released = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang() -> None:
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result()

    from gateway.doctor.case import beside

    with pytest.raises(TimeoutError):
        await beside(hang, timeout_s=0.01)
    released.set()
