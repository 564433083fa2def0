"""A gateway's folder as it lies on disk after some time: configuration, key, and a store of co-signed blocks."""

import asyncio
from pathlib import Path

from fakes.configs import SEEN, STORED, private
from fakes.filled_store import make_store
from fakes.log_maker import ORIGIN, START_MS, LogMaker

from gateway.core.note import format_line
from gateway.keys import cosign, parse_key
from gateway.store import Store
from gateway.store.cosigned import SEEN as KIND_SEEN
from gateway.store.cosigned import STORED as KIND_STORED

CONFIG = """\
[gateway]
name = "{name}"
data_dir = "{folder}/data"
key = "file:{folder}/log.key"

[node.coop]
url = "https://node.example:8441"
seen_key = "{seen}"
stored_key = "{stored}"
"""


def make_folder(folder: Path, log: LogMaker, *, cosigned: int = 0) -> Path:
    """`folder` with fieldgate.toml and data/; the node co-signed the size `cosigned`, if it is not 0."""
    folder.mkdir(exist_ok=True)
    text = CONFIG.format(name=ORIGIN.rpartition("/")[0], folder=folder, seen=SEEN, stored=STORED)
    (folder / "fieldgate.toml").write_text(text)
    asyncio.run(_fill(folder / "data", log, cosigned))
    return folder


async def _fill(data_dir: Path, log: LogMaker, cosigned: int) -> None:
    store = await make_store(data_dir, log)
    try:
        if cosigned:
            await cosign_size(store, log, cosigned)
    finally:
        await store.close()


async def cosign_size(store: Store, log: LogMaker, size: int) -> None:
    note = log.note(size)
    at = START_MS // 1000 + 3_600
    for kind, name in ((KIND_SEEN, "node.example"), (KIND_STORED, "node.example/stored")):
        line = cosign(parse_key(private(name), where=""), note.text, at)
        await store.cosigned.save("coop", kind, size, note.encode(), format_line(line))
