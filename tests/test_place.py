"""A log knows its machine and its file system; what cannot be told never counts as a change."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from fakes.card import Card
from fakes.gateway_store import signer

from gateway import place
from gateway.errors import HeldError
from gateway.place import NOWHERE, UNKNOWN, Place
from gateway.store import SIGN_STATE, signstate
from gateway.store.database import Schema, create_file
from gateway.store.signstate import SignState

A, B = "0123456789abcdef" * 2, "fedcba9876543210" * 2
DISK, OTHER = "9f1fdc72-d8dd-4a7a-956a-84345724fd3b", "9f1fdc72-d8dd-4a7a-956a-84345724fd3c"
DISK_SUMMED = "41b7f98f4658750a"  # f_fsid of an ext4 that has the UUID DISK
VKEY = str(signer().vkey)


@pytest.mark.parametrize(
    ("was", "now", "changed"),
    [
        (Place(A, DISK), Place(A, DISK), ""),
        (Place(A, DISK), Place(B, DISK), "machine"),
        (Place(A, DISK), Place(A, OTHER), "file system"),
        (Place(A, DISK), Place("", ""), ""),
        (Place("", ""), Place(B, OTHER), ""),
        (Place(A, ""), Place(A, OTHER), ""),
        (Place(A, ""), Place(B, OTHER), "machine"),
        (Place(A, DISK_SUMMED), Place(A, DISK), ""),  # a newer kernel tells more
        (Place(A, DISK), Place(A, DISK_SUMMED), ""),
        (Place(A, DISK_SUMMED), Place(A, OTHER), "file system"),
        (NOWHERE, Place(A, ""), "machine"),
        (NOWHERE, Place("", OTHER), "file system"),
        (NOWHERE, Place("", ""), "not settled"),
    ],
)
def test_what_counts_as_a_change(was: Place, now: Place, changed: str) -> None:
    assert (changed in was.changed(now)) if changed else was.changed(now) == ""


@pytest.mark.parametrize("text", ["", "uninitialized\n", A[:-1], A.upper(), A + "0", "\xff"])
def test_a_machine_id_that_is_none_is_unknown(tmp_path: Path, text: str) -> None:
    (tmp_path / "id").write_text(text, "latin-1")
    assert place.find(tmp_path, tmp_path / "id").machine == ""
    assert place.find(tmp_path, tmp_path / "nowhere").machine == ""


def test_a_machine_id_is_read(tmp_path: Path) -> None:
    (tmp_path / "id").write_text(A + "\n")
    assert place.find(tmp_path, tmp_path / "id").machine == A


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_the_uuid_of_a_file_system_as_its_tools_tell_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with Card(tmp_path / "card", kind) as card:
        told = subprocess.run(
            ["/usr/sbin/blkid", "-s", "UUID", "-o", "value", str(card._image)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        found = place.find(card.folder).filesystem
        assert found in (told, place._folded(told), "")
        assert found  # this kernel tells it in one way or another
        if kind == "ext4":  # and where it does not tell the UUID itself, what it tells is the same place
            monkeypatch.setattr(place, "_asked", lambda folder: None)
            monkeypatch.setattr(place, "_linked", lambda folder: "")
            summed = place.find(card.folder)
            assert summed.filesystem == place._folded(told)
            assert summed.changed(Place(summed.machine, told)) == ""


def test_what_is_in_memory_alone_has_no_place() -> None:
    if os.path.ismount("/dev/shm"):
        assert place.find(Path("/dev/shm")).filesystem == ""


async def test_the_place_is_kept_completed_and_never_forgotten(tmp_path: Path) -> None:
    path = tmp_path / SIGN_STATE
    await asyncio.to_thread(signstate.create, path, VKEY)
    for here, known in (
        (UNKNOWN, UNKNOWN),
        (Place(A, ""), Place(A, "")),
        (Place("", DISK), Place(A, DISK)),
        (UNKNOWN, Place(A, DISK)),
        (Place(A, DISK_SUMMED), Place(A, DISK)),
    ):
        state = await SignState.open(path, VKEY, here)
        assert state.place == known
        await state.close()
    for moved in (Place(B, DISK), Place(A, OTHER), Place(B, "")):
        with pytest.raises(HeldError, match="cloned, copied or restored") as held:
            await SignState.open(path, VKEY, moved)
        assert "recover --only-copy" in held.value.cure
    state = await SignState.inspect(path, VKEY)
    await state.settle(Place(B, OTHER))
    await state.close()
    state = await SignState.open(path, VKEY, Place(B, OTHER))
    await state.close()


async def test_a_sign_state_of_the_first_schema_adopts_the_place(tmp_path: Path) -> None:
    path = tmp_path / SIGN_STATE
    old = Schema(signstate.SCHEMA.application_id, signstate.SCHEMA.steps[:1])
    row = (VKEY, 1, b"header")
    await asyncio.to_thread(create_file, path, old, (("INSERT INTO head VALUES (1,?,?,?)", row),))
    state = await SignState.open(path, VKEY, Place(A, DISK))
    assert (state.head.size, state.head.header, state.place) == (1, b"header", Place(A, DISK))
    await state.close()


async def test_the_same_files_on_another_file_system_are_held(tmp_path: Path) -> None:
    with Card(tmp_path / "one", "ext4") as one, Card(tmp_path / "two", "ext4") as two:
        path = one.folder / SIGN_STATE
        await asyncio.to_thread(signstate.create, path, VKEY, await asyncio.to_thread(place.find, one.folder))
        await asyncio.to_thread(shutil.copy2, path, two.folder)
        state = await SignState.open(path, VKEY, await asyncio.to_thread(place.find, one.folder))
        await state.close()
        with pytest.raises(HeldError, match="the file system is another"):
            await SignState.open(two.folder / SIGN_STATE, VKEY, await asyncio.to_thread(place.find, two.folder))
