"""From what a stream's codec finds to the items that a driver hands over."""

from collections.abc import Iterable

from drivers.api import Reject, Sample
from drivers.codecs.base import Found, Refused


def items(source: str, found: Iterable[Found | Refused], quality: int = 0) -> list[Sample | Reject]:
    """The samples and rejects of one source, in order. quality: bits that all of them have."""
    return [
        Sample(source, one.records, one.raw or b"", one.time, one.quality | quality)
        if isinstance(one, Found)
        else Reject(source, one.reason, one.example, one.detail)
        for one in found
    ]
