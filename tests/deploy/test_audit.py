"""`make audit`: a hole, an advisory service that does not answer, and nothing to tell are three different ends.

pip-audit is another program here, which says what it was asked and what it should: no advisory service is asked.
"""

from pathlib import Path

import pytest

from deb import audit, lock
from deb.lock import LockError

ASKED = """#!/bin/sh
for word; do echo "$word" >> {asked}; done
{does}
"""


def venv(folder: Path, does: str) -> Path:
    (folder / "bin").mkdir()
    python = folder / "bin/python"
    python.write_text(ASKED.format(asked=folder / "asked", does=does))
    python.chmod(0o755)
    return folder


def test_every_lock_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    locks = sorted(lock.LOCKS.glob("*.txt"))
    assert {path.stem for path in locks} == {"product", "extras", "build"}
    audit.run(venv(tmp_path, "echo 'No known vulnerabilities found' >&2"), locks)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [word for word in asked if word.startswith("--requirement=")] == [f"--requirement={path}" for path in locks]
    assert "--require-hashes" in asked
    assert "No known vulnerabilities found" in capsys.readouterr().err


def test_a_hole_is_told_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LockError, match="known holes"):
        audit.run(venv(tmp_path, "echo 'aiohttp 3.9.1 PYSEC-2024-24'; exit 1"), [])
    assert "PYSEC-2024-24" in capsys.readouterr().out


def test_a_service_that_does_not_answer_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(LockError, match=r"not audited: .* Connection refused"):
        audit.run(venv(tmp_path, "echo 'Connection refused' >&2; exit 1"), [])
