"""The gateway's own test of itself: its real modules, from a key to a verified receipt, in a temporary folder.

It touches no configuration, key, store, broker or node, and needs none. Whether a device flushes when it says that it
does, no program can find out: that is said, not tested.
"""

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from drivers.api import Sample
from gateway import keys, place, store, verify
from gateway.clock import SystemClock
from gateway.core import block, merkle, note
from gateway.core.note import COSIGNATURE, ED25519
from gateway.core.policy import make_policy
from gateway.errors import BugError, FieldgateError, KeyFileError, NotFoundError, StoreError, VerifyError
from gateway.files import sync_file, sync_folder
from gateway.intake import Intake
from gateway.sealer import Sealer
from gateway.store import SIGN_STATE, Store
from gateway.store.cosigned import STORED
from gateway.store.opening import open_journal
from gateway.store.receipts import build_receipt
from gateway.store.redeliveries import Redeliveries
from gateway.store.rollup import ROLLUP, Rollup
from gateway.store.signstate import SignState

SQLITE = (3, 33, 0)  # UPDATE ... FROM, window functions, upsert
_ORIGIN, _NODE, _SOURCE = "selftest.example/1", "selftest.example/node", "thermometer"
_READINGS = 8
_REINSTALL = "Install the program again"
# RFC 8032, section 7.1, test 1
_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
_SIGNATURE = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe2465"
    "5141438e7a100b"
)


@dataclass(frozen=True)
class Step:
    """What came of one step. said: what was seen. error: why it failed; then no step follows."""

    name: str
    said: str
    error: FieldgateError | None = None


async def steps(folder: Path) -> AsyncIterator[Step]:
    """Every step in order, up to the first that fails. What they make in `folder` is removed."""
    try:
        made = TemporaryDirectory(prefix="fieldgate-selftest-", dir=folder)
    except OSError as error:
        yield Step("folder", "", _of_the_disk(error))
        return
    with made as name:
        test = _Test(Path(name))
        try:
            for step, run in test.all().items():
                told = await _tried(step, run)
                yield told
                if told.error is not None:
                    return
        finally:
            await test.close()


async def _tried(name: str, run: Callable[[], Awaitable[str]]) -> Step:
    try:
        return Step(name, await run())
    except VerifyError as error:
        return Step(name, "", BugError(str(error), cure=_REINSTALL))
    except FieldgateError as error:
        return Step(name, "", error)
    except OSError as error:
        return Step(name, "", _of_the_disk(error))


def _of_the_disk(error: OSError) -> FieldgateError:
    what = f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)
    return StoreError(what, cure="Check the disk, its room, and who may write there; --folder names another place")


class _Test:
    """What the steps have made so far."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._data = folder, folder / "data"
        self._clock = SystemClock()
        self._store: Store | None = None
        self._state: SignState | None = None
        self._now_ms = time.time_ns() // 1_000_000

    def all(self) -> dict[str, Callable[[], Awaitable[str]]]:
        """The steps by name."""
        return {
            "sqlite": self._sqlite,
            "libsodium": self._libsodium,
            "folder": self._flush,
            "key": self._key,
            "store": self._make,
            "readings": self._take,
            "block": self._seal,
            "restart": self._restart,
            "receipt": self._receipt,
            "verify": self._verify,
            "forgery": self._forge,
        }

    async def close(self) -> None:
        """Closes what is open."""
        for one in (self._state, self._store):
            if one is not None:
                with contextlib.suppress(FieldgateError):
                    await one.close()
        self._state = self._store = None

    async def _sqlite(self) -> str:
        if sqlite3.sqlite_version_info < SQLITE:
            wanted = ".".join(map(str, SQLITE))
            what = f"SQLite is {sqlite3.sqlite_version}, and {wanted} is needed at least"
            raise NotFoundError(what, cure="Update the system, or use a Python that brings a newer one")
        return f"SQLite {sqlite3.sqlite_version}"

    async def _libsodium(self) -> str:
        signer = keys.parse_key(keys.encode_key(_ORIGIN, ED25519, _SEED), where="RFC 8032")
        if signer.sign(b"") != _SIGNATURE:
            raise BugError("libsodium does not sign as RFC 8032 says", cure=_REINSTALL)
        return "signs as RFC 8032 says"

    async def _flush(self) -> str:
        await asyncio.to_thread(_flushed, self._folder)
        if await asyncio.to_thread(place.in_memory, self._folder):
            return "written and flushed, in memory alone: --folder names a place on the card"
        return "written and flushed; whether the device keeps what it calls flushed, no program can know"

    async def _key(self) -> str:
        self._signer = await asyncio.to_thread(_made_key, self._folder / "log.key", _ORIGIN, ED25519)
        self._node = await asyncio.to_thread(_made_key, self._folder / "node.key", _NODE, COSIGNATURE)
        return "made, read, and refused where others may read it"

    async def _make(self) -> str:
        await asyncio.to_thread(self._data.mkdir, 0o700)
        here = await asyncio.to_thread(place.find, self._data)
        await asyncio.to_thread(store.create, self._data, self._signer.vkey, here)
        await self._open()
        return "made and opened: write-ahead log, every commit flushed"

    async def _open(self) -> Store:
        self._store = await Store.open(self._data)
        self._state = await SignState.open(self._data / SIGN_STATE, str(self._signer.vkey))
        return self._store

    async def _take(self) -> str:
        async with self._running(seals=False) as intake:
            await intake.emitter("selftest", {})([_sample(number) for number in range(_READINGS)])
        reader = await Store.open(self._data, read_only=True)
        try:
            found = [pack async for pack in reader.blocks.readings_between(_SOURCE, 0, 2**53)]
        finally:
            await reader.close()
        if len(found) != _READINGS:
            raise BugError(f"{_READINGS} readings were acknowledged, {len(found)} are stored", cure=_REINSTALL)
        return f"{_READINGS} acknowledged, and read back by another reader"

    @contextlib.asynccontextmanager
    async def _running(self, *, seals: bool = True) -> AsyncIterator[Intake]:
        """The journal runs; seals: at the end what it holds is sealed."""
        assert self._store is not None
        assert self._state is not None
        journal = await open_journal(
            self._store, linger_s=0.0, max_count=_READINGS * 2, monotonic=self._clock.monotonic
        )
        rollup = Rollup(self._data / ROLLUP, self._store.db, self._clock, min_free=0)
        intake = Intake(journal, self._clock, Redeliveries(), {}, rollup)
        sealer = Sealer(self._store.blocks, journal, self._clock, max_age_s=60.0, heartbeat_s=600.0)
        await sealer.recover(self._signer, self._state)
        running = asyncio.create_task(journal.run())
        try:
            yield intake
            if seals:
                sealer.stop()
                await sealer.run()
            if sealer.held is not None:
                raise sealer.held
        finally:
            running.cancel()
            await asyncio.wait({running})

    async def _seal(self) -> str:
        assert self._store is not None
        async with self._running():
            pass
        (entry,) = await self._store.blocks.entries(0, 1)
        block.parse_entry(entry).verify(self._signer.vkey.public)
        kept = await self._store.blocks.note(1)
        if kept is None or note.parse_checkpoint(note.parse_note(kept[1]).text).root != merkle.root(
            [merkle.leaf_hash(entry)]
        ):
            raise BugError("the checkpoint is not that of the block", cure=_REINSTALL)
        return f"sealed with {_READINGS} readings, its signature and checkpoint verified"

    async def _restart(self) -> str:
        await self.close()
        opened = await self._open()
        if opened.blocks.damage is not None:
            raise opened.blocks.damage
        async with self._running() as intake:
            await intake.emitter("selftest", {})([_sample(_READINGS)])
        if opened.blocks.size != 2:
            raise BugError(f"the log has {opened.blocks.size} blocks in place of 2", cure=_REINSTALL)
        return "closed and opened again: the chain goes on"

    async def _receipt(self) -> str:
        opened = self._store
        assert opened is not None
        kept = await opened.blocks.note(2)
        assert kept is not None
        own = note.parse_note(kept[1])
        line = keys.cosign(self._node, own.text, self._now_ms // 1000)
        await opened.cosigned.save("selftest", STORED, 2, kept[1], note.format_line(line))
        self._proof = (await build_receipt(opened, _SOURCE, 2**53 - 1)).encode()
        return f"made, {len(self._proof)} bytes"

    async def _verify(self) -> str:
        self._policy = make_policy([self._signer.vkey], [self._node.vkey], "all")
        verified = verify.verify_receipt(self._proof, self._policy)
        return f"the receipt is good in {len(verify.RULES)} steps, offline: block {verified.header.height}"

    async def _forge(self) -> str:
        for at in (len(self._proof) // 4, len(self._proof) // 2):
            spoilt = bytearray(self._proof)
            spoilt[at] ^= 1
            with contextlib.suppress(VerifyError):
                verify.verify_receipt(bytes(spoilt), self._policy)
                raise BugError(f"a receipt with byte {at} changed is called good", cure=_REINSTALL)
        return "a changed receipt is refused"


def _sample(number: int) -> Sample:
    return Sample(_SOURCE, [("temp", "Cel", 20.0 + number / 2)], payload=b'{"temp":%d}' % number)


def _flushed(folder: Path) -> None:
    path = folder / "flushed"
    path.write_bytes(os.urandom(4_096))
    sync_file(path)
    sync_folder(folder)


def _made_key(path: Path, name: str, algorithm: int) -> keys.Signer:
    keys.write_key(path, keys.generate(name, algorithm))
    path.chmod(0o644)
    with contextlib.suppress(KeyFileError):
        keys.open_signer(f"file:{path}")
        raise BugError("a key that others may read is taken", cure="The folder's file system must know modes of files")
    path.chmod(0o600)
    return keys.open_signer(f"file:{path}")
