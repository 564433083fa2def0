"""A URI to a signer, or to what can be told of its key without opening it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from gateway.core.note import VerifierKey
from gateway.errors import KeyFileError
from gateway.keys import sealed
from gateway.keys.places import read_secret
from gateway.keys.signer import Signer, parse_key

Passphrase = Callable[[], str]
Guard = Literal["file", "passphrase", "credential", "environment"]
_ASK = (
    'Start it on a terminal, which asks for it, or name where it is: key_passphrase = "credential:NAME" in [gateway]. '
    "A gateway that starts with nobody there has a key without one, or in a TPM"
)
_GUARDS: dict[str, Guard] = {"file": "file", "credential": "credential", "env": "environment"}


class Look(NamedTuple):
    """What can be told of a key: its public half as its file has it, and what guards the private one."""

    vkey: VerifierKey
    guard: Guard


def open_signer(
    uri: str,
    *,
    credentials: Path | None = None,
    environment: Mapping[str, str] | None = None,
    passphrase: Passphrase | None = None,
) -> Signer:
    """The signer that a URI names. KeyFileError where it is missing, malformed, sealed or readable by others.

    passphrase: called for a sealed key alone, and may raise.
    """
    text = read_secret(uri, credentials=credentials, environment=environment)
    if not sealed.is_sealed(text):
        return parse_key(text, where=uri)
    sealed.parse(text, where=uri)
    if passphrase is None:
        raise KeyFileError("the key is sealed with a passphrase, and nobody is here to ask", where=uri, cure=_ASK)
    return sealed.unseal(text, passphrase(), where=uri)


def look(uri: str, *, credentials: Path | None = None, environment: Mapping[str, str] | None = None) -> Look:
    """What a key's place tells without a passphrase. KeyFileError as for `open_signer`."""
    text = read_secret(uri, credentials=credentials, environment=environment)
    if sealed.is_sealed(text):
        return Look(sealed.parse(text, where=uri).vkey, "passphrase")
    return Look(parse_key(text, where=uri).vkey, _GUARDS[uri.partition(":")[0]])
