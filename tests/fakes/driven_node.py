"""A node's store in a process of its own, that takes in steps of a log: `driven_node.py FILE SAID STEPS`.

A step is five entries with their checkpoint, a signature line over it, and a body. SAID is told `size N` when the
step is durable. Where there is no room it tries again, as a node's gateways do.
"""

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fakes.log_maker import log_id

from gateway.cli import explain
from gateway.core import merkle
from gateway.errors import StoreFullError
from gateway.node.log import grow_tree
from gateway.node.sqlite import SqliteStore
from gateway.node.store import Body, Form, Growth, Head, Witnessed

LOG = log_id("quay.example/1")
STEP = 5
BODY_BYTES = 20_000
_RETRY_S = 0.02


def entry(height: int) -> bytes:
    return b"entry %d" % height


def _growth(head: Head) -> Growth:
    new = tuple(entry(height) for height in range(head.size, head.size + STEP))
    frontier, hashes, _ = grow_tree(head.frontier, [merkle.leaf_hash(one) for one in new], 0)
    return Growth(head, frontier, new, hashes, Witnessed(frontier.size, frontier.root()), "note", frontier.size)


async def _take(store: SqliteStore) -> int:
    head = await store.enrol(LOG, "vkey", 0)
    await store.grow(LOG, _growth(head))
    size = head.size + STEP
    await store.keep_line(LOG, size, "seen", f"line {size}")
    await store.take_body(LOG, head.size, Body(Form.WHOLE, bytes(BODY_BYTES)))
    return size


async def run(path: Path, said: int, steps: int) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))  # the same thread in every run
    store = await SqliteStore.open(path)
    try:
        for _ in range(steps):
            while True:
                try:
                    size = await _take(store)
                    break
                except StoreFullError:
                    await asyncio.sleep(_RETRY_S)
            os.write(said, b"size %d\n" % size)
    finally:
        await store.close()


def main() -> None:
    path, said, steps = sys.argv[1:]
    code = 0
    try:
        asyncio.run(run(Path(path), os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), int(steps)))
    except Exception as error:
        code = explain(error)
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
