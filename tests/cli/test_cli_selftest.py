"""`fieldgate selftest` where all is well, and where a library is gone or old, or the disk fails or is full."""

import json
import subprocess
from pathlib import Path

import pytest
from fakes.calls import need_ptrace
from fakes.command import FIELDGATE, PATIENCE_S, fieldgate

ROOT = Path(__file__).parents[2]


def test_all_is_good_and_nothing_is_left(tmp_path: Path) -> None:
    done = fieldgate("selftest", "--folder", tmp_path, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    names = [line.split()[1] for line in done.out.splitlines() if line.startswith("ok ")]
    assert names[-4:] == ["restart", "receipt", "verify", "forgery"]
    assert "All good" in done.out.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def _broken(folder: Path, module: str, text: str) -> dict[str, str]:
    """An environment in which a library is another."""
    (folder / module).mkdir(parents=True)
    (folder / module / "__init__.py").write_text(text)
    return {"PYTHONPATH": f"{folder}:{ROOT}"}


def test_without_libsodium(tmp_path: Path) -> None:
    gone = "libsodium.so.26: cannot open shared object file"
    env = _broken(tmp_path / "lib", "nacl", f"raise ImportError({gone!r})\n")
    done = fieldgate("selftest", cwd=tmp_path, env=env)
    assert done.code == 3
    assert f"FAILED  libraries  nacl.bindings cannot be loaded: ImportError: {gone}" in done.out
    assert "Install the program again" in done.err


_STDLIB = Path(subprocess.__file__).with_name("sqlite3")
_OLD_SQLITE = f"""
import importlib.util, sys
here = {str(_STDLIB)!r}
spec = importlib.util.spec_from_file_location("sqlite3", here + "/__init__.py", submodule_search_locations=[here])
module = sys.modules["sqlite3"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.sqlite_version, module.sqlite_version_info = "3.27.2", (3, 27, 2)
"""


def test_an_old_sqlite(tmp_path: Path) -> None:
    done = fieldgate("selftest", "--json", cwd=tmp_path, env=_broken(tmp_path / "lib", "sqlite3", _OLD_SQLITE))
    told = json.loads(done.out)
    assert (done.code, told["good"]) == (3, False)
    assert "SQLite is 3.27.2" in told["steps"][-1]["what"]
    assert told["steps"][-1]["cure"]


@pytest.mark.parametrize(
    ("fault", "code", "what"),
    [
        ("fdatasync:error=EIO:when=3+", 4, "SQLITE_IOERR_FSYNC"),
        ("fsync:error=EIO", 4, "Input/output error"),
        ("pwrite64:error=ENOSPC:when=20+", 3, "no room left on the disk"),
        pytest.param("mkdir:error=EROFS", 4, "Read-only file system", marks=pytest.mark.nightly),
    ],
)
def test_a_disk_that_fails(tmp_path: Path, fault: str, code: int, what: str) -> None:
    need_ptrace()
    call = fault.partition(":")[0]
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={fault}"]
    done = subprocess.run(
        [*strace, *FIELDGATE, "selftest", "--folder", str(tmp_path)],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == code, out + err
    assert "FAILED" in out.splitlines()[-1]
    assert what in out.splitlines()[-1]
    assert "Traceback" not in err
    assert err.startswith("fieldgate: ")
