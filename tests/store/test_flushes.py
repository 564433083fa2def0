"""The count of flushes is the number of system calls: a process writes a store under strace, and both are compared."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.store.wal import holds_commits

WRITER = """
import asyncio, os, random, sqlite3, sys
from pathlib import Path
from gateway.store.database import Database, Schema, create_file

SCHEMA = Schema(1, ("CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)",))


def mark(name):
    try:
        os.readlink(f"/mark-{name}")
    except OSError:
        pass


async def main(path, seed):
    rng = random.Random(seed)
    db = await Database.open(path, SCHEMA)
    mark("begin")
    reader = None
    if sys.argv[3:]:
        await db.fold()
    for number in range(250):
        size = rng.choice((10, 300, 3_000))
        what = rng.randrange(13)
        if what < 8:
            await db.insert("INSERT INTO t(b) VALUES(?)", (rng.randbytes(size),))
        elif what == 8:
            delete = ("DELETE FROM t WHERE a < (SELECT max(a) - 40 FROM t)", ())
            await db.transact([delete, ("INSERT INTO t(b) VALUES(?)", (b"x",))])
        elif what == 9:
            await db.transact([("DELETE FROM t WHERE a = -1", ())])  # changes nothing
        elif what == 10 and rng.random() < 0.3:
            if free := (await db.pages()).free:
                await db.give_back(free)
            await db.fold()
            await db.fold()
        elif what == 11 and reader is None and rng.random() < 0.3:
            reader = sqlite3.connect(path, isolation_level=None)  # holds its view: checkpoints fold a part
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM t").fetchall()
        elif what == 11 and reader is not None:
            reader.close()
            reader = None
        elif what == 12:
            await db.probe()
    mark("end")
    print(db.flushes.commits, db.flushes.total(), flush=True)
    os._exit(0)


path = Path(sys.argv[1])
if not path.exists():
    create_file(path, SCHEMA)
asyncio.run(main(path, int(sys.argv[2])))
"""


def _flushes(trace: Path) -> int:
    lines = trace.read_text().splitlines()
    begin = next(at for at, line in enumerate(lines) if "/mark-begin" in line)
    return sum(bool(re.search(r"\bf(data)?sync\(", line)) for line in lines[begin:])


def test_flushes_are_counted_as_they_are_made(tmp_path: Path, seed: int) -> None:
    """A new file, and the same again with what the process before left in its WAL: folded at once, and later."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    for run in range(3):
        trace = tmp_path / f"trace.{run}"
        command = ["strace", "-f", "-e", "trace=fsync,fdatasync,readlink", "-o", str(trace)]
        command += [sys.executable, "-c", WRITER, str(tmp_path / "t.db"), str(seed + run)]
        command += ["fold"] * (run == 1)
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        if b"ptrace" in done.stderr:
            pytest.skip("strace may not trace a process here")
        assert done.returncode == 0, done.stderr
        commits, told = map(int, done.stdout.split())
        assert told == _flushes(trace)
        assert commits < told


def test_what_sqlite_will_find_in_a_log_at_rest(tmp_path: Path) -> None:
    log, page, salts = tmp_path / "t.db-wal", 4_096, b"saltsalt"
    head = b"magc" + bytes(4) + page.to_bytes(4) + bytes(4) + salts + bytes(8)

    def frame(commit: int, own: bytes = salts) -> bytes:
        return (1).to_bytes(4) + commit.to_bytes(4) + own + bytes(8 + page)

    found = {b"": False, head[:20]: False, head: False, head + frame(0): False, head + frame(9, b"of-other"): False}
    found |= {head + frame(0) + frame(9): True, head + frame(0) + frame(9, b"of-other"): False}
    assert not holds_commits(log)
    for data, told in found.items():
        log.write_bytes(data)
        assert holds_commits(log) is told
