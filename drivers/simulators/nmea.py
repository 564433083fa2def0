"""A ship as its NMEA 0183 sentences, with checksums: a log of four values, or all that its bridge says."""

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import xor

BEGIN = datetime(2026, 3, 2, 6, 0, 0, tzinfo=UTC)


def sentence(body: str) -> bytes:
    """`body` (without `$`) as a sentence with its checksum and line end."""
    return f"${body}*{reduce(xor, body.encode('ascii'), 0):02X}\r\n".encode("ascii")


def log(seed: int = 1, *, begin: datetime = BEGIN) -> Iterator[bytes]:
    """Sentences without end, the same for a seed: GPRMC, SDDBT, WIMWV and YXMTW for every second before a quay."""
    rng = random.Random(seed)  # noqa: S311  a simulation
    depth, wind, water = 7.5, 5.0, 8.2
    for second in range(1 << 40):
        moment = begin + timedelta(seconds=second)
        angle = second / 300
        latitude, longitude = 53.5405 + 0.002 * math.sin(angle), 9.9660 + 0.003 * math.cos(angle)
        depth = _walk(rng, depth, 0.1, 3.0, 14.0)
        wind = _walk(rng, wind, 0.3, 0.0, 22.0)
        water = _walk(rng, water, 0.02, 4.0, 12.0)
        yield sentence(
            f"GPRMC,{moment:%H%M%S}.00,A,{_degrees(latitude, 2)},N,{_degrees(longitude, 3)},E,"
            f"{4 + math.sin(angle):.1f},{math.degrees(angle) % 360:.1f},{moment:%d%m%y},,,A"
        )
        yield sentence(f"SDDBT,{depth / 0.3048:.1f},f,{depth:.1f},M,{depth / 1.8288:.1f},F")
        yield sentence(f"WIMWV,{rng.uniform(200, 240):.1f},R,{wind:.1f},M,A")
        yield sentence(f"YXMTW,{water:.1f},C")


def bridge(seed: int = 1, *, begin: datetime = BEGIN) -> Iterator[bytes]:
    """Sentences without end, the same for a seed: all that a bridge's instruments say, each second the whole round.

    The receiver has no fix in the first second, and every tenth second the echo sounder loses the ground.
    """
    rng = random.Random(seed)  # noqa: S311  a simulation
    depth, water, baro = 7.5, 8.2, 1.0132
    for second in range(1 << 40):
        moment = begin + timedelta(seconds=second)
        angle, clock = second / 300, f"{moment:%H%M%S}.00"
        course = math.degrees(angle) % 360
        at = f"{_degrees(53.5405 + 0.002 * math.sin(angle), 2)},N,{_degrees(9.9660 + 0.003 * math.cos(angle), 3)},E"
        depth = _walk(rng, depth, 0.1, 3.0, 14.0)
        water = _walk(rng, water, 0.02, 4.0, 12.0)
        baro = _walk(rng, baro, 0.0002, 0.95, 1.05)
        if not second:
            yield from map(
                sentence, (f"GPRMC,{clock},V,,,,,,,{moment:%d%m%y},,,N", f"GPGGA,{clock},,,,,0,00,99.99,,,,,,")
            )
            continue
        yield from map(
            sentence,
            (
                f"GPGGA,{clock},{at},1,09,0.9,4.2,M,43.1,M,,",
                f"GPGLL,{at},{clock},A,A",
                f"GPRMC,{clock},A,{at},4.2,{course:.1f},{moment:%d%m%y},3.5,E,A",
                f"GPVTG,{course:.1f},T,,M,4.2,N,7.8,K,A",
                f"GPZDA,{clock},{moment:%d,%m,%Y},00,00",
                "GPGSA,A,3,04,05,09,11,36,,,,,,,,1.5,1.3,1.0",
                f"HEHDT,{course:.1f},T",
                f"HCHDG,{(course - 3.5) % 360:.1f},,,3.5,E",
                "SDDPT,,0.4" if second % 10 == 0 else f"SDDPT,{depth:.1f},0.4",
                f"VWVHW,{course:.1f},T,,M,4.0,N,7.4,K",
                f"WIMWV,{rng.uniform(200, 240):.1f},R,{rng.uniform(4, 9):.1f},N,A",
                f"WIMWD,{rng.uniform(20, 40):.1f},T,,M,,N,{rng.uniform(2, 5):.1f},M",
                f"YXMTW,{water:.1f},C",
                f"YXXDR,C,{water + 3:.1f},C,AIRTEMP,P,{baro:.4f},B,BARO,A,,D,RUDDER",
                f"PSHIP,ALIVE,{second}",
            ),
        )


def _degrees(value: float, width: int) -> str:
    """ddmm.mmmm, or dddmm.mmmm."""
    whole = int(value)
    return f"{whole:0{width}d}{(value - whole) * 60:07.4f}"


def _walk(rng: random.Random, value: float, step: float, low: float, high: float) -> float:
    return min(high, max(low, value + rng.uniform(-step, step)))
