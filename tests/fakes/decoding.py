"""Codecs and streams as a driver uses them, in one call."""

from drivers.api import Delivery, Reject, Sample
from drivers.codecs.values import Codec, Unfit
from drivers.findings import items
from drivers.lines import LineOptions, stream


def decode(
    codec: Codec,
    source: str,
    payload: bytes,
    now: float | None,
    quality: int = 0,
    delivery: Delivery | None = None,
    shared: bool = False,
) -> Sample | Reject:
    """One message of a source as its driver hands it over."""
    try:
        records, time, more = codec.read(payload, now)
    except Unfit as unfit:
        return unfit.reject(source, payload)
    return Sample(source, records, payload, time, quality | more, delivery, shared)


class Lines:
    """Bytes of one source in, its samples and rejects out."""

    def __init__(self, source: str, options: LineOptions, *, drop_first: bool, quality: int = 0) -> None:
        self._source, self._quality = source, quality
        self._codec = stream(options, drop_first=drop_first)

    def feed(self, data: bytes, now: float | None) -> list[Sample | Reject]:
        return items(self._source, self._codec.feed(data, now), self._quality)

    def gap(self, now: float | None) -> list[Sample | Reject]:
        return items(self._source, self._codec.gap(now), self._quality)

    def end(self, now: float | None) -> list[Sample | Reject]:
        return items(self._source, self._codec.end(now), self._quality)
