"""A driver of another package that a test has at its fingertips: it does not end, or cannot be made."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from drivers import registry
from drivers.api import Emit, Link, Sample
from drivers.codecs.values import Table
from drivers.kinds import Kind


class OddOptions(Table, kw_only=True, frozen=True):
    number: int = 0
    stays: bool = False  # it does not end when it is told to, until it is let go
    broken: bool = False  # it cannot be made


class OddDriver:
    """One source; it says what a test has it say."""

    made: list["OddDriver"]

    def __init__(self, source: str, options: OddOptions, *, now: Any) -> None:
        if options.broken:
            raise RuntimeError("no such thing")
        self.name = f"odd-{source}"
        self.sources: Mapping[str, object] = {source: options}
        self.source, self.options = source, options
        self.let_go = asyncio.Event()
        self.running = False
        self._emit: Emit | None = None
        self.made.append(self)

    async def run(self, emit: Emit) -> None:
        self._emit, self.running = emit, True
        emit([Link(up=True, detail=f"number {self.options.number}")])
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.options.stays:
                await self.let_go.wait()
            raise
        finally:
            self.running = False

    def say(self, value: int) -> "asyncio.Future[None]":
        assert self._emit is not None
        return self._emit([Sample(self.source, [("n", None, value)], b"")])


def install(monkeypatch: pytest.MonkeyPatch) -> list[OddDriver]:
    """Makes it known under the name `odd`; those that are made of it."""
    made: list[OddDriver] = []
    monkeypatch.setattr(OddDriver, "made", made, raising=False)
    kind = Kind("odd", "an odd one", "stream", OddOptions, driver=OddDriver)
    found = {"odd": SimpleNamespace(load=lambda: kind, value="odd:KIND")}
    monkeypatch.setattr(registry, "_foreign", lambda: found)
    return made
