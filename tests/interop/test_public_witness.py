"""An independent implementation of C2SP tlog-witness co-signs a gateway's log (PyPI's aics-witness)."""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes.aics import AicsWitness, installed
from fakes.field import until
from fakes.filled_store import make_store, publish
from fakes.log_maker import LogMaker

from gateway.clock import SystemClock
from gateway.core.note import VerifierKey, parse_line, verify_cosignature
from gateway.errors import HeldError
from gateway.settings import WitnessLink
from gateway.store import Store
from gateway.upstream import WitnessUpstream

CLOCK = SystemClock()


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory.mktemp("aics"))


@contextlib.asynccontextmanager
async def asked(witness: AicsWitness, store: Store, forks: list[HeldError]) -> AsyncIterator[WitnessUpstream]:
    link = WitnessLink(url=witness.url, vkey=witness.vkey, every_s=0.05)
    up = WitnessUpstream("public", link, store.vkey, store, CLOCK, random.Random(1), on_fork=forks.append)
    task = asyncio.create_task(up.run())
    try:
        yield up
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.nightly
async def test_it_signs_what_we_send_and_refuses_what_it_should(tmp_path: Path, packages: Path) -> None:
    witness = await asyncio.to_thread(AicsWitness, tmp_path / "witness", packages)
    log, other, forks = LogMaker().add(5), LogMaker(tree="another").add(9), list[HeldError]()
    store = await make_store(tmp_path / "gateway", log)
    await witness.start()
    try:
        async with asked(witness, store, forks) as up:
            await until(lambda: up.status()["condition"] == "witness-unknown-log", witness.words())
            await witness.end(signal.SIGKILL)
            await asyncio.to_thread(witness.enrol, str(store.vkey))
            await witness.start()
            await until(lambda: up.status()["seen"] == 5, f"5 {up.status()} {witness.words()}")
            for size in (6, 8, 300):
                await publish(store, log.add(size - log.size, readings=1))
                await until(lambda: up.status()["seen"] == size, f"{size} {up.status()} {witness.words()}")  # noqa: B023
            assert up.status()["ok"]
        for cosigned in await store.cosigned.above(0):
            text, (line,) = log.note(cosigned.size).text, cosigned.lines
            assert verify_cosignature(text, parse_line(line.line), VerifierKey.parse(witness.vkey))
        assert not forks

        split = await make_store(tmp_path / "split", other)  # the same key signs another history
        async with asked(witness, split, forks) as up:
            await until(lambda: bool(forks) or up.status()["condition"] == "witness-claim", str(up.status()))
            assert up.status()["seen"] == 0
        await split.close()
    finally:
        await store.close()
        if witness.running:
            await witness.end(signal.SIGKILL)
