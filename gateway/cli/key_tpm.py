"""`fieldgate key seal --tpm`: the key to the TPM, and the sign-state under a counter of it."""

import asyncio
from pathlib import Path

from gateway import config, keys
from gateway.cli.common import locked
from gateway.keys import Signer
from gateway.settings import Settings
from gateway.store import SIGN_STATE
from gateway.store.signstate import SignState


def seal(settings: Settings, signer: Signer, text: str, new: Path, *, like: Path) -> Signer:
    """Writes the sealed key to `new` and opens it. No gateway runs.

    The sign-state follows the counter first: until the configuration names the sealed key nobody asks for that.
    """
    data_dir = Path(settings.gateway.data_dir)
    with locked(data_dir, cure="Name the configuration of the gateway: --config"):
        tpm = config.tpm()
        counter = keys.Counter(tpm, tpm.new_counter())
        sealed = tpm.seal(text, counter.index)
        asyncio.run(_follow(data_dir / SIGN_STATE, signer, counter.read()))
        keys.write_key(new, sealed, like=like)
    return config.open_signer(f"tpm:{new}")


async def _follow(path: Path, signer: Signer, counted: int) -> None:
    state = await SignState.inspect(path, str(signer.vkey))
    try:
        await state.count_from(counted)
    finally:
        await state.close()
