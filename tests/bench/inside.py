"""What a gateway that drains a backlog at full speed sees of itself: its longest stall, and where the CPU goes.

`watched.py` runs in place of `fieldgate run`; everything else is as in `ingest`.
"""

import contextlib
import json
import linecache
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from bench.home import MQTT, Home
from bench.ingest import Drain, backlog
from bench.machine import PATIENCE_S, until
from bench.run import WINDOW, Run

SCRIPT = Path(__file__).with_name("watched.py")


def stall(run: Run) -> dict[str, float]:
    """Blocks of 4,096: several are sealed meanwhile."""
    seen = _watched(run)
    return {"loop.stall_ms": seen["stall_s"] * 1000, "loop.busy_ms": seen["busy_s"] * 1000}


def _watched(run: Run, *how: str) -> dict[str, Any]:
    out = run.folder / "seen.json"
    with backlog(run.folder / "broker", run.scale.messages, ("gateway",)) as broker, contextlib.ExitStack() as stack:
        home = Home(run.folder / "gateway", MQTT.format(port=broker.port, window=WINDOW))
        with broker.held():
            gateway = stack.enter_context(home.started(sys.executable, str(SCRIPT), "fieldgate.toml", str(out), *how))
            gateway.up()
            drain = Drain(broker, gateway.pid, run)
            gateway.signal(signal.SIGUSR1)
            time.sleep(0.05)
        drain.wait(run.scale.messages)
        gateway.signal(signal.SIGUSR2)
        until(out.exists, "what the gateway saw")
    seen: dict[str, Any] = json.loads(out.read_text())
    return seen


def turns(run: Run) -> dict[str, float]:
    """The cases of `stalls.py`, in a process of its own."""
    command = [sys.executable, "-m", "bench.stalls", str(min(run.scale.repeats, 3))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(folder) for folder in SCRIPT.parents[1:3])}
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment, cwd=run.folder, timeout=PATIENCE_S
    )
    medians = re.findall(r"^(\w+) .* median +([0-9.]+)$", done.stdout, re.MULTILINE)
    return {f"turn.{case}_ms": float(ms) for case, ms in medians}


STAGES = {  # by the first whose pattern is found in "file:function:text of the line"
    "loop_us": ("event loop, and waiting for the kernel", r"^(gateway/app.py:run|asyncio/)"),
    "puback_us": ("sockets: sending PUBACKs", r"^drivers/mqtt(_connection)?.py:(acknowledge|flush|_durable)"),
    "receive_us": ("sockets: receiving", r"^drivers/(mqtt_connection|paho_seam).py"),
    "frames_us": ("MQTT frames", r"^drivers/mqtt_frames.py"),
    "digest_us": ("the digest that knows a redelivery", r"sha256|digest\("),
    "routing_us": ("routing by topic", r"^drivers/mqtt_(sources|routes).py|find\(topic"),
    "json_us": ("JSON to values", r"^drivers/codecs/|decode\("),
    "driver_us": ("driver: items, and PUBACKs to send", r"^drivers/"),
    "pack_us": ("SenML pack in CBOR", r"^gateway/core/(senml|cbor|body).py"),
    "keys_us": ("redelivery keys", r"^gateway/store/redeliveries.py"),
    "intake_us": ("intake: limits, counts, times", r"^gateway/(intake|clock).py"),
    "charts_us": ("minutes for charts", r"^gateway/store/(rollup|minutes|series).py"),
    "row_us": ("journal row", r"^gateway/store/journal.py"),
    "hop_us": ("hop into the SQLite thread", r"^gateway/store/database.py|aiosqlite"),
    "seal_us": ("sealing, on the event loop", r"^gateway/(sealer|keys|core/|store/)"),
    "rest_us": ("everything else on the event loop", r""),
}
OTHERS = {
    "deflate_us": "SQLite thread: zlib",
    "sqlite_us": "SQLite thread: SQLite itself; leaf hashes in threads",
    "total_us": "**all in all**",
}
TITLES = {f"profile.{key}": title for key, (title, _) in STAGES.items()} | {
    f"profile.{key}": title for key, title in OTHERS.items()
}


def profile(run: Run) -> dict[str, float]:
    """Microseconds of CPU a reading by stage."""
    seen = _watched(run, "sample")
    spent_s = Counter(dict.fromkeys(STAGES, 0.0))
    for file, function, line, spent in seen["lines"]:
        spent_s[_stage(file, function, line)] += spent
    scale = seen["loop_s"] / (spent_s.total() or 1.0)  # what came before the first sample and after the last
    table = {key: spent * scale for key, spent in spent_s.items()}
    table["deflate_us"] = _deflate_s(run.folder / "gateway" / "data" / "fieldgate.db")
    table["sqlite_us"] = seen["other_s"] - table["deflate_us"]
    table["total_us"] = seen["loop_s"] + seen["other_s"]
    return {f"profile.{key}": spent / run.scale.messages * 1e6 for key, spent in table.items()}


def _stage(file: str, function: str, line: int) -> str:
    root = str(SCRIPT.parents[2]) + "/"
    short = file.removeprefix(root) if file.startswith(root) else "/".join(Path(file).parts[-2:])
    place = f"{short}:{function}:{linecache.getline(file, line).strip()}"
    return next(key for key, (_, pattern) in STAGES.items() if re.search(pattern, place))


def _deflate_s(database: Path) -> float:
    """CPU of compressing the journal's rows once more, as they were."""
    with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as con:
        rows = [zlib.decompress(data) for (data,) in con.execute("SELECT data FROM journal")]
    began = time.thread_time()
    for row in rows:
        zlib.compress(row, 1)
    return time.thread_time() - began
