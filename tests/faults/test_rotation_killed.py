"""kill -9 at every numbered step of a rotation: repeating the command finishes it, whether the gateway ran in between
or not. No height is signed in two ways, no reading is lost or twice, and both logs name each other.

The oracles: what was about to be signed, every entry that ever stood in a store, and the `start` readings, one a life.
"""

import asyncio
import contextlib
import signal
import sqlite3
from hashlib import sha256
from pathlib import Path

import pytest
from fakes.gateway_store import ORIGIN
from fakes.rig import Killable
from fakes.running_gateway import Home
from fakes.telling import Tell
from faults.killable import ROTATE_STEPS

from gateway import config, keys
from gateway.core import block, senml
from gateway.core.note import parse_checkpoint, parse_note, verify_note
from gateway.store import Store, moves

NEXT = ORIGIN.replace("/1", "/2")
QUICK = ["rotate.2+=1", "seal.2+=1", "rename=5", "rotate.4+=1"]


class Rotation:
    """A gateway's folder, and the command."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self.marks = folder / "marks"
        self.command = Killable("rotate", "rotate", folder, str(self.home.path), str(self.marks))
        self.lives = 0
        self.entries: dict[tuple[str, int], bytes] = {}

    async def life(self) -> None:
        """An ordinary start and stop, whatever stands against signing."""
        async with self.home.running():
            self.lives += 1
        self.look()

    async def rotate(self, *how: str) -> int:
        await self.command.start(*how)
        code = await self.command.gone()
        self.look()
        return code

    @property
    def epoch(self) -> int:
        """By the configuration as it stands."""
        return config.load(self.home.path).gateway.epoch

    def signs(self) -> bool:
        """Whether the log that stands here now has a block: its first life signs at once."""
        with contextlib.closing(sqlite3.connect(self.home.data / "fieldgate.db")) as con:
            ((count,),) = con.execute("SELECT count(*) FROM block").fetchall()
        return bool(count)

    def stores(self) -> list[Path]:
        found = (self.home.data / "epoch-1", self.home.data, self.home.data / moves.DECIDED)
        return [path for path in found if (path / "fieldgate.db").exists()]

    def look(self) -> None:
        """Every entry that is stored now is the one that was seen at its height before."""
        for path in self.stores():
            with contextlib.closing(sqlite3.connect(path / "fieldgate.db")) as con:
                ((vkey,),) = con.execute("SELECT vkey FROM meta").fetchall()
                for height, entry in con.execute("SELECT height, entry FROM block").fetchall():
                    assert self.entries.setdefault((vkey, height), entry) == entry, (vkey, height)

    async def judge(self) -> None:
        """Epoch 2 goes on for epoch 1, and everything is in one of the two."""
        assert await asyncio.to_thread(lambda: self.epoch) == 2
        await self.life()
        old = await Store.open(self.home.data / "epoch-1", read_only=True)
        new = await Store.open(self.home.data, read_only=True)
        try:
            await self._judge(old, new)
        finally:
            await old.close()
            await new.close()
        self._judge_signed(old.vkey.name)

    async def _judge(self, old: Store, new: Store) -> None:
        assert (old.vkey.name, new.vkey.name) == (ORIGIN, NEXT)
        key = await asyncio.to_thread(keys.open_signer, f"file:{self.home.folder}/log-epoch-2.key")
        assert key.vkey == new.vkey
        readings = [await _readings(old), await _readings(new)]
        last, first = readings[0][-1], readings[1][0]
        assert (last["event"], last["next-vkey"]) == ("next-vkey", str(new.vkey))
        (entry,) = await old.blocks.entries(old.blocks.size - 1, 1)
        assert block.parse_entry(entry).header.reason == block.REASON_CLOSED
        assert (first["event"], first["log"]) == ("successor-of", str(old.vkey))
        note = parse_note(str(first["checkpoint"]))
        verify_note(note, old.vkey)
        assert parse_checkpoint(note.text).size == old.blocks.size
        assert parse_checkpoint(note.text).root == old.blocks.frontier.root()
        events = [one["event"] for one in (*readings[0], *readings[1])]
        assert (events.count("start"), events.count("stop")) == (self.lives, self.lives)

    def _judge_signed(self, origin: str) -> None:
        """What the command was about to sign, whether it came to that or not, is what stands in the old log."""
        path = self.marks.with_suffix(".signed")
        stored = {
            (str(height), sha256(block.parse_entry(entry).header_bytes).hexdigest())
            for (vkey, height), entry in self.entries.items()
            if vkey.startswith(f"{origin}+")
        }
        for line in path.read_text().splitlines() if path.exists() else ():
            _, height, digest = line.split()
            assert (height, digest) in stored
        assert not (self.home.data / "epoch-1" / "sign-state.db").exists()


async def _readings(store: Store) -> list[dict[str, object]]:
    packs = [pack for height in range(store.blocks.size) async for pack, _ in store.blocks.items(height)]
    return [{record.name: record.value for record in senml.resolve(pack).records} for pack in packs]


async def _dies(folder: Path, how: str, *, between: bool) -> bool:
    """False where the command has ended before it came to this step."""
    made = await asyncio.to_thread(Rotation, folder)
    try:
        await made.life()
        code = await made.rotate(how)
        if code == 0:
            return False
        assert code == -signal.SIGKILL, made.command.words()[-2000:]
        if between:
            await made.life()
            assert made.signs() or await asyncio.to_thread(lambda: made.epoch) == 1
        if await asyncio.to_thread(lambda: made.epoch) == 1 or not between:
            again = await made.rotate()
            assert again in (0, 1), made.command.words()[-2000:]  # 1: it was finished, and the new log has no block yet
        await made.judge()
    finally:
        await made.command.close()
    return True


@pytest.mark.parametrize("how", QUICK)
async def test_a_rotation_that_is_killed_is_finished_by_the_same_command(tmp_path: Path, how: str) -> None:
    assert await _dies(tmp_path / "gw", how, between=QUICK.index(how) % 2 == 0)


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
async def test_every_step_and_every_rename(tmp_path: Path, tell: Tell) -> None:
    kills = 0
    for between in (False, True):
        for name in ROTATE_STEPS:
            number = 1
            while await _dies(tmp_path / f"{name}-{number}-{between}", f"{name}={number}", between=between):
                kills, number = kills + 1, number + 1
            assert number > 1, f"{name} was never passed"
    tell(f"rotation: {kills} kills")
    assert kills >= 2 * len(ROTATE_STEPS)
