"""Ships before a quay as an AIS receiver hears them: sentences !AIVDM (ITU-R M.1371, IEC 61162-1)."""

import math
import random
from collections.abc import Iterator
from functools import reduce
from operator import xor

PAYLOAD_CHARACTERS = 56  # of one sentence: with them it has no more than 82
_TEXT = "@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_ !\"#$%&'()*+,-./0123456789:;<=>?"


def bits(*fields: tuple[int, int]) -> str:
    """Zeros and ones out of (value, width); a negative value in two's complement."""
    return "".join(f"{value & ((1 << width) - 1):0{width}b}" for value, width in fields)


def text(value: str, characters: int) -> str:
    """Six bits for each character, filled up with @."""
    return "".join(f"{_TEXT.index(char):06b}" for char in value.upper().ljust(characters, "@")[:characters])


def sentences(message: str, *, sequence: int = 0, channel: str = "A", address: str = "AIVDM") -> list[bytes]:
    """The message's bits as one sentence, or as several with that sequence number."""
    fill = -len(message) % 6
    whole = message + "0" * fill
    values = (int(whole[at : at + 6], 2) for at in range(0, len(whole), 6))
    payload = "".join(chr(value + (48 if value < 40 else 56)) for value in values)
    parts = [payload[at : at + PAYLOAD_CHARACTERS] for at in range(0, len(payload), PAYLOAD_CHARACTERS)]
    number = "" if len(parts) == 1 else str(sequence % 10)
    return [
        _sentence(f"{address},{len(parts)},{n},{number},{channel},{part},{fill if n == len(parts) else 0}")
        for n, part in enumerate(parts, 1)
    ]


def tagged(line: bytes, **tags: object) -> bytes:
    """The sentence behind a tag block, as tagged(line, s="station", c=1795500000)."""
    block = ",".join(f"{name}:{value}" for name, value in tags.items())
    return b"\\%s*%02X\\%s" % (block.encode("ascii"), reduce(xor, block.encode("ascii"), 0), line)


def position(
    mmsi: int, lat: float, lon: float, *, knots: float, course: float, heading: int = 511, status: int = 0
) -> str:
    """Message 1: a ship of class A."""
    return bits(
        *((1, 6), (0, 2), (mmsi, 30), (status, 4), (-128, 8), (round(knots * 10), 10), (1, 1)),
        *((round(lon * 600_000), 28), (round(lat * 600_000), 27), (round(course * 10), 12), (heading, 9)),
        *((60, 6), (0, 2), (0, 3), (0, 1), (0, 19)),
    )


def position_b(mmsi: int, lat: float, lon: float, *, knots: float, course: float, heading: int = 511) -> str:
    """Message 18: a ship of class B."""
    return bits(
        *((18, 6), (0, 2), (mmsi, 30), (0, 8), (round(knots * 10), 10), (1, 1)),
        *((round(lon * 600_000), 28), (round(lat * 600_000), 27), (round(course * 10), 12), (heading, 9)),
        *((60, 6), (0, 2), (1, 1), (0, 7), (0, 19)),
    )


def static(mmsi: int, name: str, *, imo: int, callsign: str, ship_type: int, destination: str, draught: float) -> str:
    """Message 5: who a ship of class A is; in two sentences."""
    return (
        bits((5, 6), (0, 2), (mmsi, 30), (0, 2), (imo, 30))
        + text(callsign, 7)
        + text(name, 20)
        + bits((ship_type, 8), (100, 9), (20, 9), (9, 6), (9, 6), (1, 4), (0, 20), (round(draught * 10), 8))
        + text(destination, 20)
        + bits((0, 2))
    )


def static_b(mmsi: int, name: str, *, callsign: str, ship_type: int) -> tuple[str, str]:
    """Message 24: who a ship of class B is, parts A and B."""
    head = (24, 6), (0, 2), (mmsi, 30)
    return (
        bits(*head, (0, 2)) + text(name, 20),
        bits(*head, (1, 2), (ship_type, 8))
        + text("", 7)
        + text(callsign, 7)
        + bits((5, 9), (5, 9), (2, 6), (2, 6), (0, 6)),
    )


def traffic(seed: int = 1) -> Iterator[bytes]:
    """Sentences without end, the same for a seed: two ships under way, a yacht, and every sixth round who they are."""
    rng = random.Random(seed)  # noqa: S311  a simulation
    sequence = 0
    for turn in range(1 << 40):
        angle = turn / 50
        lat, lon = 53.54 + 0.01 * math.sin(angle), 9.96 + 0.02 * math.cos(angle)
        knots, course = round(rng.uniform(3, 12), 1), round(math.degrees(angle) % 360, 1)
        yield from sentences(position(211_234_560, lat, lon, knots=knots, course=course, heading=int(course)))
        yield from sentences(position(2_444_000, 91, 181, knots=102.3, course=360), channel="B")  # knows no position
        yield from sentences(position_b(211_999_000, lat + 0.01, lon, knots=knots / 2, course=course), channel="B")
        if turn % 6 == 0:
            sequence += 1
            ship = static(
                211_234_560,
                "ELBE TRADER",
                imo=9_074_729,
                callsign="DABC",
                ship_type=70,
                destination="HAMBURG",
                draught=7.4,
            )
            yield from sentences(ship, sequence=sequence)
            for part in static_b(211_999_000, "MOEWE", callsign="DF1234", ship_type=36):
                yield from sentences(part, channel="B")


def _sentence(body: str) -> bytes:
    return f"!{body}*{reduce(xor, body.encode('ascii'), 0):02X}\r\n".encode("ascii")
