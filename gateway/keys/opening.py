"""A URI to a signer, or to what can be told of its key without opening it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from gateway.core.note import VerifierKey
from gateway.errors import KeyFileError
from gateway.keys import sealed, tpm
from gateway.keys.places import read_secret
from gateway.keys.signer import Signer, parse_key

Passphrase = Callable[[], str]
Guard = Literal["file", "passphrase", "tpm", "credential", "environment"]
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
    text = _text(uri, credentials, environment)
    if tpm.is_tpm_key(text):
        return tpm_of(environment).unseal(text, where=uri)
    if not sealed.is_sealed(text):
        return parse_key(text, where=uri)
    sealed.parse(text, where=uri)
    if passphrase is None:
        raise KeyFileError("the key is sealed with a passphrase, and nobody is here to ask", where=uri, cure=_ASK)
    return sealed.unseal(text, passphrase(), where=uri)


def look(uri: str, *, credentials: Path | None = None, environment: Mapping[str, str] | None = None) -> Look:
    """What a key's place tells without a passphrase. KeyFileError as for `open_signer`."""
    text = _text(uri, credentials, environment)
    if tpm.is_tpm_key(text):
        return Look(tpm.parse(text, where=uri).vkey, "tpm")
    if sealed.is_sealed(text):
        return Look(sealed.parse(text, where=uri).vkey, "passphrase")
    return Look(parse_key(text, where=uri).vkey, _GUARDS[uri.partition(":")[0]])


def tpm_of(environment: Mapping[str, str] | None) -> tpm.Tpm:
    """The TPM that tpm2-tools would take, or this machine's. Nothing is asked of it yet."""
    return tpm.Tpm((environment or {}).get("TPM2TOOLS_TCTI") or tpm.DEVICE)


def counter_of(uri: str, *, environment: Mapping[str, str] | None = None) -> tpm.Counter | None:
    """The counter that goes with a key in a TPM; None for any other key, and one that has none. KeyFileError."""
    if not uri.startswith("tpm:"):
        return None
    index = tpm.parse(_text(uri, None, environment), where=uri).counter
    return None if index is None else tpm.Counter(tpm_of(environment), index)


def _text(uri: str, credentials: Path | None, environment: Mapping[str, str] | None) -> str:
    """What stands there. KeyFileError where it is sealed to a TPM and named otherwise, or the other way round."""
    text = read_secret(uri, credentials=credentials, environment=environment)
    scheme, _, path = uri.partition(":")
    if tpm.is_tpm_key(text) != (scheme == "tpm"):
        what = "this key is" + (" not" if scheme == "tpm" else "") + " sealed to a TPM"
        right = f"file:{path}" if scheme == "tpm" else "tpm:/path, with the file's path"
        raise KeyFileError(what, where=uri, cure=f"Name it as {right}")
    return text
