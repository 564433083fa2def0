"""From key and sign-state to a sealer that may sign, or to the reason why it must not (invariant 4 of DESIGN.md)."""

import asyncio
from collections.abc import Callable

from gateway import config, place
from gateway.errors import FieldgateError, HeldError, Stop, StoreFullError
from gateway.sealer import Sealer
from gateway.settings import Settings
from gateway.store import SIGN_STATE, Store
from gateway.store.signstate import CURE, SignState

_ROOM_RETRY_S = 1.0


class Signing:
    """Owner of the sign-state. What stands against signing is told, and readings are journaled all the same."""

    def __init__(
        self, settings: Settings, store: Store, sealer: Sealer, passphrase: Callable[[], str] | None = None
    ) -> None:
        self._settings, self._store, self._sealer, self._passphrase = settings, store, sealer, passphrase
        self.state: SignState | None = None
        self._waits = True  # for room, to be tried again

    async def begin(self) -> None:
        """Opens key and sign-state; where there is no room for the latter, `run` tries again."""
        self._waits = False
        try:
            signer = await asyncio.to_thread(config.log_signer, self._settings, self._passphrase)
            if signer.vkey != self._store.vkey:
                raise HeldError("the key is not this log's", where=self._settings.gateway.key, cure=CURE)
            here = await asyncio.to_thread(place.find, self._store.data_dir)
            self.state = await SignState.open(self._store.data_dir / SIGN_STATE, str(signer.vkey), here)
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
