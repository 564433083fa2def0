"""The package in fresh Debians: installed offline, run as its own user, updated and taken back, removed; and on arm64.

Each root file system is made once and kept in build/roots, the wheels in build/wheels: later runs need no network.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deploy.test_units import EXPOSED_TENTHS, SANDBOXED, TIMERS, UNITS, surprises, systemd_version
from fakes import debian_root
from fakes.debian_root import INSIDE, Debian, kept
from fakes.packages import EPOCH, build, copied

from deb import package

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1800)]

MESSAGES = 1500
"""More than mosquitto queues by itself, 1,000."""

SUITES = {"bookworm": "3.11", "trixie": "3.13"}
SOURCE = """
[broker.local]
url = "mqtt://127.0.0.1:1883"
window = 1000

[source.climate]
driver = "mqtt"
broker = "local"
topic = "farm/climate"
values = { temp = { unit = "Cel" } }
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """This version's package for amd64, and one of the next version, which is built of a tree that says so."""
    folder = tmp_path_factory.mktemp("packages")
    first = build(package.ROOT, folder, "amd64")
    tree = copied(folder / "next")
    for name in ("pyproject.toml", "gateway/__init__.py"):
        text = (tree / name).read_text()
        assert f'"{package.version()}"' in text
        (tree / name).write_text(text.replace(f'"{package.version()}"', '"99.1.0"', 1))
    return first, build(tree, folder, "amd64")


@pytest.fixture(params=SUITES)
def debian(request: pytest.FixtureRequest, tmp_path: Path, packages: tuple[Path, Path]) -> Iterator[Debian]:
    """A fresh root file system with both packages in /srv."""
    archive = kept(request.param, "amd64", "--variant=minbase", f"--include={INSIDE}")
    made = Debian(tmp_path / request.param, archive)
    for path in packages:
        shutil.copy(path, made.path("/srv"))
    yield made
    shutil.rmtree(made.folder)


def install(debian: Debian, deb: Path, **env: str) -> str:
    options = ["--yes", "--no-install-recommends", "--allow-downgrades", "--reinstall", "-o", "APT::Sandbox::User=root"]
    return debian.run("apt-get", "install", *options, f"/srv/{deb.name}", env=env)


def identity(debian: Debian) -> dict[str, str]:
    """What is never made twice."""
    return {
        name: debian.path(f"/etc/fieldgate/{name}").read_text() for name in ("log.key", "read.key", "fieldgate.toml")
    }


def lives(debian: Debian, count: int) -> dict[str, Any]:
    """A life of the gateway with so many more readings (fakes/in_debian.py)."""
    shutil.copy(debian_root.ROOT / "tests/fakes/in_debian.py", debian.path("/srv"))
    told: dict[str, Any] = json.loads(debian.run("python3", "/srv/in_debian.py", str(count)).splitlines()[-1])
    return told


def test_from_nothing_to_sealed_readings_and_through_updates(debian: Debian, packages: tuple[Path, Path]) -> None:
    """One command makes a gateway; readings outlive an update and the way back, on one chain, by one key."""
    first, second = packages
    install(debian, first, FIELDGATE_NAME="henhouse-3.example.farm")
    key, config = debian.path("/etc/fieldgate/log.key"), debian.path("/etc/fieldgate/fieldgate.toml")
    assert key.stat().st_mode & 0o7777 == 0o600 and key.stat().st_uid != 0
    assert debian.path("/etc/systemd/system/multi-user.target.wants/fieldgate.service").is_symlink()
    assert debian.run("dpkg", "--verify", "fieldgate") == ""
    config.write_text(config.read_text() + SOURCE)
    begun, readings = identity(debian), 0
    for deb, version in ((first, package.version()), (second, "99.1.0"), (first, package.version())):
        install(debian, deb, FIELDGATE_NAME="another.example")
        assert identity(debian) == begun
        told = lives(debian, MESSAGES)
        readings += MESSAGES
        assert (told["version"], told["readings"]) == (f"fieldgate {version}", readings)
        assert [path.name for path in debian.path("/usr/lib/fieldgate").iterdir() if path.is_dir()] == [version]


def test_the_systemd_of_each_debian_knows_everything_in_the_units(debian: Debian, packages: tuple[Path, Path]) -> None:
    """As they are installed. Debian 13's has the settings that Debian 12's is too old for."""
    install(debian, packages[0])
    systemd = systemd_version(debian.run("systemd-analyze", "--version"))
    for unit in (*UNITS, *TIMERS):
        _, said = debian.tried("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit)
        assert surprises(said, systemd) == [], unit
    for unit in SANDBOXED:
        debian.run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSED_TENTHS}", unit)
    faulty = debian.path("/usr/lib/systemd/system/fieldgate.service")
    faulty.write_text(faulty.read_text().replace("ProtectHome=yes", "ProtectHom=yes"))
    _, said = debian.tried("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", faulty.name)
    assert any("ProtectHom" in line for line in surprises(said, systemd)), "a control"


def test_the_command_of_the_readme_is_all_there_is_to_type(debian: Debian, packages: tuple[Path, Path]) -> None:
    """By somebody who may use sudo, in a folder of their own, as it stands there."""
    told = [line for line in (debian_root.ROOT / "README.md").read_text().splitlines() if line.startswith("    sudo ")]
    [command] = [line.strip() for line in told if "apt install" in line]
    assert command.endswith(f" ./fieldgate_{package.version()}_arm64.deb")
    debian.run("useradd", "--create-home", "ann")
    debian.path("/etc/sudoers.d/ann").write_text("ann ALL=(ALL) NOPASSWD: ALL\n")
    shutil.copy(packages[0], debian.path("/home/ann"))
    said = debian.run("su", "ann", "-c", f"cd && {command.replace('_arm64', '_amd64')}")
    assert "log key" in said and identity(debian)
    assert (
        debian.run("su", "ann", "-c", "cd && sudo -u fieldgate fieldgate check")
        .splitlines()[-1]
        .startswith("/etc/fieldgate")
    )


def test_without_a_name_nothing_is_made_and_two_commands_are_told(debian: Debian, packages: tuple[Path, Path]) -> None:
    said = install(debian, packages[0])
    assert not debian.path("/etc/fieldgate/fieldgate.toml").exists()
    told = [line.strip() for line in said.splitlines() if line.startswith("  sudo ")]
    assert len(told) == 2 and told[1] == "sudo systemctl start fieldgate"
    command = told[0].split()
    assert command[:3] == ["sudo", "-u", "fieldgate"]
    debian.run("runuser", "-u", "fieldgate", "--", *command[3:], "--name", "quay.example")
    assert debian.path("/etc/fieldgate/log.key").exists()


def test_a_name_that_cannot_be_leaves_a_package_that_is_installed(debian: Debian, packages: tuple[Path, Path]) -> None:
    said = install(debian, packages[0], FIELDGATE_NAME="No Such Name")
    assert "no gateway was made" in said and not debian.path("/etc/fieldgate/log.key").exists()
    assert debian.run("dpkg", "--audit") == ""


def test_nothing_is_left_but_the_evidence(debian: Debian, packages: tuple[Path, Path]) -> None:
    """Removed, purged and installed again: the same gateway."""
    before = set(debian.path("/usr").rglob("*"))
    install(debian, packages[0], FIELDGATE_NAME="henhouse-3.example.farm")
    python = debian.run("python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    assert (code := compiled(debian)) and all(python.replace(".", "") in name for name in code)
    assert debian.tried("python3", "-c", "import gateway")[0] != 0
    store = {path.name: path.read_bytes() for path in debian.path("/var/lib/fieldgate").iterdir()}
    begun = identity(debian)
    for way in ("remove", "purge"):
        said = debian.run("apt-get", way, "--yes", "fieldgate")
        assert set(debian.path("/usr").rglob("*")) == before, way
        assert identity(debian) == begun
        assert {path.name: path.read_bytes() for path in debian.path("/var/lib/fieldgate").iterdir()} == store
    assert "/var/lib/fieldgate is kept" in said and "/etc/fieldgate is kept" in said
    assert not debian.path("/etc/systemd/system/multi-user.target.wants/fieldgate.service").is_symlink()
    install(debian, packages[0], FIELDGATE_NAME="henhouse-3.example.farm")
    assert identity(debian) == begun
    assert compiled(debian) == code


def compiled(debian: Debian) -> dict[str, bytes]:
    """All byte-code, by its path below the program's folder."""
    library = debian.path("/usr/lib/fieldgate")
    return {str(path.relative_to(library)): path.read_bytes() for path in library.rglob("*.pyc")}


def test_another_python_gets_its_byte_code(debian: Debian, packages: tuple[Path, Path]) -> None:
    """As when Debian 12 is upgraded: python3's own package calls the hook."""
    install(debian, packages[0])
    python = debian.run("readlink", "/usr/bin/python3").strip()
    code = compiled(debian)
    for path in debian.path("/usr/lib/fieldgate").rglob("__pycache__"):
        shutil.rmtree(path)
    debian.run("/usr/share/python3/runtime.d/fieldgate.rtupdate", "rtupdate", "python3.9", python)
    assert compiled(debian) == code


def test_an_interrupted_installation_is_finished(debian: Debian, packages: tuple[Path, Path]) -> None:
    """Unpacked, and the power failed: dpkg --configure -a is what apt tells then."""
    debian.run("dpkg", "--unpack", f"/srv/{packages[0].name}")
    debian.run("dpkg", "--configure", "--pending", env={"FIELDGATE_NAME": "quay.example"})
    begun = identity(debian)
    debian.run("sh", "/var/lib/dpkg/info/fieldgate.postinst", "configure", package.version())
    assert identity(debian) == begun and debian.run("fieldgate", "--version")


def test_a_disk_without_room_costs_byte_code_and_nothing_else(debian: Debian, packages: tuple[Path, Path]) -> None:
    """Unpacked on a small disk, which a megabyte more fills."""
    said = debian.script(f"""
        dpkg --unpack /srv/{packages[0].name}
        cp -a /usr/lib/fieldgate /tmp/library
        size=$(du -s --block-size=4096 /usr/lib/fieldgate | cut -f1)
        mount -t tmpfs -o nr_blocks=$((size + 256)),mode=755 tmpfs /usr/lib/fieldgate
        cp -a /tmp/library/. /usr/lib/fieldgate
        FIELDGATE_NAME=quay.example dpkg --configure fieldgate
        echo "byte-code: $(find /usr/lib/fieldgate -name '*.pyc*' | wc -l)"
        setpriv --reuid fieldgate --regid fieldgate --init-groups fieldgate selftest
    """)
    assert "no room for byte-code" in said and "byte-code: 0\n" in said
    assert identity(debian)
    assert debian.run("dpkg", "--audit") == ""


def test_a_package_is_the_same_wherever_it_is_made(packages: tuple[Path, Path], tmp_path: Path) -> None:
    """Of a copy of the tree in another folder, without git, under another umask, at another place on Earth."""
    tree = copied(tmp_path / "elsewhere")
    before = os.umask(0o077)
    try:
        again = build(tree, tmp_path, "amd64", TZ="Pacific/Kiritimati", LC_ALL="C", HOME="/nonexistent")
    finally:
        os.umask(before)
    assert again.name == packages[0].name
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(packages[0].read_bytes()).digest()


def test_lintian_finds_no_error(packages: tuple[Path, Path]) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    command = ["lintian", "--fail-on", "error", "--allow-root", str(packages[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("suite", SUITES)
def test_on_arm64(suite: str, tmp_path: Path) -> None:
    """The package's own files, run by arm64's Python, under emulation: a gateway is made, and tests itself."""
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("qemu-aarch64-static is not installed")
    debian = Debian(
        tmp_path / suite, kept(suite, "arm64", "--variant=extract", "--include=base-files,python3,libsqlite3-0")
    )
    deb = build(package.ROOT, tmp_path, "arm64")
    subprocess.run(["dpkg-deb", "-x", deb, debian.folder], check=True)
    shutil.copy(emulator, debian.path("/qemu"))
    debian.path("/etc/fieldgate").mkdir()

    def fieldgate(*args: str) -> str:
        return debian.run("/qemu", "/usr/bin/python3", "-IS", "/usr/bin/fieldgate", *args)

    assert fieldgate("--version") == f"fieldgate {package.version()}\n"
    data = ("--config", "/etc/fieldgate/fieldgate.toml", "--data-dir", "/var/lib/fieldgate")
    fieldgate("init", "--name", "quay.example", *data)
    fieldgate("verify", "--store", "/var/lib/fieldgate")
    fieldgate("selftest")
    shutil.rmtree(debian.folder)


def test_pipx_installs_the_wheel(tmp_path: Path) -> None:
    """For everybody else: from the wheel's file, into an environment of its own."""
    [wheel] = package.distributions(int(EPOCH), tmp_path, "wheel")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "pipx"], check=True)
    homes = {
        "PIPX_HOME": str(tmp_path / "pipx"),
        "PIPX_BIN_DIR": str(tmp_path / "bin"),
        "PIPX_MAN_DIR": str(tmp_path / "man"),
    }
    subprocess.run(
        [python, "-m", "pipx", "install", "--python", sys.executable, wheel], check=True, env={**os.environ, **homes}
    )
    said = subprocess.run([tmp_path / "bin/fieldgate", "--version"], check=True, capture_output=True, text=True).stdout
    assert said == f"fieldgate {package.version()}\n"


def test_wheel_and_sdist_are_the_same_wherever_they_are_made(tmp_path: Path) -> None:
    made = package.distributions(int(EPOCH), tmp_path / "a", "wheel", "sdist")
    tree = copied(tmp_path / "tree")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path / "b")]
    before = os.umask(0o077)
    try:
        subprocess.run(
            command, cwd=tree, env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH}, check=True, capture_output=True
        )
    finally:
        os.umask(before)
    assert len(made) == 2
    for path in made:
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
