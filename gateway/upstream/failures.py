"""What went wrong with a node, in words that it did not choose, with its condition."""

import os
import ssl

import aiohttp

from gateway.conditions import NODE_AWAY, Condition
from gateway.conditions.nodes import (
    NODE_ANSWER,
    NODE_BUSY,
    NODE_FAULT,
    NODE_LOG_KEY,
    NODE_NAME,
    NODE_REFUSED,
    NODE_TLS,
    NODE_UNKNOWN_LOG,
)
from gateway.errors import FieldgateError, NotFoundError, UnreachableError

_ENROL = "Enrol this gateway's vkey there (`fieldgate status` shows it)"
_REFUSALS = {
    400: ("it finds the request malformed", "Update gateway and node to the same version", NODE_REFUSED),
    401: ("it wants another authentication", "Check the node's url: something else answers there", NODE_REFUSED),
    403: ("it does not take this log's signature", _ENROL, NODE_LOG_KEY),
    404: ("it does not know this log", _ENROL, NODE_UNKNOWN_LOG),
    413: (
        "it finds the request too large",
        "Check proxies before the node: requests have up to 384 KiB",
        NODE_REFUSED,
    ),
}


class NoAuthoritiesError(NotFoundError):
    """ca_file cannot be used."""


class RefusalError(UnreachableError):
    """A status that is none of the protocol's."""

    def __init__(self, what: str, cure: str, condition: Condition) -> None:
        super().__init__(what, cure=cure)
        self.condition = condition


def refusal(status: int) -> RefusalError:
    """What to say of a status that is none of the protocol's."""
    if 300 <= status < 400:
        what = f"it redirects (status {status}), which is not followed"
        return RefusalError(what, "Write its own url", NODE_REFUSED)
    other = ("it cannot take this now", "", NODE_BUSY) if status >= 429 else ("it refuses this", "", NODE_REFUSED)
    what, cure, condition = _REFUSALS.get(status, other)
    return RefusalError(f"{what} (status {status})", cure, condition)


def condition(error: Exception) -> Condition:
    """Of a failed exchange."""
    if isinstance(error, RefusalError):
        return error.condition
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return NODE_NAME
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError | NoAuthoritiesError):
        return NODE_TLS
    if isinstance(error, FieldgateError):
        return NODE_FAULT
    away = isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | OSError)
    return NODE_AWAY if away else NODE_ANSWER


def words(error: Exception) -> str:
    """What went wrong."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be looked up"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not valid"
    if isinstance(error, aiohttp.ClientConnectorError | OSError):
        return f"it cannot be reached: {(os.strerror(error.errno) if error.errno else 'the connection failed').lower()}"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        return "it closed the connection before its answer was complete"
    return "its answer is no HTTP"
