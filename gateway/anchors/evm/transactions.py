"""Transactions that are signed here: legacy (EIP-155) and of type 2 (EIP-1559). coincurve is imported when one is."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

from gateway.anchors.api import RefusedError
from gateway.core import rlp
from gateway.core.keccak import keccak256
from gateway.errors import BugError

_TYPE_2 = b"\x02"
_INSTALL = (
    "pip install 'coincurve<22'; beside the Debian package: "
    "sudo pip install --target /usr/local/lib/fieldgate 'coincurve<22'"
)


class Price(NamedTuple):
    """What is bid for a unit of gas, in wei. tip: None in a legacy transaction."""

    most: int
    tip: int | None


@dataclass(frozen=True, slots=True)
class Transaction:
    """What is to be signed; no value is sent with it."""

    chain: int
    nonce: int
    price: Price
    gas: int
    to: bytes
    data: bytes


class Sent(NamedTuple):
    """What is known again of a signed transaction's bytes."""

    nonce: int
    most: int  # wei for a unit of gas


class Account:
    """A private key, as 64 hex digits. RefusedError where it is none, or the package that signs is missing."""

    def __init__(self, key: str) -> None:
        try:
            coincurve = import_module("coincurve")
        except ImportError:
            what = "the package coincurve, which signs transactions, is not installed"
            raise RefusedError(what, cure=_INSTALL) from None
        try:
            secret = bytes.fromhex(key.strip().removeprefix("0x"))
            if len(secret) != 32:
                raise ValueError
            self._key: Any = coincurve.PrivateKey(secret)
        except ValueError:
            what = "its key is not a private key of 64 hex digits"
            raise RefusedError(what, cure="Make one: `openssl rand -hex 32`, into a file of mode 0600") from None
        self.address: bytes = keccak256(self._key.public_key.format(compressed=False)[1:])[12:]

    def sign(self, one: Transaction) -> bytes:
        """The bytes to send. The same transaction has the same bytes again (RFC 6979)."""
        nonce, gas, value = rlp.uint(one.nonce), rlp.uint(one.gas), b""
        most, tip = rlp.uint(one.price.most), one.price.tip
        if tip is None:
            fields: list[rlp.Encodable] = [nonce, most, gas, one.to, value, one.data]
            r, s, odd = self._signature(rlp.encode([*fields, rlp.uint(one.chain), b"", b""]))
            return rlp.encode([*fields, rlp.uint(35 + 2 * one.chain + odd), r, s])
        head = [rlp.uint(one.chain), nonce, rlp.uint(tip), most, gas]
        typed: list[rlp.Encodable] = [*head, one.to, value, one.data, []]
        r, s, odd = self._signature(_TYPE_2 + rlp.encode(typed))
        return _TYPE_2 + rlp.encode([*typed, rlp.uint(odd), r, s])

    def _signature(self, signed: bytes) -> tuple[bytes, bytes, int]:
        found: bytes = self._key.sign_recoverable(keccak256(signed), hasher=None)
        r, s = int.from_bytes(found[:32], "big"), int.from_bytes(found[32:64], "big")
        return rlp.uint(r), rlp.uint(s), found[64]


def read(raw: bytes) -> Sent:
    """Of bytes that `sign` made."""
    fields = rlp.decode(raw.removeprefix(_TYPE_2))
    match fields:
        case [bytes(), bytes(nonce), bytes(), bytes(most), *_] if raw[:1] == _TYPE_2:
            return Sent(rlp.read_uint(nonce), rlp.read_uint(most))
        case [bytes(nonce), bytes(most), *_]:
            return Sent(rlp.read_uint(nonce), rlp.read_uint(most))
    raise BugError("a submission that is no transaction", cure="Report this")
