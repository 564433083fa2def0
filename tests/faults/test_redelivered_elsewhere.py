"""What a store knows of others, once it was carried to another place, or an older copy of it was put back: a broker's
message that is delivered again is not stored twice, one that only looks like it is not taken for it, and no reading is
deleted on a word that was given before the copy was made.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from sqlite3 import connect

import pytest
from fakes import damaged
from fakes.gateway_store import ORIGIN, Pipeline, sample, until
from fakes.nodes import KEYS

from drivers.api import Delivery
from gateway import backup, config, epoch, keys, place, recover
from gateway.config import ConfigFile
from gateway.core import note
from gateway.settings import NodeLink
from gateway.store import DATABASE, SCHEMA, SIGN_STATE, Store, bring_up, snapshot
from gateway.store.cosigned import STORED
from gateway.store.signstate import SignState

NOW_MS = 1_795_500_000_000
CONFIG = '[gateway]\nname = "henhouse-3.example.farm"\ndata_dir = "{0}/data"\nkey = "file:{0}/log.key"\n'
READINGS = 6
pytestmark = pytest.mark.may_block  # a new epoch is begun by a command
Way = Callable[[Path], Awaitable[Path]]


async def _filled(home: Path) -> None:
    """A block, readings in none, and a node that has said to hold the block."""
    await asyncio.to_thread((home / "data").mkdir)
    made = await Pipeline.open(home / "data", max_count=4)
    await made.recover()
    made.start()
    await made.emit([sample(value=n, delivery=_delivery(n, dup=False)) for n in range(1, READINGS + 1)])
    await made.sealed()
    await made.store.db.transact([("INSERT INTO progress VALUES ('coop',1,1,1,0)", ())])
    await made.kill()


def _delivery(number: int, *, dup: bool) -> Delivery:
    return Delivery("local", number, bytes([number]) * 8, dup)


async def _again(data: Path) -> tuple[int, int]:
    """Stored, and taken for redeliveries, where the broker delivers all of it as redeliveries."""
    made = (await Pipeline.open(data)).start()
    await made.emit([sample(value=n, delivery=_delivery(n, dup=True)) for n in range(1, READINGS + 1)])
    tally = made.intake.tallies["climate"]
    await made.kill()
    return tally.stored, tally.duplicate


async def _holding(data: Path) -> tuple[int | None, int]:
    made = await Pipeline.open(data)
    found = await made.store.cosigned.holding("coop")
    await made.kill()
    return found


# -- ways to another place --------------------------------------------------------------------------------------------


async def _new_epoch(home: Path) -> Path:
    """The last step of a rotation, and all of a new epoch."""
    path = home / "fieldgate.toml"
    await asyncio.to_thread(path.write_text, CONFIG.format(home))
    made = await Pipeline.open(home / "data")
    vkey = made.store.vkey
    await made.kill()
    settings = await asyncio.to_thread(config.load, path)
    await epoch.begin(epoch.Plan(path, home / "data", settings, vkey, None, place.UNKNOWN, NOW_MS))
    return home / "data"


def _newer(data: Path) -> None:
    version = len(SCHEMA.steps)
    snapshot.take(data / DATABASE, version, 0)
    with closing(connect(data / DATABASE)) as con:
        con.execute(f"PRAGMA user_version={version + 1}")


async def _step_back(home: Path) -> Path:
    await asyncio.to_thread(_newer, home / "data")
    await recover.step_back(home / "data", NOW_MS)
    return home / "data"


async def _as_it_was(home: Path) -> Path:
    await asyncio.to_thread(_newer, home / "data")
    await recover.step_back(home / "data", NOW_MS, as_it_was=True)
    return home / "data"


async def _moved(home: Path) -> Path:
    return await _archived(home, move=True)


async def _restored(home: Path) -> Path:
    return await _archived(home, move=False)


def _copied(data: Path, to: Path) -> None:
    to.mkdir()
    for path in data.glob(f"{DATABASE}*"):
        shutil.copyfile(path, to / path.name)


def _put_back_from(copy: Path, data: Path) -> None:
    for path in data.glob(f"{DATABASE}*"):
        path.unlink()
    for path in copy.iterdir():
        shutil.copyfile(path, data / path.name)


async def _seal(data: Path, blocks: int) -> None:
    made = await Pipeline.open(data)
    await made.recover()
    made.start()
    for _ in range(blocks):
        await made.age()
    await made.kill()


async def _by_hand(home: Path) -> Path:
    """The store alone, beside a sign-state that has moved on. The next start finds it."""
    data = home / "data"
    await asyncio.to_thread(_copied, data, home / "copy")
    await _seal(data, 2)
    await asyncio.to_thread(_put_back_from, home / "copy", data)
    return data


async def _by_hand_in_a_new_epoch(home: Path) -> Path:
    await _by_hand(home)
    await bring_up(home / "data")
    return await _new_epoch(home)


async def _by_hand_made_anew(home: Path, blocks: int = 2) -> Path:
    """What is missing comes back from a node."""
    data = home / "data"
    await asyncio.to_thread(_copied, data, home / "copy")
    await _seal(data, blocks)
    async with damaged.node_with(home / "node", data) as node:
        await asyncio.to_thread(_put_back_from, home / "copy", data)
        await recover.rebuild(await damaged.job(data, node))
    return data


async def _older_by_a_block(home: Path) -> Path:
    return await _by_hand_made_anew(home, 1)


def _without_checkpoints(data: Path) -> None:
    with closing(connect(data / DATABASE)) as con:
        con.execute("DELETE FROM checkpoint")
        con.commit()


async def _damaged_in_a_new_epoch(home: Path) -> Path:
    """Nothing newer was ever there."""
    await asyncio.to_thread(_without_checkpoints, home / "data")
    await bring_up(home / "data")
    return await _new_epoch(home)


def _unreadable(path: Path) -> None:
    path.unlink()
    path.mkdir()


async def _unreadable_sign_state_in_a_new_epoch(home: Path) -> Path:
    await asyncio.to_thread(_unreadable, home / "data" / SIGN_STATE)
    await bring_up(home / "data")
    return await _new_epoch(home)


async def _archived(home: Path, *, move: bool) -> Path:
    files = [ConfigFile(Path("/etc/x/fieldgate.toml"), b"[gateway]\n", 0o644, 0, 0)]
    await backup.make(home / "data", files, home / "b", NOW_MS, move=move)
    await asyncio.to_thread((home / "new").mkdir)
    await backup.place(home / "b", home / "new", ORIGIN)
    return home / "new"


@pytest.mark.parametrize(
    "way", [_new_epoch, _damaged_in_a_new_epoch, _unreadable_sign_state_in_a_new_epoch, _step_back, _moved]
)
async def test_what_goes_on_elsewhere_knows_what_was_delivered(tmp_path: Path, way: Way) -> None:
    await _filled(tmp_path)
    assert await _again(await way(tmp_path)) == (0, READINGS)


@pytest.mark.parametrize(
    "way", [_restored, _as_it_was, _by_hand, _by_hand_in_a_new_epoch, _by_hand_made_anew, _older_by_a_block]
)
async def test_an_older_copy_takes_no_message_for_one_of_back_then(tmp_path: Path, way: Way) -> None:
    """Its packet ids have come round since: the broker's message of now would be answered for, and not stored."""
    await _filled(tmp_path)
    data = await way(tmp_path)
    assert await _again(data) == (READINGS, 0)
    assert await _again(data) == (0, READINGS)
    assert await _again(data) == (0, READINGS)


class _CutAfterSwap:
    def __init__(self, state: SignState) -> None:
        self._state = state

    def __getattr__(self, name: str) -> object:
        return getattr(self._state, name)

    async def swap(self, size: int, header: bytes) -> None:
        await self._state.swap(size, header)
        raise RuntimeError("cut")


async def test_a_crash_between_two_steps_makes_no_older_copy(tmp_path: Path) -> None:
    """The sign-state is ahead by the block whose plan is in the store: what was delivered is known."""
    await _filled(tmp_path)
    made = await Pipeline.open(tmp_path / "data")
    await made.recover(wrap=_CutAfterSwap)
    made.start()
    await made.journal.cut()
    await until(lambda: any(task.done() for task in made.tasks))
    await made.kill()
    assert await _again(tmp_path / "data") == (0, READINGS)


@pytest.mark.parametrize(
    ("way", "held"),
    [(_restored, (None, 0)), (_as_it_was, (None, 0)), (_by_hand, (None, 0)), (_moved, (0, 1))],
)
async def test_an_older_copy_deletes_nothing_on_a_word_of_back_then(
    tmp_path: Path, way: Way, held: tuple[int | None, int]
) -> None:
    await _filled(tmp_path)
    assert await _holding(await way(tmp_path)) == held


async def test_a_store_made_anew_deletes_nothing_on_a_word_that_was_taken_back(tmp_path: Path) -> None:
    """The node has signed "stored", and lost its bodies since; its signature still stands for a receipt."""
    await asyncio.to_thread((tmp_path / "data").mkdir)
    await damaged.make(tmp_path / "data")
    stored = KEYS["env:stored"]
    store = await Store.open(tmp_path / "data")
    kept = await store.blocks.note()
    assert kept is not None
    line = note.format_line(keys.cosign(stored, note.parse_note(kept[1]).text, 1_795_500_000))
    await store.cosigned.save("coop", STORED, *kept, line)
    await store.cosigned.fell("coop", 0)
    await store.close()
    link = NodeLink(url="http://127.0.0.1:1", seen_key=str(KEYS["env:seen"].vkey), stored_key=str(stored.vkey))
    job = replace(await damaged.job(tmp_path / "data", None), cosigners={"coop": link})
    await recover.rebuild(job)
    assert await _holding(tmp_path / "data") == (None, 0)
    store = await Store.open(tmp_path / "data", read_only=True)
    (again,) = await store.cosigned.above(0)
    await store.close()
    assert [one.line for one in again.lines] == [line]
