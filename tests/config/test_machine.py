"""What the machine says to a configuration: files, ports, and the file system of the data."""

import os
import pwd
from pathlib import Path

import pytest
from fakes.configs import GATEWAY, SEEN, write

from gateway import config
from gateway.conditions import Condition
from gateway.conditions import machine as told_of
from gateway.config import machine
from gateway.config.words import dotted
from gateway.device.mounts import FSTAB, MOUNTINFO


class Machine:
    """A configuration whose files are in a folder, and what is mounted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.mounts, self.fstab = folder / MOUNTINFO, folder / FSTAB
        for path in (self.mounts, self.fstab):
            path.parent.mkdir(parents=True)
        self.mount("/", "ext4")
        self.fstab.write_text(
            "# <device> <mount point> <type> <options>\nUUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw 0 0\n"
        )
        self.data.mkdir(mode=0o700)
        for name in ("log.key", "mqtt.password"):
            (folder / name).write_text("x")
            (folder / name).chmod(0o600)
        text = GATEWAY.replace("/etc/fieldgate", str(folder)).replace("/var/lib/fieldgate", str(self.data))
        self.text = text + '[retention]\nmax_bytes = "32 MiB"\n'

    def mount(self, point: str | Path, kind: str) -> None:
        with self.mounts.open("a") as file:
            escaped = str(point).replace(" ", "\\040")
            file.write(f"36 35 98:0 / {escaped} rw,noatime shared:1 - {kind} /dev/root rw\n")

    def look(self, text: str = "") -> list[tuple[str, str, str]]:
        """(condition, place, what and cure) of all advice."""
        path = write(self.folder, text or self.text)
        found = machine.look(config.load(path), config.files(path), self.folder)
        return [(one.problem.condition, dotted(one.place), f"{one.problem.what}. {one.problem.cure}") for one in found]


@pytest.fixture
def place(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_machine_on_which_all_is_well(place: Machine) -> None:
    assert place.look() == []


def test_secrets(place: Machine) -> None:
    (place.folder / "log.key").unlink()
    (place.folder / "mqtt.password").chmod(0o640)
    (key, password) = place.look()
    assert key[:2] == ("config-secret-missing", "gateway.key")
    assert password[:2] == ("config-secret-open", "broker.local.password")
    assert "(mode 0640)" in password[2]
    assert f"chmod 600 {place.folder}/mqtt.password" in password[2]
    (place.folder / "mqtt.password").unlink()
    missing = place.look()[1]
    assert missing[0] == "config-password-missing"
    user = pwd.getpwuid(os.getuid()).pw_name
    assert f"sudo install -m 600 -o {user} /dev/stdin {place.folder}/mqtt.password" in missing[2]
    token = place.look(f'{place.text}[web]\nwatch_token = "file:{place.folder}/token"\n')[2]
    assert token[:2] == ("config-token-missing", "web.watch_token")
    assert f"base64 | sudo install -m 600 -o {user} /dev/stdin {place.folder}/token" in token[2]


def test_secrets_that_are_in_no_file(place: Machine) -> None:
    text = place.text.replace(f"file:{place.folder}/log.key", "credential:log.key")
    assert place.look(text.replace(f"file:{place.folder}/mqtt.password", "env:PASSWORD")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_a_secret_that_belongs_to_another_user(place: Machine) -> None:
    """Made with sudo, mostly: the service, whom its data belongs to, cannot read it."""
    nobody = pwd.getpwnam("nobody")
    os.chown(place.data, nobody.pw_uid, nobody.pw_gid)
    os.chown(place.folder / "log.key", nobody.pw_uid, nobody.pw_gid)
    (found,) = place.look()
    assert found[:2] == ("config-secret-foreign", "broker.local.password")
    assert f"sudo chown nobody {place.folder}/mqtt.password" in found[2]


FILES = [
    (
        "[broker.b]",
        'url = "mqtts://b"\nca_file = "{}"\ncert_file = "/etc/hostname"\nkey_file = "{}"',
        ["ca_file", "key_file"],
    ),
    ("[web]", 'cert_file = "{}"\nkey_file = "{}"', ["cert_file", "key_file"]),
    ("[source.trip]", 'driver = "replay"\nformat = "text"\nvalues = {{ v = {{}} }}\npath = "{}"', ["path"]),
    ("[source.cold]", 'driver = "onewire"\npath = "{}"', ["path"]),
    ("[node.n]", f'url = "https://n"\nca_file = "{{}}"\nseen_key = "{SEEN}"', ["ca_file"]),
]


@pytest.mark.parametrize(("table", "rows", "fields"), FILES, ids=[table for table, _, _ in FILES])
def test_files_that_are_not_there(place: Machine, table: str, rows: str, fields: list[str]) -> None:
    text = place.text[: place.text.index("[node")] + place.text[place.text.index("[retention") :]
    paths = [place.folder / field for field in fields]
    text += f"{table}\n{rows.format(*paths)}\n"
    name = table.strip("[]")
    assert [found[:2] for found in place.look(text)] == [("config-file-missing", f"{name}.{field}") for field in fields]
    for path in paths:
        path.write_text("x")
        path.chmod(0o600)
    assert place.look(text) == []
    paths[-1].chmod(0o644)
    assert [found[0] for found in place.look(text)] == (["config-tls-key-open"] if fields[-1] == "key_file" else [])


def test_a_port_that_is_not_there(place: Machine) -> None:
    port = place.folder / "ttyS9"
    text = (
        place.text + f'[source.s]\ndriver = "serial_line"\nport = "{port}"\nformat = "text"\nvalues = {{ v = {{}} }}\n'
    )
    (found,) = place.look(text)
    assert found[:2] == ("config-port-missing", "source.s.port")
    assert "fieldgate probe" in found[2]
    port.write_text("")
    assert place.look(text) == []


def test_no_folder_for_the_data(place: Machine) -> None:
    place.data.rmdir()
    assert [found[:2] for found in place.look()] == [("config-data-missing", "gateway.data_dir")]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("tmpfs", "config-data-volatile"),
        ("overlay", "config-data-volatile"),
        ("nfs4", "config-data-unsafe"),
        ("vfat", "config-data-unsafe"),
        ("xfs", ""),
        ("btrfs", ""),
    ],
)
def test_the_file_system_of_the_data(place: Machine, kind: str, told: str) -> None:
    place.mount(place.folder, kind)
    place.mount(place.folder.with_name("elsewhere"), "tmpfs")
    found = place.look()
    assert [one[0] for one in found] == [told] * bool(told)
    place.mount(place.data, "ext4")
    assert place.look() == [], "what is mounted deepest counts"


def test_a_mount_point_with_a_blank(place: Machine) -> None:
    home = place.folder / "a b"
    home.mkdir()
    place.mount(home, "tmpfs")
    text = place.text.replace(str(place.data), f"{home}/data")
    (home / "data").mkdir()
    assert [one[0] for one in place.look(text)] == ["config-data-volatile"]


def test_a_disk_that_was_meant_and_is_not_mounted(place: Machine) -> None:
    with place.fstab.open("a") as file:
        file.write(f"UUID=3 {place.folder} ext4 defaults,nofail 0 2\nUUID=4 /mnt/other ext4 defaults 0 2\n")
        file.write(f"UUID=5 {place.data} ext4 noauto 0 2\nbroken\n")
    (found,) = place.look()
    assert found[:2] == ("config-data-unmounted", "gateway.data_dir")
    assert f"sudo mount {place.folder}" in found[2]
    place.mount(place.folder, "ext4")
    assert place.look() == []


def test_a_store_that_is_larger_than_the_disk(place: Machine) -> None:
    (found,) = place.look(place.text.replace("32 MiB", "900000 TiB"))
    assert found[:2] == ("config-store-larger-than-disk", "retention.max_bytes")


def test_a_machine_that_tells_nothing(place: Machine) -> None:
    place.mounts.unlink()
    place.fstab.unlink()
    assert place.look() == []
    place.mounts.write_bytes(b"\xff garbage\n\n36 35 98:0 /\n36 35 98:0 / / rw - \n")
    assert place.look() == []


def test_files_beside_the_drop_ins_that_nobody_reads(place: Machine) -> None:
    folder = place.folder / "fieldgate.d"
    folder.mkdir()
    for name in ("10-box.conf", "README", "10.toml~", ".10.toml.swp", "20.toml"):
        (folder / name).write_text("")
    assert [found[0] for found in place.look()] == ["config-file-ignored", "config-file-ignored"]
    assert {Path(found[2].split()[0]).name for found in place.look()} == {"10-box.conf", "README"}


def test_a_configuration_that_others_may_change(place: Machine) -> None:
    place.look()
    (place.folder / "fieldgate.toml").chmod(0o666)
    (found,) = place.look()
    assert found[0] == "config-writable"
    assert "(mode 0666)" in found[2]


def test_every_condition_of_a_machine_is_met() -> None:
    text, ids = Path(__file__).read_text(), [one.id for one in vars(told_of).values() if isinstance(one, Condition)]
    assert ids
    assert [one for one in ids if f'"{one}"' not in text or not one.startswith("config-")] == []


def test_what_an_anchor_names(place: Machine) -> None:
    table = '[anchor.s]\nkind = "evm"\nurl = "https://s.example"\nchain_id = 9090\n'
    files = f'key = "file:{place.folder}/anchor.key"\nca_file = "{place.folder}/ca.pem"\n'
    assert {one[:2] for one in place.look(place.text + table + files)} == {
        ("config-secret-missing", "anchor.s.key"),
        ("config-file-missing", "anchor.s.ca_file"),
    }
