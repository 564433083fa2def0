"""A ship's day as an NMEA 0183 log: position, depth, wind and water temperature, with checksums."""

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


def _degrees(value: float, width: int) -> str:
    """ddmm.mmmm, or dddmm.mmmm."""
    whole = int(value)
    return f"{whole:0{width}d}{(value - whole) * 60:07.4f}"


def _walk(rng: random.Random, value: float, step: float, low: float, high: float) -> float:
    return min(high, max(low, value + rng.uniform(-step, step)))
