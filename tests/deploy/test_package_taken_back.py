"""Three packages in fresh Debians: one that works, one that seals nothing and is taken back, and one that is good.

The last two have taken the store's schema a step on, so the way back is one over a schema step.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fakes import debian_root
from fakes.debian_root import INSIDE, Debian, kept
from fakes.packages import build, copied

from deb import package

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1800)]

STEP = "    before=snapshot.take,\n"
SEALS_NOTHING = (
    "            return self._journal.block_since + self._max_age_s - now\n",
    "            return 3_600.0\n",
)


def version(folder: Path, number: str, **changes: tuple[str, str]) -> Path:
    """A package of a copy of the tree: another version, with the store's schema a step on, and these texts replaced."""
    tree = copied(folder / number)
    texts = {
        "pyproject.toml": (f'"{package.version()}"', f'"{number}"'),
        "gateway/__init__.py": (f'"{package.version()}"', f'"{number}"'),
        "gateway/store/__init__.py": (f"    ),\n{STEP}", f'        "CREATE TABLE later(a INTEGER)",\n    ),\n{STEP}'),
        **changes,
    }
    for name, (old, new) in texts.items():
        text = (tree / name).read_text()
        assert old in text, name
        (tree / name).write_text(text.replace(old, new, 1))
    return build(tree, folder, "amd64")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("versions")
    first = build(package.ROOT, folder, "amd64")
    bad = version(folder, "99.1.0", **{"gateway/sealer.py": SEALS_NOTHING})
    return [first, bad, version(folder, "99.2.0")]


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_a_version_that_seals_nothing_is_taken_back_and_nothing_is_lost(
    suite: str, packages: list[Path], tmp_path: Path
) -> None:
    debian = Debian(tmp_path / suite, kept(suite, "amd64", "--variant=minbase", f"--include={INSIDE}"))
    fakes = debian_root.ROOT / "tests/fakes"
    shutil.copy(fakes / "updates_in_debian.py", debian.path("/srv"))
    debian.path("/usr/bin/systemctl").unlink()
    shutil.copy(fakes / "systemctl_in_debian.py", debian.path("/usr/bin/systemctl"))
    debian.path("/usr/bin/systemctl").chmod(0o755)
    for path in packages:
        shutil.copy(path, debian.path("/srv"))
    said = debian.run("python3", "/srv/updates_in_debian.py", *(f"/srv/{path.name}" for path in packages))
    told: dict[str, Any] = json.loads(said.splitlines()[-1])
    back, kept_ = told["outcomes"]
    assert back["result"] == "taken-back"
    assert "it has sealed no block" in back["why"]
    assert (kept_["result"], kept_["to"], told["installed"]) == ("good", "99.2.0", "99.2.0")
    assert "upgrade-taken-back" in told["problems"]
    assert not told["held"]
    assert told["sizes"] == sorted(told["sizes"])
    assert told["sizes"][1] < told["sizes"][2] < told["sizes"][3]
    assert told["readings"] > told["early"] >= told["stored"] > 0
    assert told["lost"] == []
    shutil.rmtree(debian.folder)
