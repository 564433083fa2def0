"""A new epoch: a new log with a new key, where the old one must not go on (docs/format.md, section 5).

The old log stays readable in `data_dir/epoch-N`, with a configuration of its own, but without a sign-state: it never
signs again. Readings that were in no block yet are the new log's first, behind one that cites the old checkpoint.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from msgspec.structs import fields

from gateway import keys, place
from gateway.core import senml
from gateway.core.body import Item
from gateway.core.note import ED25519, VerifierKey
from gateway.errors import KeyFileError, Refused
from gateway.files import sync_file, sync_folder
from gateway.recover import OWN, lost_reading
from gateway.settings import NodeLink, Settings, WitnessLink
from gateway.store import DATABASE, MOVED, SIGN_STATE, moves, signstate
from gateway.store.rebuild import Lost, Rebuilt, Salvage

_TAILS = ("", "-wal", "-shm")


@dataclass(frozen=True)
class Plan:
    """A new epoch, and every file that it makes. `old_note`: the newest checkpoint of the old log that is known.

    scheme: of the new key's URI. counted: how far the counter that guards the new sign-state has counted; 0: none does.
    """

    config: Path
    data_dir: Path
    settings: Settings
    old_vkey: VerifierKey
    old_note: str | None
    here: place.Place
    now_ms: int
    scheme: str = "file"
    counted: int = 0

    @property
    def epoch(self) -> int:
        """Its number."""
        return self.settings.gateway.epoch + 1

    @property
    def origin(self) -> str:
        """Its log's."""
        return f"{self.settings.gateway.name}/{self.epoch}"

    @property
    def old_key(self) -> Path:
        """The old key's file. Refused where the key is not a file."""
        scheme, _, path = self.settings.gateway.key.partition(":")
        if scheme not in ("file", "tpm"):
            what = f"the key is {self.settings.gateway.key}: a new one cannot be put beside it"
            cure = (
                'Name the file it comes from in the configuration, key = "file:/path", and run this again as whoever '
                "may write there; then give the service the new file, and name its credential or variable as before"
            )
            raise KeyFileError(what, where="gateway.key", cure=cure)
        return Path(path)

    @property
    def new_key(self) -> Path:
        """The new key's file, beside the old one."""
        return self.old_key.with_name(f"log-epoch-{self.epoch}.key")

    @property
    def new_uri(self) -> str:
        """The same, as the configuration names it."""
        return f"{self.scheme}:{self.new_key}"

    @property
    def kept_config(self) -> Path:
        """The configuration as it was, beside the new one."""
        return self.config.with_name(f"{self.config.name}.epoch-{self.settings.gateway.epoch}")

    @property
    def old_folder(self) -> Path:
        """Where the old log goes."""
        return self.data_dir / f"epoch-{self.settings.gateway.epoch}"


async def begin(plan: Plan, made: VerifierKey | None = None) -> tuple[VerifierKey, int, Lost]:
    """Makes the new epoch, all of it or nothing; its log key, the readings carried over, those that were damaged.

    made: the new key is in its place already (rotation.py).
    """
    new = [plan.kept_config, plan.old_folder, *([] if made else [plan.new_key])]
    for path in new:
        if path.exists():
            raise Refused("is there already, and nothing is overwritten", where=str(path), cure="Move it away")
    staging = await asyncio.to_thread(moves.stage, plan.data_dir)
    part_key = _part(plan.new_key)
    for path in (part_key, _part(plan.config), _part(plan.kept_config)):
        path.unlink(missing_ok=True)
    vkey = made if made is not None else await asyncio.to_thread(_make_key, plan, part_key)
    carried, lost = await _make_store(plan, staging, vkey)
    await asyncio.to_thread(signstate.create, staging / SIGN_STATE, str(vkey), plan.here, counter=plan.counted)
    text = await asyncio.to_thread(plan.config.read_text, "utf-8")
    await asyncio.to_thread(_put_in_place, plan, staging, text)
    return vkey, carried, lost


def _make_key(plan: Plan, path: Path) -> VerifierKey:
    keys.write_key(path, keys.generate(plan.origin, ED25519))
    return keys.open_signer(f"file:{path}").vkey


async def _make_store(plan: Plan, staging: Path, vkey: VerifierKey) -> tuple[int, Lost]:
    old = await Salvage.open(plan.data_dir / DATABASE)
    new = await Rebuilt.create(staging / DATABASE, vkey)
    lost = Lost()
    try:
        redeliveries = await old.keys(list(plan.settings.broker))
        first = successor_of(plan.old_vkey, plan.old_note, plan.now_ms)
        readings = _unsealed(old, lost, plan.now_ms)
        return await new.carry(readings, redeliveries, 0, plan.settings.seal.max_count, [first]), lost
    finally:
        await new.close()
        await old.close()


async def _unsealed(old: Salvage, lost: Lost, now_ms: int) -> AsyncIterator[Item]:
    async for row in old.rows_after(await old.sealed_row()):
        if row.items is None:
            lost.add(row)
        for item in row.items or ():
            yield item
    if lost.rows:
        yield lost_reading(lost, now_ms), None


def successor_of(old: VerifierKey, note: str | None, now_ms: int) -> bytes:
    """Leaf 0 of block 0: which log this one follows, and its newest checkpoint that is known (section 5)."""
    records: list[senml.Record] = [("event", None, "successor-of"), ("log", None, str(old))]
    if note is not None:
        records.append(("checkpoint", None, note))
    return senml.build(OWN, records, bt_ms=now_ms)


def _put_in_place(plan: Plan, staging: Path, text: str) -> None:
    folder, part = plan.old_folder, _part(plan.config)
    (staging / "old.toml").write_text(_old_config(plan, text), "utf-8")
    part.write_text(_new_config(plan, text), "utf-8")
    part.chmod(plan.config.stat().st_mode & 0o777)
    kept = _part(plan.kept_config)
    kept.write_text(text, "utf-8")
    for path in (staging / DATABASE, staging / SIGN_STATE, staging / "old.toml", part, kept):
        sync_file(path)
    sync_folder(plan.config.parent, plan.old_key.parent)
    away = [(plan.data_dir / f"{DATABASE}{tail}", folder / f"{DATABASE}{tail}") for tail in _TAILS]
    away.append((plan.data_dir / MOVED, folder / MOVED))
    # Under another name: the old log is never continued.
    away += [(plan.data_dir / f"{SIGN_STATE}{tail}", folder / f"retired-{SIGN_STATE}{tail}") for tail in _TAILS]
    moves.decide(
        plan.data_dir,
        [
            *away,
            (staging / "old.toml", folder / "fieldgate.toml"),
            (staging / DATABASE, plan.data_dir / DATABASE),
            (staging / SIGN_STATE, plan.data_dir / SIGN_STATE),
            (_part(plan.new_key), plan.new_key),
            (kept, plan.kept_config),
        ],
        replacing=[(part, plan.config)],
    )


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.recover")


def _new_config(plan: Plan, text: str) -> str:
    return _edited(text, {"epoch": plan.epoch, "key": plan.new_uri})


def _old_config(plan: Plan, text: str) -> str:
    """What reading the old log needs: the gateway, and all nodes and witnesses, of drop-ins too."""
    document = tomlkit.parse(_edited(text, {"data_dir": str(plan.old_folder)}))
    for name in list(document):
        if name != "gateway":
            del document[name]
    if plan.settings.node:
        document["node"] = {name: _written(link) for name, link in plan.settings.node.items()}
    if plan.settings.witness:
        document["witness"] = {name: _written(link) for name, link in plan.settings.witness.items()}
    return tomlkit.dumps(document)


def _written(link: NodeLink | WitnessLink) -> dict[str, object]:
    """The keys of its table but for `share`, which names sources."""
    given = {one.encode_name: getattr(link, one.name) for one in fields(link) if one.name != "share"}
    return {name: value for name, value in given.items() if value not in (None, "")}


def _edited(text: str, changes: dict[str, str | int]) -> str:
    """The configuration with other values in [gateway], and everything else, comments too, as it is."""
    document = tomlkit.parse(text)
    table: Any = document["gateway"]  # in whichever form TOML has it
    for name, value in changes.items():
        table[name] = value
    return tomlkit.dumps(document)


def check(plan: Plan) -> None:
    """Blocking. Raises what making the new configuration would raise: before anything is signed for it."""
    text = plan.config.read_text("utf-8")
    _old_config(plan, text)
    _new_config(plan, text)


def newest_note(notes: Sequence[tuple[int, str]]) -> str | None:
    """The note of the largest size, of those that were checked."""
    return max(notes, key=lambda one: one[0])[1] if notes else None
