"""Text from outside: made safe to show, and what a host's name means."""

from ipaddress import ip_address


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


def is_loopback(host: str) -> bool:
    """Whether a host, as it stands in a URL without brackets, is this machine (RFC 1122, 3.2.1.3; RFC 6761, 6.3)."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
