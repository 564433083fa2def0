"""Every state in which a power cut may leave the files of a recorded run.

A run is recorded as the system calls that it made (fakes/calls.py). A device is then taken through them: what was
flushed is certain; of what was only written any part may be there, in any order, in sectors of 512 bytes. A file's
bytes are certain after an fsync of the file, its name after an fsync of its folder. Names (made, moved, removed) reach
the device in the order in which they were given, as with every journalling file system; a move is whole or not there.
"""

import hashlib
import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from fakes.calls import Call, paths

SECTOR = 512
_BYTES = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_LAST_NUMBER = re.compile(r"(\d+)$")


class Op(NamedTuple):
    """One change. kind: write, truncate, sync, make, folder, remove, move, link, or say (data was told elsewhere)."""

    kind: str
    path: str
    at: int = 0
    data: bytes = b""
    to: str = ""


class State(NamedTuple):
    """What is found after the cut: files and folders, and what had been said until then. `after`: operations done."""

    after: int
    files: dict[str, bytes]
    folders: frozenset[str]
    said: bytes

    @property
    def digest(self) -> bytes:
        out = hashlib.sha256(self.said)
        for path in sorted(self.folders):
            out.update(path.encode() + b"/")
        for path, data in sorted(self.files.items()):
            out.update(path.encode() + b"\0" + hashlib.sha256(data).digest())
        return out.digest()

    def write(self, root: Path, to: Path) -> None:
        """Lays it out below `to`, as it was below `root`; modes are not recorded, and all are the owner's alone."""
        for path in sorted(self.folders):
            (to / Path(path).relative_to(root)).mkdir(parents=True, exist_ok=True)
        for path, data in self.files.items():
            file = to / Path(path).relative_to(root)
            file.write_bytes(data)
            file.chmod(0o600)


def recorded(calls: Sequence[Call], root: Path, said: Path, there: set[str]) -> list[Op]:
    """The changes below `root` in a run recorded with its data. there: the files that were there before it."""
    ops: list[Op] = []
    for call in calls:
        if call.result.startswith("-") or call.path.endswith("(deleted)"):
            continue
        path, *others = paths(call)
        if path == str(said) and call.name == "write":
            ops.append(Op("say", path, data=_data(call)))
        elif Path(path).is_relative_to(root):
            ops += _ops(call, path, others[0] if others else "", there)
    return ops


def _ops(call: Call, path: str, to: str, there: set[str]) -> Iterator[Op]:
    name = call.name
    if name in ("pwrite64", "write"):
        at = int(_LAST_NUMBER.search(call.args)[1]) if name == "pwrite64" else -1  # type: ignore[index]
        yield Op("write", path, at, _data(call))
    elif name == "ftruncate":
        yield Op("truncate", path, int(_LAST_NUMBER.search(call.args)[1]))  # type: ignore[index]
    elif name in ("fsync", "fdatasync"):
        yield Op("sync", path)
    elif name == "openat":
        if "O_TRUNC" in call.args and path in there:
            yield Op("truncate", path, 0)
        if "O_CREAT" in call.args and path not in there:
            there.add(path)
            yield Op("make", path)
    elif name == "mkdir":
        yield Op("folder", path)
    elif name in ("unlink", "unlinkat", "rmdir"):
        there.discard(path)
        yield Op("remove", path)
    elif name in ("link", "linkat"):
        there.add(to)
        yield Op("link", path, to=to)
    elif name in ("rename", "renameat", "renameat2"):
        moved = {one for one in there if (one + "/").startswith(path + "/")}
        there -= moved
        there |= {to + one[len(path) :] for one in moved}
        yield Op("move", path, to=to)
    else:
        raise AssertionError(f"a call that the recording does not know: {call}")


def _data(call: Call) -> bytes:
    match = _BYTES.search(call.args)
    assert match is not None, call
    return bytes.fromhex(match[1].replace("\\x", ""))


@dataclass
class _File:
    certain: bytearray = field(default_factory=bytearray)
    pending: list[Op] = field(default_factory=list)
    size: int = 0  # as the program sees it


Keep = Callable[[Op, int], bool]  # is this sector (or this truncation) of a pending write there?


class Device:
    """What is certain, and what is on its way. `root` is a folder that is certainly there.

    apart: folders below it that are devices of their own: their names come in an order of their own.
    """

    def __init__(self, root: Path, apart: Sequence[Path] = ()) -> None:
        self._apart = [str(folder) for folder in apart]
        self._files: list[_File] = []
        self._folders = {str(root)}
        self._live: dict[str, int] = {}
        self._names: dict[str, int] = {}  # certain
        self._pending: list[list[tuple[Op, int]]] = [[] for _ in range(len(apart) + 1)]  # names, each with its file
        self.said = b""
        for folder, _, names in os.walk(root):
            self._folders.add(folder)
            for name in names:
                path = Path(folder, name)
                data = path.read_bytes()
                self._names[str(path)] = self._live[str(path)] = len(self._files)
                self._files.append(_File(bytearray(data), size=len(data)))

    def apply(self, op: Op) -> None:
        if op.kind == "say":
            self.said += op.data
        elif op.kind in ("write", "truncate"):
            self._change(op)
        elif op.kind == "sync":
            self._sync(op.path)
        else:
            self._name(op)

    def _change(self, op: Op) -> None:
        file = self._files[self._live[op.path]]
        if op.at < 0:
            op = op._replace(at=file.size)
        file.size = op.at if op.kind == "truncate" else max(file.size, op.at + len(op.data))
        file.pending.append(op)

    def _sync(self, path: str) -> None:
        if path in self._live:
            file = self._files[self._live[path]]
            _lay(file.certain, file.pending, lambda op, sector: True)
            file.pending.clear()
            return
        pending = self._pending[self._device(path)]
        touched = [n for n, (op, _) in enumerate(pending, 1) if path in {_folder(op.path), _folder(op.to)}]
        for _ in range(touched[-1] if touched else 0):
            _rename(self._names, self._folders, *pending.pop(0))

    def _device(self, path: str) -> int:
        return next((n for n, folder in enumerate(self._apart, 1) if (path + "/").startswith(folder + "/")), 0)

    def _name(self, op: Op) -> None:
        if op.kind == "make":
            self._files.append(_File())
            self._live[op.path] = len(self._files) - 1
        number = self._live.get(op.path, -1)
        if op.kind in ("remove", "move"):
            self._live.pop(op.path, None)
        if op.kind in ("move", "link") and number >= 0:
            self._live[op.to] = number
        elif op.kind == "move":  # of a folder
            for path in [path for path in self._live if path.startswith(op.path + "/")]:
                self._live[op.to + path[len(op.path) :]] = self._live.pop(path)
        self._pending[self._device(op.path)].append((op, number))

    @property
    def pending_names(self) -> list[int]:
        """How many there are, on each device."""
        return [len(pending) for pending in self._pending]

    def pending(self) -> list[Op]:
        """Writes and truncations on their way."""
        return [op for file in self._files for op in file.pending]

    def cut(self, after: int, names: Sequence[int], keep: Keep) -> State:
        """So many of each device's pending names are there, and what `keep` says of the pending bytes."""
        found, folders = dict(self._names), set(self._folders)
        for pending, count in zip(self._pending, names, strict=True):
            for op, number in pending[:count]:
                _rename(found, folders, op, number)
        files = {}
        for path, number in found.items():
            data = bytearray(self._files[number].certain)
            _lay(data, self._files[number].pending, keep)
            files[path] = bytes(data)
        return State(after, files, frozenset(folders), self.said)


def _folder(path: str) -> str:
    return str(Path(path).parent) if path else ""


def _rename(names: dict[str, int], folders: set[str], op: Op, number: int) -> None:
    if op.kind == "folder":
        folders.add(op.path)
    elif op.kind == "remove":
        names.pop(op.path, None)
        folders.discard(op.path)
    elif op.kind == "move" and op.path in folders:
        for path in [path for path in names if path.startswith(op.path + "/")]:
            names[op.to + path[len(op.path) :]] = names.pop(path)
        for path in [path for path in folders if (path + "/").startswith(op.path + "/")]:
            folders.remove(path)
            folders.add(op.to + path[len(op.path) :])
    else:
        if op.kind == "move":
            names.pop(op.path, None)
        names[op.to or op.path] = number


def _lay(data: bytearray, ops: Sequence[Op], keep: Keep) -> None:
    """Puts the pending changes, or what is kept of them, onto a file's bytes."""
    for op in ops:
        if op.kind == "truncate":
            if keep(op, 0):
                data[op.at :] = bytes(max(0, op.at - len(data)))
            continue
        at = op.at
        while at < op.at + len(op.data):
            end = min((at // SECTOR + 1) * SECTOR, op.at + len(op.data))
            if keep(op, at // SECTOR):
                data.extend(bytes(max(0, end - len(data))))
                data[at:end] = op.data[at - op.at : end - op.at]
            at = end


def states(root: Path, ops: Sequence[Op], rng: random.Random, more: int, apart: Sequence[Path] = ()) -> Iterator[State]:
    """States after each operation, each once: nothing unflushed is there, all of it, all but the last write, the last
    write alone, and `more` by chance: in whole writes or torn, with any number of the pending names. The last one is
    what is certain when the run has ended.
    """
    device = Device(root, apart)
    seen: set[bytes] = set()
    for after, op in enumerate(ops, 1):
        device.apply(op)
        if op.kind in ("sync", "say"):
            continue  # the same bytes as before, and fewer of them uncertain; what is said is checked at the next
        for names, keep in _choices(device, rng, more):
            state = device.cut(after, names, keep)
            if state.digest not in seen:
                seen.add(state.digest)
                yield state
    yield device.cut(len(ops), [0] * (len(apart) + 1), lambda op, sector: False)


def _choices(device: Device, rng: random.Random, more: int) -> Iterator[tuple[list[int], Keep]]:
    names = device.pending_names
    last = device.pending()[-1:]
    yield [0 for _ in names], lambda op, sector: False
    yield names, lambda op, sector: False
    yield names, lambda op, sector: True
    if last:
        yield names, lambda op, sector: op is not last[0]
        yield names, lambda op, sector: op is last[0]
    for one in range(len(names)) if len(names) > 1 else ():
        yield [count if n == one else 0 for n, count in enumerate(names)], lambda op, sector: True
    for _ in range(more):
        yield [rng.randint(0, count) for count in names], _by_chance(rng)


def _by_chance(rng: random.Random) -> Keep:
    share, torn, salt = rng.choice((0.2, 0.5, 0.8)), rng.random() < 0.6, rng.random()

    def keep(op: Op, sector: int) -> bool:
        place = (salt, Path(op.path).name, op.at, crc32(op.data), sector if torn else "whole")
        return random.Random(repr(place)).random() < share

    return keep
