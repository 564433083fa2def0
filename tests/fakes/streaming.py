"""A codec of a stream fed as its driver feeds it, in chunks of any size."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from drivers.api import Value
from drivers.codecs.base import Found, Refused, StreamCodec


def play(codec: StreamCodec, data: bytes, *, chunk: int = 7, now: float | None = None) -> list[Found | Refused]:
    """All that the codec finds in `data`, and at its end."""
    found: list[Found | Refused] = []
    for at in range(0, len(data), chunk):
        found += codec.feed(data[at : at + chunk], now)
    return found + codec.end(now)


def values(found: Iterable[Found | Refused]) -> list[dict[str, Value]]:
    """Of each sample: name to value."""
    return [{name: value for name, _, value in one.records} for one in found if isinstance(one, Found)]


def reasons(found: Iterable[Found | Refused]) -> dict[str, int]:
    """How many were refused for which reason."""
    return dict(Counter(one.reason for one in found if isinstance(one, Refused)))


def same_for_any_chunking(make: Callable[[], StreamCodec], data: bytes, sizes: Sequence[int]) -> list[Any]:
    """What is found, which must be the same however the bytes arrive."""
    whole = play(make(), data, chunk=max(len(data), 1))
    for size in sizes:
        assert play(make(), data, chunk=size) == whole
    return whole
