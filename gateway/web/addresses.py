"""Where other machines find this one: the addresses of its network interfaces, as the kernel has them."""

import re
import socket
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from gateway.core.text import is_loopback
from gateway.web.access import authority

_FIB = Path("/proc/net/fib_trie")
_IF_INET6 = Path("/proc/net/if_inet6")
_WILDCARDS = {"0.0.0.0": (4,), "::": (6, 4)}  # noqa: S104 -- recognised, not bound


def addresses(host: str, port: int, *, tls: bool) -> list[str]:
    """`http://address:port` of each address that [web] listen stands for, but loopback's; a name as it is written."""
    scheme = "https" if tls else "http"
    return [f"{scheme}://{authority(name, port, tls=tls)}" for name in _names(host)]


def _names(host: str) -> list[str]:
    if host not in _WILDCARDS:
        return [] if is_loopback(host) else [host]
    found: list[IPv4Address | IPv6Address] = []
    if 4 in _WILDCARDS[host]:
        found += _ipv4()
    if 6 in _WILDCARDS[host]:
        found += _ipv6()
    return [str(one) for one in found if not (one.is_loopback or one.is_link_local)] or [socket.gethostname()]


def _ipv4() -> list[IPv4Address]:
    """Local addresses of the routing table: a leaf `|-- 192.0.2.7` over a line `/32 host LOCAL`."""
    found = re.findall(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL", _read(_FIB))
    return sorted({IPv4Address(one) for one in found})


def _ipv6() -> list[IPv6Address]:
    return sorted({IPv6Address(int(line[:32], 16)) for line in _read(_IF_INET6).splitlines() if len(line) > 32})


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""
