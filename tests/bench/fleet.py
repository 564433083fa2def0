"""What a node's anchor of its whole fleet costs: `python tests/bench/fleet.py [LOGS]`. Nothing is asserted."""

import asyncio
import contextlib
import sqlite3
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from gateway.core import cbor
from gateway.core.anchor import Statement
from gateway.core.anchor_fleet import Tree
from gateway.core.anchor_row import ANCHORED, AnchorRow
from gateway.node.fleet import Fleet, FleetBook
from gateway.node.schema import create_file
from gateway.node.sqlite import SqliteStore

T = TypeVar("T")
NODE = "node.example"


def core(made: list[Statement]) -> None:
    times, sizes = [], [0]
    for _ in range(5):
        began = time.perf_counter()
        tree = Tree(made)
        built = time.perf_counter()
        parts = [tree.fleet(NODE, 1, at, "", b"") for at in range(len(made))]
        sizes = [len(cbor.encode(list(part.encode()))) for part in parts]
        times.append((built - began, time.perf_counter() - built))
    tracemalloc.start()
    kept = Tree(made)
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    build, paths = (sorted(one)[2] * 1000 for one in zip(*times, strict=True))
    print(f"{len(kept.leaves)} logs: tree {build:.0f} ms, all paths {paths:.0f} ms, {memory / 2**20:.1f} MiB held")
    print(f"a gateway's part: {min(sizes)} to {max(sizes)} bytes beside the chain's own evidence")


def filled(path: Path, made: list[Statement]) -> None:
    """A node's store that has witnessed all of them."""
    create_file(path)
    row = "INSERT INTO log (name, vkey, stored_from, frontier, witnessed, root) VALUES (?, '', 0, x'', ?, ?)"
    with contextlib.closing(sqlite3.connect(path)) as con:
        con.executemany(row, made)
        con.commit()


async def timed(what: str, work: Awaitable[T]) -> T:
    began = time.perf_counter()
    done = await work
    print(f"in a node: {what} {(time.perf_counter() - began) * 1000:.0f} ms")
    return done


async def in_a_node(path: Path, made: list[Statement]) -> None:
    store = await SqliteStore.open(path)
    try:
        await in_a_store(store, path, made)
    finally:
        await store.close()


async def in_a_store(store: SqliteStore, path: Path, made: list[Statement]) -> None:
    logs = {one.log.hex() for one in made}
    fleet = Fleet("bench", NODE, store, logs, time.time)
    await timed("whether anything grew", fleet.grown(None))
    number, root = await timed("a statement, its leaves durable", fleet.take())
    row = AnchorRow("bench", number, root, "evm", "9090", 0, ANCHORED, over=True, evidence=cbor.encode(bytes(3_000)))
    await timed("anchored, and ready to be handed out", fleet.save(row))
    began, book = time.perf_counter(), FleetBook([fleet])
    for log in logs:
        book.parts(log)
    print(f"in a node: all parts {(time.perf_counter() - began) * 1000:.0f} ms, {path.stat().st_size / 2**20:.1f} MiB")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    made = [Statement.of(f"gw-{n}.example.farm/1", n + 1, sha256(b"%d" % n).digest()) for n in range(count)]
    core(made)
    with tempfile.TemporaryDirectory(prefix="fieldgate-bench-") as folder:
        filled(Path(folder) / "node.sqlite", made)
        asyncio.run(in_a_node(Path(folder) / "node.sqlite", made))


if __name__ == "__main__":
    main()
