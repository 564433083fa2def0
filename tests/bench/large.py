"""What a store of 1,000,000 readings costs: memory, start, receipts, verification, bytes on disk."""

import asyncio
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median

from bench import filled
from bench.home import MQTT, PATIENCE_S, Home, fieldgate
from bench.machine import Cpu, memory_mib
from bench.run import WINDOW, Run
from bench.steady import paced

from gateway.core.policy import parse_policy
from gateway.store import Store
from gateway.store.receipts import build_receipt
from gateway.verify import verify_receipt


def disk(run: Run) -> dict[str, float]:
    """The file's growth, with the WAL folded in, over its readings."""
    home = Home(run.folder / "empty", filled.CONFIG)
    full = filled.large(run) / "data" / "fieldgate.db"
    with closing(sqlite3.connect(f"{full.as_uri()}?mode=ro", uri=True)) as con:
        keys, readings = con.execute("SELECT sum(length(keys)), sum(count) FROM journal").fetchone()
    return {
        "disk.sealed_bytes": (full.stat().st_size - home.stored_bytes) / readings,
        "disk.keys_bytes": (keys or 0) / readings,
    }


def memory(run: Run) -> dict[str, float]:
    """An empty store and a full one, node and broker of both away; then an empty one whose broker is there."""
    empty = _settled(Home(run.folder / "empty", filled.CONFIG), run)
    full = _settled(filled.moved(filled.large(run), run.folder / "full"), run)
    with paced(1, 0, WINDOW) as pacer:
        home = Home(run.folder / "idle", MQTT.format(port=pacer.port, window=WINDOW))
        with home.started() as gateway:
            gateway.up()
            time.sleep(run.scale.settle_s)
            cpu = Cpu(gateway.pid)
            time.sleep(run.scale.idle_s)
            spent, idle = cpu.seconds, memory_mib(gateway.pid)
    return {
        "rss.idle_mib": idle,
        "idle.cpu_pct": spent / run.scale.idle_s * 100,
        "rss.backlog_delta_mib": full - empty,
    }


def _settled(home: Home, run: Run) -> float:
    with home.started() as gateway:
        gateway.up()
        time.sleep(run.scale.settle_s)
        return memory_mib(gateway.pid)


def start(run: Run) -> dict[str, float]:
    """From exec. The large one finds 100,000 readings that are in no block, and seals them while it starts."""
    fresh = _first_ack(Home(run.folder / "fresh", ""), run)
    full = _first_ack(filled.moved(filled.with_journal(run), run.folder / "full"), run)
    home = filled.moved(filled.with_journal(run), run.folder / "again")
    began = time.monotonic()
    with home.started() as gateway:
        gateway.up()
        up_s = time.monotonic() - began
    return {"start.first_ack_s": fresh, "start.full_first_ack_s": full, "start.full_journal_s": up_s}


def _first_ack(home: Home, run: Run) -> float:
    """Seconds from starting the process to the first PUBACK; the broker has one message for it."""
    with paced(1, 0, WINDOW) as pacer:
        home.configure(MQTT.format(port=pacer.port, window=WINDOW))
        began = time.monotonic()
        with home.started() as gateway:
            first = pacer.result()["first_s"] - began
            gateway.check()
    return float(first)


def receipts(run: Run) -> dict[str, float]:
    """Building them in a process that has the store open; verifying one in and with a process of its own."""
    folder = filled.large(run)
    policy = (folder / filled.POLICY).read_bytes()
    built, text = asyncio.run(_build(folder / "data", policy, run.scale.repeats))
    receipt = run.folder / "receipt"
    receipt.write_text(text)
    inside = []
    for _ in range(run.scale.repeats * 10):
        began = time.perf_counter()
        verify_receipt(text.encode(), policy)
        inside.append(time.perf_counter() - began)
    command = [_program(), "verify", str(receipt), "--policy", str(folder / filled.POLICY)]
    whole = []
    for _ in range(run.scale.repeats):
        began = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE_S)
        whole.append(time.monotonic() - began)
    return {
        "receipt.build_ms": built * 1000,
        "verify.receipt_ms": median(inside) * 1000,
        "verify.receipt_process_s": median(whole),
    }


def _program() -> str:
    """`fieldgate` as installed beside this Python."""
    return str(Path(sys.executable).with_name("fieldgate"))


async def _build(data: Path, policy: bytes, count: int) -> tuple[float, str]:
    """Seconds for a receipt, of readings all over the log; and one of them."""
    store = await Store.open(data, read_only=True)
    try:
        first = await store.blocks.header(0)
        last = await store.blocks.header(store.blocks.size - 1)
        took, text = [], ""
        for number in range(count):
            at_ms = first.first + (last.last - first.first) * number // count
            building = build_receipt(store, filled.SOURCE, at_ms, parse_policy(policy))
            began = time.monotonic()
            text = await building
            took.append(time.monotonic() - began)
        return median(took), text
    finally:
        await store.close()


def verify(run: Run) -> dict[str, float]:
    """The command, as a process."""
    folder = filled.large(run)
    began = time.monotonic()
    told = fieldgate("verify", "--store", str(folder / "data"), "--policy", str(folder / filled.POLICY), cwd=folder)
    took = time.monotonic() - began
    if "all good" not in told:
        raise RuntimeError(told)
    return {"verify.store_1m_s": took}
