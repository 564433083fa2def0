"""`fieldgate key`: the log's private key: where it is, whether it works, sealed."""

import asyncio
import hashlib
import pwd
from collections.abc import AsyncIterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import click

from gateway import config, keys
from gateway.cli import HELD, OK, USAGE, asking
from gateway.cli.common import config_option, find_config
from gateway.cli.key_sm2 import pin, sm2
from gateway.core import block
from gateway.core.note import ED25519
from gateway.core.text import plain
from gateway.errors import FieldgateError, KeyFileError, Refused
from gateway.keys import Signer
from gateway.settings import Settings
from gateway.store import SIGN_STATE, Store
from gateway.store.signstate import SignState

_SAFE = "Put the right one back from its safe place; `fieldgate key show` tells which this is"
_GUARDS = {
    "file": "its mode alone: whoever has the card has the key",
    "passphrase": "a passphrase, which is nowhere on the card unless key_passphrase names it",
    "tpm": "this machine's TPM: the file is of no use without it",
    "credential": "the service manager: `fieldgate key show` within the service alone sees it",
    "environment": "whoever sets the service's environment",
}
_ALGORITHMS = {ED25519: "Ed25519"}


@click.group()
def key() -> None:
    """The log's private key. No command here shows any of it."""


key.add_command(sm2)


@key.command()
@config_option
def show(config_file: Path | None) -> None:
    """Tell which key it is, where it lies and what guards it. Nothing secret, and no passphrase is needed.

    \b
    Example:
      fieldgate key show

    Exit 0: told. 2: the key is not there, or is no key.
    """
    settings = config.load(find_config(config_file))
    uri = settings.gateway.key
    seen = config.look_at_key(uri)
    click.echo(f"log key      {seen.vkey}")
    click.echo(f"algorithm    {_ALGORITHMS.get(seen.vkey.algorithm, f'0x{seen.vkey.algorithm:02x}')}")
    click.echo(f"fingerprint  SHA-256 {hashlib.sha256(seen.vkey.public).hexdigest()}")
    click.echo(f"where        {plain(uri)}{_owner(uri)}")
    click.echo(f"guarded by   {_GUARDS[seen.guard]}")
    if seen.guard == "tpm":
        counter = config.log_counter(settings)
        told = hex(counter.index) if counter else "none: an older sign-state that is put back is not noticed"
        click.echo(f"counter      {told}")
    if seen.guard == "passphrase":
        click.echo(f"passphrase   {plain(settings.gateway.key_passphrase or 'asked for on a terminal')}")
    if settings.gateway.sm2_key:
        click.echo(f"SM2 key      {config.look_at_key(settings.gateway.sm2_key).vkey}")
        click.echo(f"where        {plain(settings.gateway.sm2_key)}{_owner(settings.gateway.sm2_key)}")
        click.echo(f"its pin      {pin(settings, config.look_at_key(settings.gateway.sm2_key).vkey)}")


def _owner(uri: str) -> str:
    scheme, _, path = uri.partition(":")
    if scheme not in ("file", "tpm"):
        return ""
    told = Path(path).stat()
    name = str(told.st_uid)
    with suppress(KeyError):
        name = pwd.getpwuid(told.st_uid).pw_name
    return f" (mode {told.st_mode & 0o777:04o}, owner {name})"


class _Tested(NamedTuple):
    """A step of `key test` and what it found; `wrong`: what is the matter, with its cure."""

    title: str
    found: str = ""
    wrong: FieldgateError | None = None


@key.command()
@config_option
def test(config_file: Path | None) -> int:
    """Open the key as the gateway does, and prove that it is this log's. The gateway may run meanwhile.

    A log key signs entries and checkpoints and nothing else, so there is no signature for a trial: the
    newest header that was signed is signed again, which gives the same bytes, or the key is another.

    \b
    Example:
      fieldgate key test

    Exit 0: it is good. 2: the key cannot be used. 4: it is not the one of store or sign-state.
    """
    settings = config.load(find_config(config_file))
    return asyncio.run(_test(settings))


async def _test(settings: Settings) -> int:
    code = OK
    async for one in _steps(settings):
        click.echo(
            f"{'bad ' if one.wrong else 'good'}  {one.title:<12} {plain(one.wrong.what if one.wrong else one.found)}"
        )
        if one.wrong is not None:
            click.echo(f"      what to do   {plain(one.wrong.cure)}")
            code = max(code, USAGE if isinstance(one.wrong, KeyFileError) else HELD)
    return code


async def _steps(settings: Settings) -> AsyncIterator[_Tested]:
    """In this order; what needs a step that failed is left out."""
    try:
        signer = await asyncio.to_thread(asking.opened, settings)
        counter = await asyncio.to_thread(config.log_counter, settings)
    except KeyFileError as error:
        yield _Tested("opens", wrong=error)
        return
    yield _Tested("opens", str(signer.vkey))
    try:
        store = await Store.open(Path(settings.gateway.data_dir), read_only=True)
    except FieldgateError as error:
        yield _Tested("the store", wrong=error)
        return
    try:
        if store.vkey != signer.vkey:
            yield _Tested("the store", wrong=Refused(f"it is of {store.vkey}", cure=_SAFE))
            return
        yield _Tested("the store", "it is of this key")
        yield await _signs(settings, store, signer)
        if counter is not None:
            yield await _counts(settings, signer, counter)
    finally:
        await store.close()


async def _signs(settings: Settings, store: Store, signer: Signer) -> _Tested:
    """The newest header that the sign-state knows, signed again."""
    path = Path(settings.gateway.data_dir) / SIGN_STATE
    try:
        state = await SignState.inspect(path, str(signer.vkey), read_only=True)
    except FieldgateError as error:
        return _Tested("signs", wrong=error)
    head = state.head
    await state.close()
    if head.header is None:
        return _Tested(
            "signs", "nothing yet: public and private half belong together, as the store names the public one"
        )
    entry = keys.sign_entry(signer, head.header)
    block.parse_entry(entry).verify(signer.vkey.public)
    stored = await store.blocks.entries(head.size - 1, 1) if store.blocks.extent >= head.size else ()
    if stored and stored[0] != entry:
        return _Tested("signs", wrong=Refused(f"block {head.size - 1} was signed with other bytes", cure=_SAFE))
    return _Tested("signs", f"block {head.size - 1} again, with the same bytes")


async def _counts(settings: Settings, signer: Signer, counter: keys.Counter) -> _Tested:
    """Whether the next start will find sign-state and counter together. Nothing is counted."""
    path = Path(settings.gateway.data_dir) / SIGN_STATE
    try:
        state = await SignState.inspect(path, str(signer.vkey), read_only=True)
        await state.close()
        found = await asyncio.to_thread(counter.read)
        state.compare(found)
    except FieldgateError as error:
        return _Tested("the counter", wrong=error)
    return _Tested("the counter", f"at {found}, as the sign-state has it")


@key.command()
@click.option("--tpm", is_flag=True, help="Seal it to this machine's TPM, with a counter against rollback.")
@click.option("--passphrase", metavar="URI", help="Where the passphrase is: file:/path, credential:NAME or env:NAME.")
@click.option("-o", "--output", "out", type=click.Path(path_type=Path), metavar="FILE", help="The sealed key's file.")
@config_option
def seal(tpm: bool, passphrase: str | None, out: Path | None, config_file: Path | None) -> int:
    """Seal the log key with a passphrase (Argon2id) or to a TPM. The old file stays until you delete it.

    Without --passphrase it is asked for on a terminal. For a machine with somebody there to type it, and for
    a copy in a safe place: a gateway that starts by itself cannot ask. With --tpm it starts by itself, in
    this machine only; the gateway is stopped while it is sealed.

    \b
    Examples:
      fieldgate key seal
      fieldgate key seal -o /media/usb/log.key.sealed
      fieldgate key seal --tpm

    Exit 0: sealed. 2: the key is no file, the passphrase is too short, the TPM refuses. 3: the gateway runs.
    """
    settings = config.load(find_config(config_file))
    old = _key_file(settings)
    if tpm and passphrase is not None:
        raise click.UsageError("--tpm and --passphrase are two ways to seal it: choose one")
    new = (out or old.with_name(f"{old.name}.{'tpm' if tpm else 'sealed'}")).absolute()
    if new.exists():  # before anything is asked for or counted
        raise KeyFileError("there is a file here already", where=str(new), cure="Keys are never overwritten")
    signer, text = config.log_signer(settings), config.read_secret(settings.gateway.key)
    if tpm:
        sealed = import_module("gateway.cli.key_tpm").seal(settings, signer, text, new, like=old)
    else:
        secret = asking.new_passphrase(passphrase)
        keys.write_key(new, keys.seal(text, secret), like=old)
        sealed = keys.unseal(keys.text_of(f"file:{new}"), secret, where=str(new))  # whatever mode the medium gives it
    if sealed.vkey != signer.vkey:
        raise KeyFileError("what was written does not open", where=str(new), cure="Delete it, and check the disk")
    click.echo(f"sealed         {plain(str(new))}")
    click.echo(f'to use it      key = "{"tpm" if tpm else "file"}:{plain(str(new))}" in [gateway], then restart')
    click.echo(
        f"still in clear {plain(str(old))}: it stays until you delete it, and flash keeps deleted bytes for long:"
    )
    click.echo(
        "               a key that lay in clear on this card is only safe from its next thief after `key rotate`"
    )
    return OK


@key.command()
@click.option("--prepare", is_flag=True, help="Make the new key and end, so that the nodes can enrol it before.")
@click.option("--without-nodes", is_flag=True, help="Go on although a node does not have all of the old log.")
@config_option
def rotate(prepare: bool, without_nodes: bool, config_file: Path | None) -> int:
    """Change the log's key as planned: this log ends, and the next epoch goes on for it. The gateway is stopped.

    The old log's last block names the new key, and the new log's first reading holds the old checkpoint.
    If it was interrupted, run it again: every step may have been taken already.

    \b
    Examples:
      fieldgate key rotate --prepare      (some days before: give the new key to the nodes' operators)
      fieldgate key rotate

    Exit 0: done. 1: refused. 2: a key cannot be used. 3: the gateway runs. 4: a node lacks blocks, or signing is held.
    """
    made = import_module("gateway.cli.key_rotate")
    code: int = made.rotate(find_config(config_file).absolute(), prepare=prepare, without_nodes=without_nodes)
    return code


def _key_file(settings: Settings) -> Path:
    """The file of the key in clear. KeyFileError where there is none."""
    uri = settings.gateway.key
    scheme, _, path = uri.partition(":")
    if scheme != "file":
        cure = 'Name the file it comes from: key = "file:/path"'
        raise KeyFileError("a key is sealed from its file", where=uri, cure=cure)
    if config.look_at_key(uri).guard != "file":
        raise KeyFileError("the key is sealed already", where=uri, cure="Seal the copy in clear, if there is one")
    return Path(path)
