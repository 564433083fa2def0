"""From key and sign-state to a sealer that may sign, or to the reason why it must not (invariant 4 of DESIGN.md)."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from gateway import config, place
from gateway.conditions import SM2_MISSING, Problem
from gateway.core.note import SignatureLine, VerifierKey
from gateway.errors import FieldgateError, HeldError, Stop, StoreFullError
from gateway.keys import Signer, sm2_line
from gateway.sealer import Sealer
from gateway.settings import Settings
from gateway.store import SIGN_STATE, Store
from gateway.store.signstate import CURE, SignState

_ROOM_RETRY_S = 1.0

T = TypeVar("T")


class Signing:
    """Owner of the sign-state. What stands against signing is told, and readings are journaled all the same."""

    def __init__(
        self, settings: Settings, store: Store, sealer: Sealer, passphrase: Callable[[], str] | None = None
    ) -> None:
        self._settings, self._store, self._sealer, self._passphrase = settings, store, sealer, passphrase
        self.state: SignState | None = None
        self.sm2 = Sm2Line(settings)
        sealer.further = self.sm2.lines
        self._waits = True  # for room, to be tried again

    async def begin(self) -> None:
        """Opens key and sign-state; where there is no room for the latter, `run` tries again."""
        self._waits = False
        await self.sm2.open()
        try:
            signer = await asyncio.to_thread(config.log_signer, self._settings, self._passphrase)
            if signer.vkey != self._store.vkey:
                raise HeldError("the key is not this log's", where=self._settings.gateway.key, cure=CURE)
            counter = await asyncio.to_thread(config.log_counter, self._settings)
            here = await asyncio.to_thread(place.find, self._store.data_dir)
            self.state = await SignState.open(self._store.data_dir / SIGN_STATE, str(signer.vkey), here, counter)
            await self._sealer.recover(signer, self.state)
        except Stop:
            raise
        except StoreFullError as error:
            self._sealer.wait_for_room(error)
            self._waits = True
        except HeldError as error:
            self._sealer.hold(error)
        except FieldgateError as error:
            self._sealer.hold(HeldError(error.what, where=error.where, cure=error.cure))

    async def run(self) -> None:
        """Begins to sign once there is room, and returns then."""
        while self._waits:
            await asyncio.sleep(_ROOM_RETRY_S)
            await self.begin()

    async def close(self) -> None:
        """Closes the sign-state."""
        if self.state is not None:
            await self.state.close()


class Sm2Line:
    """The SM2 signature beside the log's own, where one is configured. Without it sealing goes on, and it is told."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._signer: Signer | None = None
        self.problems: list[Problem] = []

    @property
    def vkey(self) -> VerifierKey | None:
        """The key that it signs with; None where none is wanted, or it could not be opened yet."""
        return None if self._signer is None else self._signer.vkey

    async def open(self) -> None:
        """Opens the key. What stands against it is told, and tried again with the next checkpoint."""
        await self._tried(self._open)

    async def lines(self, text: str) -> list[SignatureLine]:
        """The line over a checkpoint's text, if one is wanted and can be made."""
        return await self._tried(self._made, text) or []

    async def _tried(self, make: Callable[..., T], *texts: str) -> T | None:
        """In a thread: it reads a file, and takes some milliseconds."""
        uri = self._settings.gateway.sm2_key
        if uri is None:
            return None
        try:
            made = await asyncio.to_thread(make, *texts)
        except Stop:
            raise
        except FieldgateError as error:
            self.problems = [SM2_MISSING.problem(uri, detail=error.what, cure=error.cure or "Put the key back")]
            return None
        self.problems = []
        return made

    def _open(self) -> None:
        if self._signer is None:
            self._signer = config.sm2_signer(self._settings)

    def _made(self, text: str) -> list[SignatureLine]:
        self._open()
        return [] if self._signer is None else [sm2_line(self._signer, text)]
