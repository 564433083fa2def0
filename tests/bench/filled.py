"""Stores with many readings, made by the gateway's own intake, journal and sealer without waiting for the disk."""

import asyncio
import hashlib
import shutil
from pathlib import Path

from bench.home import MQTT, TOPIC, Home, payload
from bench.run import WINDOW, Run
from fakes.gateway_store import Pipeline
from fakes.log_maker import signer

from drivers.api import Delivery, Sample
from gateway import config
from gateway.core.note import COSIGNATURE, format_line, parse_note
from gateway.core.policy import Policy, make_policy, parse_policy
from gateway.keys import Signer, cosign
from gateway.settings import Settings
from gateway.store import Store
from gateway.store.cosigned import STORED

SOURCE = "climate"
APART_S = 0.005  # readings come 200 a second
COMMIT = 1_000  # readings: what draining with this window gives
WITNESS = signer("bench.example/stored", COSIGNATURE)
POLICY = "policy"

NODE_AWAY = f"""
[node.away]
url = "http://127.0.0.1:9"
seen_key = "{signer("bench.example", COSIGNATURE).vkey}"
stored_key = "{WITNESS.vkey}"
"""
CONFIG = MQTT.format(port=9, window=WINDOW) + NODE_AWAY  # nothing listens on port 9


async def fill(made: Pipeline, readings: int, first: int = 0) -> None:
    """So many readings, 1,000 a commit, each with the delivery that brought it."""
    for start in range(first, first + readings, COMMIT):
        samples = [_sample(number) for number in range(start, min(start + COMMIT, first + readings))]
        made.emit(samples)
        await made.running(made.journal.commit())
        made.clock.advance(len(samples) * APART_S)


def _sample(number: int) -> Sample:
    raw = payload(number)
    digest = hashlib.sha256(TOPIC.encode() + b"\0" + raw).digest()[:8]
    values = (20 + number % 100 / 10, 50 + number % 90 / 10)
    records = [("temp", "Cel", values[0]), ("rh", "%RH", values[1]), ("pressure", None, 1013.2)]
    return Sample(SOURCE, records, raw, delivery=Delivery("local", number % 65_535 + 1, digest, False))


async def cosigned(store: Store) -> Policy:
    """Has a witness co-sign the newest checkpoint; a policy that trusts log and witness."""
    newest = await store.blocks.note()
    assert newest is not None
    size, note = newest
    line = cosign(WITNESS, parse_note(note).text, store.blocks.sealed_ms // 1000)  # type: ignore[operator]
    await store.cosigned.save("bench", STORED, size, note, format_line(line))
    return parse_policy(policy(store))


def policy(store: Store) -> bytes:
    return make_policy([store.vkey], [WITNESS.vkey])


def large(run: Run) -> Path:
    """The folder of a gateway with 1,000,000 sealed readings: made once in a call, not to be written to."""
    folder = run.shared / "large"
    if not folder.exists():
        _make(Home(run.shared / "making", CONFIG), run.scale.filled)
        moved(run.shared / "making", folder)
    return folder


def with_journal(run: Run) -> Path:
    """The folder of one that has 100,000 readings more in its journal, in no block."""
    folder = run.shared / "unsealed"
    if not folder.exists():
        home = moved(large(run), run.shared / "making")
        _make(home, run.scale.unsealed, first=run.scale.filled)
        moved(home.folder, folder)
    return folder


def moved(folder: Path, to: Path) -> Home:
    """A copy whose configuration names its own files; one that was being made is removed."""
    shutil.copytree(folder, to)
    path = to / "fieldgate.toml"
    path.write_text(path.read_text().replace(str(folder), str(to)))
    if folder.name == "making":
        shutil.rmtree(folder)
    return Home(to, "")


def _make(home: Home, readings: int, *, first: int = 0) -> None:
    """Fills a store and seals what it holds; one that has readings before is not sealed any further."""
    settings = config.load(home.folder / "fieldgate.toml")
    asyncio.run(_fill(home, settings, config.log_signer(settings), readings, first))


async def _fill(home: Home, settings: Settings, key: Signer, readings: int, first: int) -> None:
    made = await Pipeline.open(home.data, max_count=settings.seal.max_count, linger_s=60, windows={"local": WINDOW})
    try:
        await made.store.db._write.execute("PRAGMA synchronous=OFF")
        await made.recover(key)
        made.clock.advance(first * APART_S)
        made.tasks = [asyncio.create_task(made.journal.run())]
        if not first:
            made.tasks.append(asyncio.create_task(made.sealer.run()))
        await fill(made, readings, first)
        if not first:
            await made.journal.cut()
            made.journal.grown.set()
            await made.running(made.store.blocks.wait_beyond(made.journal.block.height - 1))
            await cosigned(made.store)
            (home.folder / POLICY).write_bytes(policy(made.store))
    finally:
        await made.kill()
