"""Who asks: a person on this machine, one from the network, or somebody who gets nothing.

Checked on every request: the Host is ours (against DNS rebinding), no other site's page asks (Sec-Fetch-Site, Origin),
and no proxy brings others in. A Host that is the very address the connection came to cannot be another site's name.
"""

from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

from aiohttp import web

from gateway.core import limits
from gateway.web.listener import neighbourhood
from gateway.web.sessions import Sessions

_FORWARDED: Final = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via")
_COOKIES: Final = 4_096
_FORM: Final = "application/x-www-form-urlencoded"
_HERE: Final = ("127.0.0.1", "::1")
_LENGTH: Final = 9  # digits


class Who(NamedTuple):
    """Somebody who is answered. here: on this machine; token: of the session, empty without one."""

    here: bool
    token: str
    address: str
    host: str

    @property
    def signed_in(self) -> bool:
        """May act."""
        return bool(self.token)

    @property
    def may_look(self) -> bool:
        """May see pages: on this machine everybody, from the network who is signed in."""
        return self.here or self.signed_in


def authority(host: str, port: int, *, tls: bool) -> str:
    """The Host header of a request to this host and port: no port where it is the scheme's own."""
    name = f"[{host}]" if ":" in host else host
    return name.lower() if port == (443 if tls else 80) else f"{name}:{port}".lower()


class Access:
    """names: Host headers that are ours; loopback's are so for a peer on this machine alone."""

    def __init__(self, names: Collection[str], port: int, *, tls: bool, sessions: Sessions) -> None:
        self._names = frozenset(name.lower() for name in names)
        self._loopback = frozenset(authority(name, port, tls=tls) for name in (*_HERE, "localhost"))
        self._port, self.tls, self._sessions = port, tls, sessions
        self.cookie = "__Host-fieldgate" if tls else "fieldgate"

    def who(self, request: web.BaseRequest) -> Who | None:
        """Who asks; None for somebody who gets nothing."""
        headers = request.headers
        here = is_here(request.remote)
        host = headers.get("Host", "").lower()
        if any(name in headers for name in _FORWARDED) or not self._is_ours(host, request, here=here):
            return None
        site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
        if request.method == "GET":
            asked_by_us = origin is None and site in {None, "none", "same-origin"}
        else:
            asked_by_us = site in {None, "same-origin"} and origin == self.origin(host)
        if not asked_by_us:
            return None
        token = cookie(request, self.cookie)
        return Who(here, token if self._sessions.use(token) else "", neighbourhood(request.remote or ""), host)

    def origin(self, host: str) -> str:
        """Of our pages under this Host (RFC 6454)."""
        return f"{'https' if self.tls else 'http'}://{host}"

    def _is_ours(self, host: str, request: web.BaseRequest, *, here: bool) -> bool:
        if host in self._names or (here and host in self._loopback):
            return True
        reached = request.transport.get_extra_info("sockname") if request.transport else None
        if here or not isinstance(reached, tuple):
            return False
        return host == authority(_unmapped(str(reached[0])), self._port, tls=self.tls)


def cookie(request: web.BaseRequest, name: str) -> str:
    """A cookie's value; empty where there is none, or the header is none."""
    sent = "; ".join(request.headers.getall("Cookie", ()))
    try:
        found = SimpleCookie(sent[:_COOKIES]).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def is_form(request: web.BaseRequest) -> bool:
    """Whether this is a POST as our forms make it: its length is told, and small."""
    headers = request.headers
    length = headers.get("Content-Length", "")
    return (
        request.method == "POST"
        and request.raw_path.startswith("/")
        and not any(name in headers for name in ("Transfer-Encoding", "Content-Encoding", "Expect", "Upgrade"))
        and len(headers.getall("Host", ())) == 1
        and headers.get("Content-Type", _FORM).partition(";")[0].strip().lower() == _FORM
        and length.isascii()
        and length.isdecimal()
        and len(length) <= _LENGTH
        and int(length) <= limits.FORM_BYTES
    )


def is_here(remote: str | None) -> bool:
    """Whether a peer is on this machine: the two addresses of `localhost`, and no other of 127.0.0.0/8."""
    return _unmapped(remote or "") in _HERE


def _unmapped(host: str) -> str:
    """An address as people write it: of a peer over IPv4 an IPv4 one, on a socket for both too (RFC 4291, 2.5.5.2)."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
