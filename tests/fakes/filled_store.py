"""A real Store that holds a LogMaker's blocks, without journal or sealer."""

import asyncio
import zlib
from pathlib import Path

from fakes.log_maker import Block, LogMaker

from gateway.core import body, merkle, senml
from gateway.core.note import Checkpoint
from gateway.keys import sign_checkpoint
from gateway.store import Store, create
from gateway.store.blocks import Plan
from gateway.store.journal import source_bit

_COLUMNS = "height,count,bytes,first_ms,last_ms,min_ms,max_ms,mask,secret,data"
_ROW = f"INSERT INTO journal({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)"


async def make_store(folder: Path, log: LogMaker) -> Store:
    """A new store with all the log's blocks. It does not wait for the disk."""
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    await asyncio.to_thread(create, folder, log.signer.vkey)
    store = await Store.open(folder)
    await store.db._write.execute("PRAGMA synchronous=OFF")
    await publish(store, log)
    return store


async def publish(store: Store, log: LogMaker, *, rows: int = 2) -> None:
    """Brings the store up to the log; each block's readings lie in up to `rows` journal rows."""
    for block in log.blocks[store.blocks.size :]:
        plan = await _journal(store, block, rows)
        frontier = store.blocks.frontier.append(merkle.leaf_hash(block.entry))
        note = sign_checkpoint(log.signer, Checkpoint(log.origin, frontier.size, frontier.root()))
        await store.blocks.publish(plan, block.entry, frontier, note.encode())


async def _journal(store: Store, block: Block, rows: int) -> Plan:
    count, height = len(block.items), block.header.height
    parts = [block.items[count * n // rows : count * (n + 1) // rows] for n in range(rows)]
    ids, times, mask = [], [], 0
    for part in filter(None, parts):
        readings = [senml.resolve(pack) for pack, _ in part]
        times += [reading.time_ms for reading in readings]
        bits = 0
        for reading in readings:
            bits |= source_bit(reading.source)
        mask |= bits
        row_times = [reading.time_ms for reading in readings]
        data = b"".join(body.item(pack, payload) for pack, payload in part)
        secret = block.secret if not ids else None
        first, last = readings[0].received_ms, readings[-1].received_ms
        facts = (height, len(part), len(data), first, last, min(row_times), max(row_times), bits)
        row = (*facts, secret, zlib.compress(data, 1))
        ids.append(await store.db.insert(_ROW, row))
    sealed = store.blocks.sealed_row
    first_row, last_row = (ids[0], ids[-1]) if ids else (sealed + 1, sealed)
    earliest, latest = (min(times), max(times)) if times else (0, 0)
    header = block.header.encode()
    return Plan(height, count, first_row, last_row, earliest, latest, mask, block.secret, header)
