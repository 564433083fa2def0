"""What a gateway's folder holds after a fault: restarted by the same code, stopped in order, verified, and compared
with what was said of it before (fakes/driven_gateway.py)."""

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from fakes.gateway_store import Pipeline, check_chain, signer, values
from fakes.recorder import Recorder

from gateway.cli.verify_store import verify_store
from gateway.core import block


@dataclass
class Found:
    """What is there after a fault, a restart and an ordered stop, against what was said before."""

    acknowledged: set[int] = field(default_factory=set)
    stored: list[int] = field(default_factory=list)
    said: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    headers: dict[int, str] = field(default_factory=dict)
    good: bool = False

    @property
    def faults(self) -> list[str]:
        told = {
            "lost": self.acknowledged - set(self.stored),
            "twice": [number for number, count in Counter(self.stored).items() if count > 1],
            "out of order": self.stored != sorted(self.stored),
            "two headers": [height for height, headers in self.said.items() if len(headers) > 1],
            "another header": [h for h, headers in self.said.items() if {self.headers.get(h)} != headers],
            "verify --store": not self.good,
        }
        return [f"{name}: {what}" for name, what in told.items() if what]


def judge(data: Path, said: Path) -> Found:
    """Restarts on the folder, stops in order, and reads everything. Raises what stands against a restart."""
    found = Found()
    for line in said.read_text().splitlines() if said.exists() else ():
        word, *rest = line.split()
        if word == "ack":
            found.acknowledged |= set(range(int(rest[0]), int(rest[1]) + 1))
        elif word == "signed":
            found.said[int(rest[0])].add(rest[1])
    asyncio.run(_restart(data, found))
    found.good = verify_store(data, None, verbose=True) == 0
    return found


async def _restart(data: Path, found: Found) -> None:
    gateway = await Pipeline.open(data, max_count=1_000)
    try:
        held = await gateway.recover(Recorder(signer(), lambda height, header: found.said[height].add(header.hex())))
        assert held is None, f"a human is needed: {held}"
        gateway.start()
        await gateway.stop()
    except BaseException:
        await gateway.kill()
        raise
    gateway = await Pipeline.open(data)
    try:
        packs = await check_chain(gateway.store)
        found.stored = [int(value) for value in values(packs)]  # type: ignore[arg-type]
        for height in range(gateway.store.blocks.size):
            row = await gateway.store.blocks.block(height)
            assert row is not None
            found.headers[height] = block.parse_entry(row.entry).header_bytes.hex()
    finally:
        await gateway.kill()
