"""The package under a real systemd, in a guest: each check of in_guest.py is a test here.

The guest is made and booted once, and takes some minutes: its processor is emulated.
"""

from pathlib import Path

import pytest
from boot import guest, in_guest
from deploy.test_package_installed import packages

__all__ = ["packages"]

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(5_400)]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, str]:
    """What the guest said of each check."""
    guest.need_qemu()
    folder = tmp_path_factory.mktemp("guest")
    first, following = request.getfixturevalue("packages")
    said = guest.boot(folder, *guest.made(folder, Path(first), Path(following)))
    lines = [line.removeprefix("CHECK ").rstrip("\r") for line in said.splitlines() if line.startswith("CHECK ")]
    found = dict(line.split("\t", 1) for line in lines)
    assert found, said[-4_000:]
    return found


@pytest.mark.parametrize("name", [check.__name__ for check in in_guest.CHECKS])
def test_in_a_guest(name: str, told: dict[str, str]) -> None:
    assert told.get(name, "it did not come so far") == "ok"
