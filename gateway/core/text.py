"""Text from outside: made safe to show, and what a host's name means."""

import re
from ipaddress import ip_address
from urllib.parse import unquote, unquote_plus

_SECRET_CHARS = 8  # of a part of an address that may be one


def plain(text: str) -> str:
    """The text on one line, with nothing in it that a terminal would obey or hide: the rest is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def age(seconds: float) -> str:
    """How long that is, in the one unit that says enough."""
    whole = max(0, int(seconds))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if whole >= 2 * length:
            return f"{whole // length} {unit}"
    return f"{whole} s"


def secrets_of_address(url: str) -> list[str]:
    """What of an address may be one: portals put project ids and access keys into its path or query.

    As it stands there, and as a server may tell it again, with what is escaped in it (RFC 3986, 2.1) as it was meant.
    """
    parts = re.split("[/?#&=]", _divided(url)[1])
    forms = dict.fromkeys(form for part in parts for form in (part, unquote(part), unquote_plus(part)))
    return [form for form in forms if len(form) >= _SECRET_CHARS]


def without_path(url: str) -> str:
    """An address, fit to be shown: its path and query may be secrets."""
    host, rest = _divided(url)
    return f"{host}/..." if rest.strip("/") else url


def _divided(url: str) -> tuple[str, str]:
    """An address up to its host and port, and all behind that. Any text is taken."""
    scheme, mark, rest = url.partition("://") if "://" in url else ("", "", url)
    host = re.split("[/?#]", rest, maxsplit=1)[0]
    return scheme + mark + host, rest[len(host) :]


def is_loopback(host: str) -> bool:
    """Whether a host, as it stands in a URL without brackets, is this machine (RFC 1122, 3.2.1.3; RFC 6761, 6.3)."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
