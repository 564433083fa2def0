"""The newest key of each MQTT packet id, in the order of their coming, in 2 MiB where an OrderedDict takes 10."""

from array import array
from collections.abc import Iterator

_IDS = 1 << 16
_ENDS = 0  # no packet's id (MQTT 3.1.1, section 2.3.1): before the oldest and behind the newest


class Newest:
    """Up to `most` keys, the oldest first. A ring through two arrays: the id that came after each, and before each."""

    __slots__ = ("_after", "_before", "_count", "_keys", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._keys: list[bytes | None] = [None] * _IDS
        self._after = array("H", bytes(2 * _IDS))
        self._before = array("H", bytes(2 * _IDS))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        at = self._after[_ENDS]
        while at != _ENDS:
            key = self._keys[at]
            assert key is not None
            yield key
            at = self._after[at]

    def get(self, packet_id: int) -> bytes | None:
        """The key of a packet id, where it is among these."""
        return self._keys[packet_id]

    def put(self, packet_id: int, key: bytes) -> None:
        """Makes it the newest; the oldest goes where there are too many."""
        keys, after, before = self._keys, self._after, self._before
        if keys[packet_id] is None:
            self._count += 1
        else:
            last, following = before[packet_id], after[packet_id]
            after[last], before[following] = following, last
        keys[packet_id] = key
        newest = before[_ENDS]
        after[newest] = before[_ENDS] = packet_id
        before[packet_id], after[packet_id] = newest, _ENDS
        if self._count > self._most:
            oldest = after[_ENDS]
            following = after[oldest]
            after[_ENDS], before[following] = following, _ENDS
            keys[oldest] = None
            self._count -= 1
