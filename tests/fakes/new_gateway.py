"""What `fieldgate init` leaves behind: all of a gateway, or nothing that counts."""

import asyncio
from pathlib import Path

from gateway import config
from gateway.keys import Signer
from gateway.store import SIGN_STATE, Store
from gateway.store.signstate import SignState

NAME = "cut.example"


def init_words(home: Path) -> list[str]:
    """The command for a gateway in `home`: configuration and key in `etc`, readings in `disk/data`."""
    return ["init", "--name", NAME, "--data-dir", str(data_of(home)), "--config", str(home / "etc" / "fieldgate.toml")]


def data_of(home: Path) -> Path:
    return home / "disk" / "data"


def make_folders(home: Path) -> None:
    """What must be there before."""
    for name in ("etc", "disk"):
        (home / name).mkdir(parents=True)


def assert_whole(home: Path) -> None:
    """Configuration, key, store and sign-state are there, all of one log; and no second copy of a key."""
    signer = config.log_signer(config.load(home / "etc" / "fieldgate.toml"))
    asyncio.run(_open(data_of(home), signer))
    for name in ("log.key", "read.key"):
        assert (home / "etc" / name).stat().st_mode & 0o777 == 0o600
    assert {path.name for path in (home / "etc").iterdir()} - _PARTS == {"fieldgate.toml", "log.key", "read.key"}
    assert not (data_of(home) / ".init").exists()
    assert not list(data_of(home).rglob("*.key")), "a key that an interrupted init left"


_PARTS = {".fieldgate.toml.init", ".log.key.init", ".read.key.init"}  # of a copy that was interrupted


async def _open(data: Path, signer: Signer) -> None:
    store = await Store.open(data)
    try:
        assert store.vkey == signer.vkey
        state = await SignState.open(data / SIGN_STATE, str(signer.vkey))
        await state.close()
    finally:
        await store.close()
