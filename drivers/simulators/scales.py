"""Weighing indicators by what they write: each form makes the bytes of one weight, of whole kilograms."""

from collections.abc import Callable


def _st_gs(stable: bool, mass: int) -> bytes:
    return f"{'ST' if stable else 'US'},GS,+{mass:8d}kg\r\n".encode("ascii")


def _continuous(stable: bool, mass: int) -> bytes:
    """Kilograms without a decimal point, no tare, with a checksum; seven bits."""
    status = bytes((0x2A, 0x30 | (0 if stable else 0x08), 0x20))
    frame = b"\x02" + status + f"{mass:6d}{0:6d}\r".encode("ascii")
    return frame + bytes((-sum(frame) % 128,))


def _sics(stable: bool, mass: int) -> bytes:
    return f"S {'S' if stable else 'D'} {mass:10d} kg\r\n".encode("ascii")


def _kern(stable: bool, mass: int) -> bytes:
    return f"+{mass:06d} KG {'S' if stable else 'U'}\r\n".encode("ascii")


def _ohaus(stable: bool, mass: int) -> bytes:
    return f" {mass:7d} {'kg':5}{' ' if stable else '?'}G\r\n".encode("ascii")


def _rinstrum(stable: bool, mass: int) -> bytes:
    """FMT_2, which leaves the unit out while the weight moves."""
    return f"\x02 {mass:7d}G{' ' if stable else 'M'} -{' kg' if stable else '   '}\x03".encode("ascii")


def _ticket(stable: bool, mass: int) -> bytes:
    """Four lines; an indicator prints none before the weight is at rest."""
    lines = ("WEIGHBRIDGE 1", f"GROSS {mass:8d} kg", f"TARE  {0:8d} kg", "----")
    return "\r\n".join((*lines, "")).encode("ascii") if stable else b""


FORMS: dict[str, Callable[[bool, int], bytes]] = {
    "st-gs": _st_gs,
    "mt-continuous": _continuous,
    "mt-sics": _sics,
    "kern": _kern,
    "ohaus": _ohaus,
    "rinstrum": _rinstrum,
    "ticket": _ticket,
}
