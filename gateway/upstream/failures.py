"""What went wrong with a node or a witness, with its condition."""

import ssl
from typing import Final, NamedTuple

import aiohttp

from gateway.conditions import NODE_AWAY, Condition
from gateway.conditions.nodes import (
    NODE_ANSWER,
    NODE_BUSY,
    NODE_FAULT,
    NODE_KEY,
    NODE_LOG_KEY,
    NODE_NAME,
    NODE_REFUSED,
    NODE_TLS,
    NODE_UNKNOWN_LOG,
)
from gateway.conditions.witnesses import (
    WITNESS_ANSWER,
    WITNESS_AWAY,
    WITNESS_BUSY,
    WITNESS_FAULT,
    WITNESS_KEY,
    WITNESS_REFUSED,
    WITNESS_UNKNOWN_LOG,
)
from gateway.errors import FieldgateError, NotFoundError, UnreachableError


class Kinds(NamedTuple):
    """The conditions of one kind of upstream, and what a person calls it."""

    noun: str
    away: Condition
    name: Condition
    tls: Condition
    key: Condition
    unknown_log: Condition
    log_key: Condition
    refused: Condition
    busy: Condition
    answer: Condition
    fault: Condition


NODE: Final = Kinds(
    "node",
    away=NODE_AWAY,
    name=NODE_NAME,
    tls=NODE_TLS,
    key=NODE_KEY,
    unknown_log=NODE_UNKNOWN_LOG,
    log_key=NODE_LOG_KEY,
    refused=NODE_REFUSED,
    busy=NODE_BUSY,
    answer=NODE_ANSWER,
    fault=NODE_FAULT,
)
WITNESS: Final = Kinds(
    "witness",
    away=WITNESS_AWAY,
    name=WITNESS_AWAY,
    tls=WITNESS_AWAY,
    key=WITNESS_KEY,
    unknown_log=WITNESS_UNKNOWN_LOG,
    log_key=WITNESS_UNKNOWN_LOG,
    refused=WITNESS_REFUSED,
    busy=WITNESS_BUSY,
    answer=WITNESS_ANSWER,
    fault=WITNESS_FAULT,
)
_ENROL = "Enrol this gateway's vkey there (`fieldgate status` shows it)"
_REFUSALS = {
    400: ("it finds the request malformed", "Update gateway and node to the same version", "refused"),
    401: ("it wants another authentication", "Check the url: something else answers there", "refused"),
    403: ("it does not take this log's signature", _ENROL, "log_key"),
    404: ("it does not know this log", _ENROL, "unknown_log"),
    413: (
        "it finds the request too large",
        "Check proxies before it: syncs have up to 384 KiB, blocks 64 MiB",
        "refused",
    ),
}


class NoAuthoritiesError(NotFoundError):
    """ca_file cannot be used."""


class RefusalError(UnreachableError):
    """A status that is none of the protocol's."""

    def __init__(self, what: str, cure: str, condition: Condition) -> None:
        super().__init__(what, cure=cure)
        self.condition = condition


def refusal(status: int, kinds: Kinds) -> RefusalError:
    """What to say of a status that is none of the protocol's."""
    if 300 <= status < 400:
        what = f"it redirects (status {status}), which is not followed"
        return RefusalError(what, "Write its own url", kinds.refused)
    other = ("it cannot take this now", "", "busy") if status >= 429 else ("it refuses this", "", "refused")
    what, cure, kind = _REFUSALS.get(status, other)
    return RefusalError(f"{what} (status {status})", cure, getattr(kinds, kind))


def condition(error: Exception, kinds: Kinds) -> Condition:
    """Of a failed exchange."""
    if isinstance(error, RefusalError):
        return error.condition
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return kinds.name
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError | NoAuthoritiesError):
        return kinds.tls
    if isinstance(error, FieldgateError):
        return kinds.fault
    away = isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | OSError)
    return kinds.away if away else kinds.answer
