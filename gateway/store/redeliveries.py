"""Which deliveries of each broker are in the journal already (invariant 2 of DESIGN.md).

A delivery is known by broker, packet id and digest. Only the newest for a packet id counts, and of those the newest
32,768 of a broker: half a cycle of packet ids, so an identical payload one cycle later is a new message. The keys of a
commit are written in its journal row. A broker that lost the session starts its packet ids anew: that is written too,
before the first message of the new session can arrive.

From time to time a row begins with a snapshot: all known keys. What stands in older rows is of no account from then on,
so a start reads back no further than the newest snapshot, and older rows may be deleted.
"""

from collections.abc import Collection, Iterator

from drivers.api import Delivery
from gateway.core import limits
from gateway.errors import FormatError
from gateway.store.newest import Newest

DIGEST_BYTES = 8
KEY_BYTES = 2 + DIGEST_BYTES
_SNAPSHOT = b"\0\0\0"  # a run of no keys, of a broker without a name
_RUN_KEYS = 0xFFFF


class Redeliveries:
    """The keys in memory. Its owner is intake; at start `replay` is given the rows again, oldest first."""

    def __init__(self) -> None:
        self._brokers: dict[str, Newest] = {}
        self._added = 0  # keys since the newest snapshot
        self.rows = 0  # journal rows since then; counted by its owner

    def knows(self, delivery: Delivery) -> bool:
        """True where this very delivery was journaled, or waits to be."""
        known = self._brokers.get(delivery.broker)
        return known is not None and known.get(delivery.packet_id) == key_of(delivery)

    def add(self, delivery: Delivery) -> bytes:
        """Remembers it as the newest of its packet id, forgets the oldest beyond the limit; the key to be written."""
        broker, packet_id, digest, _ = delivery
        key = packet_id.to_bytes(2, "big") + digest
        self._remember(broker, packet_id, key)
        return key

    def _remember(self, broker: str, packet_id: int, key: bytes) -> None:
        known = self._brokers.get(broker)
        if known is None:
            known = self._brokers[broker] = Newest(limits.REDELIVERY_KEYS)
        known.put(packet_id, key)
        self._added += 1

    def forget(self, broker: str) -> None:
        """The broker's session is gone: its packet ids mean other messages from now on."""
        self._brokers.pop(broker, None)

    def snapshot_due(self) -> bool:
        """Whether a start would have to read back further than it should."""
        return self._added >= limits.SNAPSHOT_KEYS or self.rows >= limits.SNAPSHOT_ROWS

    def snapshot(self) -> bytes:
        """All known keys, for the beginning of the next row."""
        self._added = self.rows = 0
        return _SNAPSHOT + b"".join(
            _run(broker, len(known), b"".join(known)) for broker, known in self._brokers.items() if known
        )

    def replay(self, row: bytes) -> None:
        """Takes the `keys` of the next journal row."""
        for broker, keys in decode_keys(row):
            if not broker:
                self._brokers.clear()
            elif not keys:
                self.forget(broker)
            for key in keys:
                if packet_id := int.from_bytes(key[:2], "big"):  # 0 is no id: a damaged row
                    self._remember(broker, packet_id, key)
        if is_snapshot(row):
            self._added = 0

    def let_go(self, brokers: Collection[str]) -> None:
        """Of brokers that are not among these (any more), only a few are remembered."""
        gone = [broker for broker in self._brokers if broker not in brokers]
        for broker in gone[: max(len(gone) - limits.FORMER_BROKERS, 0)]:
            self.forget(broker)


class Keys:
    """What one commit writes of deliveries. A broker's order is kept; that between brokers means nothing."""

    __slots__ = ("_lost", "_runs", "_snapshot")

    def __init__(self) -> None:
        self._snapshot = b""
        self._lost: set[str] = set()
        self._runs: dict[str, list[bytes]] = {}  # since then

    def __bool__(self) -> bool:
        return bool(self._runs or self._lost or self._snapshot)

    def add(self, broker: str, key: bytes) -> None:
        """A delivery."""
        run = self._runs.get(broker)
        if run is None:
            self._runs[broker] = [key]
        else:
            run.append(key)

    def lost(self, broker: str) -> None:
        """The broker's session, and what was known of it."""
        self._lost.add(broker)
        self._runs.pop(broker, None)

    def stand_on(self, snapshot: bytes) -> None:
        """A snapshot, which has all that was added so far."""
        self._snapshot = snapshot
        self._lost.clear()
        self._runs.clear()

    def encoded(self) -> bytes | None:
        """The `keys` of a row: a snapshot or none, lost sessions, then each broker's runs.

        A run is u8 length and name of the broker, u16 number of keys, and for each u16 packet id and 8 bytes of digest.
        No keys: the broker's session was lost; without a name, too: a snapshot begins.
        """
        lost = [_run(broker, 0, b"") for broker in sorted(self._lost)]
        runs = [
            _run(broker, len(part), b"".join(part))
            for broker, keys in self._runs.items()
            for at in range(0, len(keys), _RUN_KEYS)
            if (part := keys[at : at + _RUN_KEYS])
        ]
        return b"".join([self._snapshot, *lost, *runs]) or None


def key_of(delivery: Delivery) -> bytes:
    """Packet id and digest."""
    return delivery.packet_id.to_bytes(2, "big") + delivery.digest


def is_snapshot(row: bytes) -> bool:
    """Whether the `keys` of this row begin with a snapshot."""
    return row.startswith(_SNAPSHOT)


def _run(broker: str, count: int, keys: bytes) -> bytes:
    name = broker.encode()
    return bytes([len(name)]) + name + count.to_bytes(2, "big") + keys


def decode_keys(row: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """The runs of one row, in order. No keys: the broker's session was lost here; without a name: a snapshot."""
    at = 0
    while at < len(row):
        end = at + 1 + row[at]
        broker = row[at + 1 : end].decode("utf-8", "replace")
        at, end = end + 2, end + 2 + int.from_bytes(row[end : end + 2], "big") * KEY_BYTES
        if end > len(row):
            raise FormatError("redelivery keys are damaged")
        yield broker, [row[k : k + KEY_BYTES] for k in range(at, end, KEY_BYTES)]
        at = end
