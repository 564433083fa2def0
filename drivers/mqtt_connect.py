"""Reaching a broker: name look-up, TCP and TLS, blocking, to be called in a thread; and what went wrong, in words."""

import socket
import ssl
import time
from dataclasses import dataclass, field

from drivers.api import DriverError
from drivers.conditions import (
    BROKER_AWAY,
    BROKER_LOGIN,
    BROKER_NAME,
    BROKER_REFUSED,
    BROKER_SECRET,
    BROKER_TLS,
    BROKER_UNREACHABLE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """[broker.NAME] with its secrets read. `window`: the broker's max_inflight_messages.

    lacking: why its password cannot be had, and the cure; then nobody connects.
    """

    name: str
    host: str
    port: int
    client_id: str
    tls: bool = False
    window: int = 20
    keepalive_s: int = 60
    connect_timeout_s: float = 10.0
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    lacking: tuple[str, str] | None = None

    @property
    def address(self) -> str:
        """For messages."""
        return f"{self.host}:{self.port}"


def tls_context(broker: Broker) -> ssl.SSLContext:
    """Checks certificate and host name. DriverError where a file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=broker.ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if broker.cert_file:
            context.load_cert_chain(broker.cert_file, broker.key_file or None)
    except (OSError, ssl.SSLError) as error:
        what = f"ca_file, cert_file or key_file cannot be used: {_reason(error)}"
        cure = f"Check the files that [broker.{broker.name}] names, and who may read them"
        raise _failure(broker, f"broker {broker.name}: {what}", cure, BROKER_TLS, detail=what) from error
    return context


def open_socket(broker: Broker, timeout_s: float) -> socket.socket:
    """A connected socket that does not block, its TLS handshake done, within `timeout_s`. DriverError otherwise."""
    if broker.lacking is not None:
        what, cure = broker.lacking
        told = f"broker {broker.name}: its password cannot be had: {what}"
        raise DriverError(told, f"{cure}. Then: fieldgate reload", BROKER_SECRET, broker=broker.name, detail=what)
    deadline = time.monotonic() + timeout_s
    context = tls_context(broker) if broker.tls else None
    sock: socket.socket | None = None
    try:
        sock = _tcp(broker, deadline)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            sock.settimeout(_left(deadline))
            sock = context.wrap_socket(sock, server_hostname=broker.host)
        sock.setblocking(False)
    except BaseException as error:
        if sock is not None:
            sock.close()
        if isinstance(error, ConnectionError) and sock is not None and context is not None:
            raise _no_tls(broker, error) from error
        if isinstance(error, OSError):
            raise unreachable(broker, error) from error
        raise
    return sock


def _tcp(broker: Broker, deadline: float) -> socket.socket:
    """The first of the host's addresses that answers."""
    last: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(broker.host, broker.port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_left(deadline))
            sock.connect(address)
        except OSError as error:
            sock.close()
            last = error
        else:
            return sock
    raise last


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def unreachable(broker: Broker, error: OSError) -> DriverError:
    """The failure in words, with its cure."""
    where, at = f"broker {broker.name}", broker.address
    if isinstance(error, ssl.SSLCertVerificationError):
        what = f"the certificate of {at} is not accepted: {error.verify_message}"
        cure = (
            f"Name the authority that signed it as ca_file of [broker.{broker.name}], and the host as it is certified"
        )
        return _failure(broker, f"{where}: {what}", cure, BROKER_TLS, detail=what)
    if isinstance(error, ssl.SSLError):
        return _no_tls(broker, error)
    if isinstance(error, socket.gaierror):
        what, cure = f"{where}: the name {broker.host} has no address", "Check the name, and the network's DNS"
        return DriverError(what, cure, BROKER_NAME, broker=broker.name, host=broker.host)
    if isinstance(error, ConnectionRefusedError):
        what, cure = f"{where}: nothing listens at {at}", "Start the broker, or correct its url"
        return DriverError(what, cure, BROKER_AWAY, broker=broker.name, at=at)
    if isinstance(error, TimeoutError):
        cure = "Check that the broker runs and can be reached"
        return _failure(broker, f"{where}: {at} did not answer in time", cure, BROKER_UNREACHABLE, detail="no answer")
    why, cure = _reason(error), "Check the network and the broker's url"
    return _failure(broker, f"{where}: {at} cannot be reached: {why}", cure, BROKER_UNREACHABLE, detail=why)


def _no_tls(broker: Broker, error: OSError) -> DriverError:
    what = f"no TLS with {broker.address}: {_reason(error)}"
    cure = "Is this the broker's TLS port? For one without TLS write mqtt:// and its port"
    return _failure(broker, f"broker {broker.name}: {what}", cure, BROKER_TLS, detail=what)


def _failure(broker: Broker, what: str, cure: str, condition: str, *, detail: str) -> DriverError:
    return DriverError(what, cure, condition, broker=broker.name, at=broker.address, detail=detail)


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or str(error)


_REFUSALS = {
    "Bad user name or password": ("it does not accept user and password", "user and password", BROKER_LOGIN),
    "Not authorized": (
        "it does not accept user and password, or grants this user nothing",
        "user and password",
        BROKER_LOGIN,
    ),
    "Client identifier not valid": ("it does not accept the client id", "client_id", BROKER_REFUSED),
}


def refused(broker: Broker, reason: str) -> DriverError:
    """The failure for a CONNACK that refuses."""
    other = (f"it refuses the connection: {reason}", "what the broker's log says, and url", BROKER_REFUSED)
    what, keys, condition = _REFUSALS.get(reason, other)
    where, cure = f"broker {broker.name} at {broker.address}", f"Check {keys} in [broker.{broker.name}]"
    if condition == BROKER_LOGIN:
        return DriverError(f"{where}: {what}", cure, condition, broker=broker.name, at=broker.address)
    return _failure(broker, f"{where}: {what}", cure, condition, detail=what)
