"""What the last look at the whole store has found: written by `fieldgate scrub`, told by the gateway.

A small file beside the store. Who looks is another process than the gateway: at night, with what nobody else needs.
"""

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from gateway.clock import Clock, day
from gateway.conditions import VERIFICATION_FAILED, VERIFICATION_LATE, Problem
from gateway.core import limits
from gateway.core.text import plain
from gateway.files import sync_folder, write_new

FILE: Final = "verified.json"
_BYTES: Final = 16 * 1024
_WHAT_CHARS: Final = 1_000
_EVERY_S: Final = 60.0
_DAY_MS: Final = 86_400_000

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Result(msgspec.Struct, kw_only=True, frozen=True):
    """One look. at_ms: when it ended, by the machine's clock; faults: bad blocks, 0: all good; what: the lowest."""

    at_ms: _Count
    took_s: _Count
    blocks: _Count
    readings: _Count
    faults: _Count
    what: Annotated[str, msgspec.Meta(max_length=2 * _WHAT_CHARS)] = ""


def keep(data_dir: Path, result: Result) -> None:
    """Blocking. Durable when it returns, whole or not at all. It belongs to whom the folder belongs. OSError."""
    path = data_dir / FILE
    new = path.with_name(f".{FILE}")
    new.unlink(missing_ok=True)
    told = msgspec.structs.replace(result, what=plain(result.what)[:_WHAT_CHARS])
    write_new(new, msgspec.json.encode(told).decode(), 0o600)
    owner = data_dir.stat()
    if os.geteuid() == 0:
        os.chown(new, owner.st_uid, owner.st_gid)
    new.replace(path)
    sync_folder(data_dir)


def last(data_dir: Path) -> Result | None:
    """Blocking. None where there is none, or none that can be read."""
    try:
        with (data_dir / FILE).open("rb") as file:
            return msgspec.json.decode(file.read(_BYTES), type=Result)
    except (OSError, msgspec.DecodeError):
        return None


class Verified:
    """Reads it once a minute."""

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        self._data_dir, self._clock = data_dir, clock
        self._since = clock.monotonic()
        self._last: Result | None = None

    async def run(self) -> None:
        """Until cancelled. Never ends for what it finds."""
        while True:
            self._last = await asyncio.to_thread(last, self._data_dir)
            await asyncio.sleep(_EVERY_S)

    def status(self) -> dict[str, Any]:
        """For status, as JSON; None in each field where there was no look yet."""
        if self._last is None:
            return dict.fromkeys(Result.__struct_fields__)
        return msgspec.structs.asdict(self._last)

    @property
    def problems(self) -> list[Problem]:
        """What a person has to know of."""
        found = self._last
        if found is None:
            return []
        told = [VERIFICATION_FAILED.problem(when=day(found.at_ms), what=found.what)] if found.faults else []
        return [*told, *([VERIFICATION_LATE.problem(when=day(found.at_ms))] if self._is_late(found) else [])]

    def _is_late(self, found: Result) -> bool:
        """By a clock that is set, and after a day of running: a machine that was off looks as soon as it is on."""
        now = self._clock.now()
        ran_s = self._clock.monotonic() - self._since
        late = now.ms - found.at_ms > limits.VERIFY_LATE_D * _DAY_MS
        return late and now.synchronised and ran_s * 1000 > _DAY_MS
