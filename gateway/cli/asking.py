"""Passphrases, asked for on a terminal and never shown."""

import sys
from collections.abc import Callable
from functools import partial

import click

from gateway import config
from gateway.cli import say
from gateway.errors import KeyFileError
from gateway.keys import Signer
from gateway.settings import Settings

_TRIES = 3


def passphrase(settings: Settings) -> Callable[[], str] | None:
    """Asks until the answer opens the log's key, three times at most, and hands it over; None without a terminal."""
    if not sys.stdin.isatty():
        return None
    error = KeyFileError("no passphrase was given")
    for _ in range(_TRIES):
        given: str = click.prompt("Passphrase of the log key", hide_input=True, err=True)
        try:
            config.log_signer(settings, lambda given=given: given)  # type: ignore[misc]
        except KeyFileError as caught:
            error = caught
            say(caught.what)
        else:
            return lambda: given
    raise error


def opened(settings: Settings) -> Signer:
    """The log's key; asks for a passphrase on a terminal where it needs one."""
    return opened_with(settings)[0]


def opened_with(settings: Settings) -> tuple[Signer, Callable[[], str] | None]:
    """The log's key, and what gives the passphrase that it is sealed with; None where it is not."""
    place = settings.gateway.key_passphrase
    if config.asks_for_passphrase(settings):
        given = passphrase(settings)
        return config.log_signer(settings, given), given
    signer = config.log_signer(settings)
    sealed = place is not None and config.look_at_key(settings.gateway.key).guard == "passphrase"
    return signer, partial(config.read_secret, place) if place is not None and sealed else None


def new_passphrase(uri: str | None) -> str:
    """One to seal with: of the place that is named, else asked for twice. KeyFileError without either."""
    if uri is not None:
        return config.read_secret(uri)
    if not sys.stdin.isatty():
        cure = "Run this on a terminal, or name where the passphrase is: --passphrase file:/path"
        raise KeyFileError("there is no terminal to ask for a passphrase", cure=cure)
    given: str = click.prompt("A passphrase for the log key", hide_input=True, confirmation_prompt=True, err=True)
    return given
