"""The same log in another place: a person says that no other copy is in use, and the nodes are asked."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway import place
from gateway.core import note
from gateway.core.note import Checkpoint, VerifierKey
from gateway.errors import FieldgateError, HeldError
from gateway.files import sync_folder
from gateway.recover.cures import NEW_EPOCH
from gateway.recover.node_reader import NodeReader
from gateway.store import MOVED, SIGN_STATE, Store
from gateway.store.signstate import SignState


@dataclass
class Asked:
    """What the nodes say of this log: those that follow it as it is here, and those that cannot be asked, and why."""

    agree: list[str] = field(default_factory=list)
    silent: list[tuple[str, str]] = field(default_factory=list)


async def ask_nodes(store: Store, signed: int, nodes: Sequence[NodeReader]) -> Asked:
    """Raises HeldError where a node has seen more of this log than was signed here, or another tree."""
    asked = Asked()
    for node in nodes:
        try:
            shown = await node.witnessed()
        except FieldgateError as error:
            asked.silent.append((node.name, error.what))
            continue
        if shown is not None:
            await _compare_shown(store, signed, node.name, note.parse_checkpoint(shown.text))
        asked.agree.append(node.name)
    return asked


async def _compare_shown(store: Store, signed: int, name: str, shown: Checkpoint) -> None:
    if shown.size > signed:
        what = (
            f"node {name} holds {shown.size} blocks of this log, only {signed} were signed here: another copy goes on"
        )
        raise HeldError(what, cure="Find and stop the other one; here " + NEW_EPOCH)
    if shown.size <= store.blocks.size and await store.blocks.root(shown.size) != shown.root:
        what = f"node {name} shows another tree of {shown.size} blocks: there are two histories under this key"
        raise HeldError(what, cure="Keep the node's evidence. " + NEW_EPOCH)


async def settle(data_dir: Path, vkey: VerifierKey, here: place.Place, nodes: Sequence[NodeReader]) -> Asked:
    """The log goes on here: a person says that no other copy is in use, and no node knows better."""
    store = await Store.open(data_dir, read_only=True)
    try:
        state = await SignState.inspect(data_dir / SIGN_STATE, str(vkey))
        try:
            asked = await ask_nodes(store, state.head.size, nodes)
            await state.settle(here)
            await asyncio.to_thread(_open_again, data_dir)
        finally:
            await state.close()
    finally:
        await store.close()
    return asked


def _open_again(data_dir: Path) -> None:
    """Where the log was handed over, and that is off."""
    if (data_dir / MOVED).exists():
        (data_dir / MOVED).unlink()
        sync_folder(data_dir)
