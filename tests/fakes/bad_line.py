"""A line that misbehaves: delivers in pieces of any size, loses bytes, and takes its time."""

import asyncio
import random
from collections.abc import Callable, Iterator

Write = Callable[[bytes], object]


def pieces(data: bytes, rng: random.Random, *, most: int = 1, loss: float = 0.0) -> Iterator[bytes]:
    """`data` in pieces of 1 to `most` bytes; each byte is lost with the probability `loss`."""
    at = 0
    while at < len(data):
        size = rng.randint(1, most)
        piece = bytes(byte for byte in data[at : at + size] if rng.random() >= loss)
        at += size
        if piece:
            yield piece


async def dribble(
    write: Write, data: bytes, *, seed: int = 1, most: int = 1, loss: float = 0.0, delay_s: float = 0.0
) -> None:
    """Writes `data` so. Between pieces others get their turn; delay_s: and some pauses last up to so long."""
    rng = random.Random(seed)
    for piece in pieces(data, rng, most=most, loss=loss):
        while write(piece) is False:
            await asyncio.sleep(0.001)
        await asyncio.sleep(rng.uniform(0, delay_s) if delay_s and rng.random() < 0.05 else 0)
