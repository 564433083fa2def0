"""Streams over the network: a TCP connection that this side opens, and UDP datagrams that others send here."""

import errno
import ipaddress
import socket
import struct
from urllib.parse import urlsplit

from drivers.api import DriverError
from drivers.conditions import NETWORK_AWAY, NETWORK_LISTEN, NETWORK_NAME
from drivers.limits import CHUNK_BYTES, DATAGRAM_BYTES, UDP_BUFFER_BYTES
from drivers.wires import Chunk

CONNECT_S = 8.0  # for each address of a name
KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""A peer that vanished without a word is noticed after 60 s."""

_DROPS = 40  # SO_RXQ_OVFL, socket(7): with each datagram how many before it found no room
_COUNT = struct.Struct("I")


def check_tcp(address: str) -> str | None:
    """What is wrong with an address to connect to; None where nothing is."""
    return None if _parts(address) else f"tcp is no host:port: {address}. Write the two, as in 192.168.1.20:4001"


def check_udp(address: str) -> str | None:
    """What is wrong with an address to listen on; None where nothing is."""
    parts = _parts(address)
    try:
        ipaddress.ip_address(parts[0] if parts else "")
    except ValueError:
        return f"udp is no address:port of this computer: {address}. Write 0.0.0.0 and the port for all it has"
    return None


def _parts(address: str) -> tuple[str, int] | None:
    """Host and port, of host:port or [IPv6 address]:port."""
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    plain = address in (f"{host}:{port}", f"[{host}]:{port}")
    return (host, port) if plain and host and port else None


def clash(one: str, other: str) -> bool:
    """Whether two addresses to listen on are of one socket: a wildcard takes every address."""
    ours, theirs = _parts(one), _parts(other)
    if ours is None or theirs is None or ours[1] != theirs[1]:
        return False
    hosts = [ipaddress.ip_address(host) for host, _ in (ours, theirs)]
    return hosts[0] == hosts[1] or any(host.is_unspecified for host in hosts)


class TcpWire:
    """A connection. What it brings is one stream, from somewhere within a frame on."""

    datagrams = False

    def __init__(self, sock: socket.socket, address: str) -> None:
        self._sock, self._address = sock, address
        self.detail = f"reads {address}"

    def fileno(self) -> int:
        """Of the socket."""
        return self._sock.fileno()

    def read(self) -> Chunk:
        """What has arrived. DriverError where the connection is over."""
        try:
            data = self._sock.recv(CHUNK_BYTES)
        except BlockingIOError:
            return Chunk(b"")
        except OSError as error:
            why = f"the connection is lost: {error.strerror}"
            raise DriverError(f"{self._address}: {why}", _WAY, NETWORK_AWAY, at=self._address, detail=why) from error
        if not data:
            what, cure = "has closed the connection", "Does it serve another client already?"
            raise DriverError(f"{self._address} {what}", cure, NETWORK_AWAY, at=self._address, detail=f"it {what}")
        return Chunk(data)

    def close(self) -> None:
        """Ends the connection."""
        self._sock.close()


class UdpWire:
    """A bound socket. The datagrams of each address are a stream of their own, which begins with a frame."""

    datagrams = True

    def __init__(self, sock: socket.socket, address: str) -> None:
        self._sock, self._address, self._dropped = sock, address, 0
        self.detail = f"listens on UDP {address}"

    def fileno(self) -> int:
        """Of the socket."""
        return self._sock.fileno()

    def read(self) -> Chunk:
        """One datagram, with how many the kernel had no room for since the one before."""
        try:
            data, extra, _, peer = self._sock.recvmsg(DATAGRAM_BYTES, socket.CMSG_SPACE(_COUNT.size))
        except BlockingIOError:
            return Chunk(b"")
        except OSError as error:
            why = f"it cannot be read: {error.strerror}"
            at = self._address
            raise DriverError(f"UDP {at}: {why}", _WAY, NETWORK_LISTEN, at=at, detail=why) from error
        missed = 0
        for level, kind, value in extra:
            if (level, kind) == (socket.SOL_SOCKET, _DROPS):
                dropped = _COUNT.unpack(value)[0]
                missed, self._dropped = (dropped - self._dropped) % (1 << 32), dropped
        return Chunk(data, peer[0], missed)  # some programs take another port for each datagram

    def close(self) -> None:
        """Listens no more."""
        self._sock.close()


_WAY = "Check the device and the network"


def open_tcp(address: str) -> TcpWire:
    """Blocking: name look-up and connection. DriverError where there is none."""
    host, port = _checked(address, check_tcp(address))
    try:
        sock = socket.create_connection((host, port), CONNECT_S)
    except OSError as error:
        raise _unreachable(address, host, error) from error
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    sock.setblocking(False)
    return TcpWire(sock, address)


def open_udp(address: str) -> UdpWire:
    """Binds the address, for itself alone. DriverError where that cannot be."""
    host, port = _checked(address, check_udp(address))
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, _DROPS, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise _not_bound(address, port, error) from error
    return UdpWire(sock, address)


def _checked(address: str, fault: str | None) -> tuple[str, int]:
    parts = _parts(address)
    if fault or parts is None:
        raise DriverError(fault or address, "Correct the source's table")
    return parts


def _unreachable(address: str, host: str, error: OSError) -> DriverError:
    if isinstance(error, socket.gaierror):
        cure = "Check the name, and the network's DNS"
        return DriverError(f"the name {host} has no address", cure, NETWORK_NAME, host=host)
    if isinstance(error, ConnectionRefusedError):
        what, cure, detail = f"nothing listens at {address}", "Switch the device on, or correct tcp", "nothing listens"
    elif isinstance(error, TimeoutError):
        what, cure, detail = f"{address} does not answer", _WAY, "no answer"
    else:
        detail = error.strerror or str(error)
        what, cure = f"{address} cannot be reached: {detail}", _WAY
    return DriverError(what, cure, NETWORK_AWAY, at=address, detail=detail)


def _not_bound(address: str, port: int, error: OSError) -> DriverError:
    if error.errno == errno.EADDRINUSE:
        detail = f"another program has port {port}"
        what, cure = f"UDP port {port} is in use by another program", f"`ss -ulpn sport = {port}` names it: end it"
    elif error.errno == errno.EADDRNOTAVAIL:
        detail = "it is no address of this computer"
        what, cure = f"{address} is no address of this computer", "Correct udp; 0.0.0.0 takes all it has"
    elif error.errno == errno.EACCES:
        detail = "only root may open a port below 1024"
        what, cure = f"UDP port {port} may not be opened", "Take a port from 1024 on"
    else:
        detail = error.strerror or str(error)
        what, cure = f"UDP {address} cannot be opened: {detail}", "Correct udp"
    return DriverError(what, cure, NETWORK_LISTEN, at=address, detail=detail)
