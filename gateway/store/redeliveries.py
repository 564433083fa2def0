"""Which deliveries of each broker are in the journal already (invariant 2 of DESIGN.md).

A delivery is known by broker, packet id and digest. Only the newest for a packet id counts, and of those the newest
32,768 of a broker: half a cycle of packet ids, so an identical payload one cycle later is a new message. The keys of a
commit are written in its journal row. A broker that lost the session starts its packet ids anew: that is written too,
before the first message of the new session can arrive.

At start the rows are read back only so far (journal.newest_keys). So that a quiet broker's keys are found behind a busy
one's, they are carried over: written again when `REDELIVERY_CARRY` keys have come since.
"""

from collections.abc import Iterable, Iterator

from drivers.api import Delivery
from gateway.core import limits

DIGEST_BYTES = 8
KEY_BYTES = 2 + DIGEST_BYTES


class Redeliveries:
    """The keys in memory. Its owner is intake; `load` fills it at start, newest row first."""

    def __init__(self) -> None:
        self._brokers: dict[str, dict[int, bytes]] = {}
        self._added = 0  # keys of all brokers
        self._carried: dict[str, int] = {}  # `_added` when all keys of a broker were last known to be near
        self._own: dict[str, int] = {}  # keys of a broker since then

    def knows(self, delivery: Delivery) -> bool:
        """True where this very delivery was journaled, or waits to be."""
        known = self._brokers.get(delivery.broker)
        return known is not None and known.get(delivery.packet_id) == delivery.digest

    def add(self, delivery: Delivery) -> None:
        """Remembers it as the newest of its packet id; forgets the oldest beyond the limit."""
        known = self._brokers.setdefault(delivery.broker, {})
        known.pop(delivery.packet_id, None)
        known[delivery.packet_id] = delivery.digest
        if len(known) > limits.REDELIVERY_KEYS:
            del known[next(iter(known))]
        self._added += 1
        self._own[delivery.broker] = self._own.get(delivery.broker, 0) + 1

    def carry(self) -> list[Delivery]:
        """Keys to be written once more, in their order: those of brokers that others have left behind."""
        if len(self._brokers) < 2:
            return []
        again: list[Delivery] = []
        for broker, known in self._brokers.items():
            if broker in self._carried and self._added - self._carried[broker] < limits.REDELIVERY_CARRY:
                continue
            if self._own.get(broker, 0) < limits.REDELIVERY_KEYS:
                again += [Delivery(broker, packet_id, digest, True) for packet_id, digest in known.items()]
            self._carried[broker] = self._added
            self._own[broker] = 0
        return again

    def forget(self, broker: str) -> None:
        """The broker's session is gone: its packet ids mean other messages from now on."""
        self._brokers.pop(broker, None)

    def load(self, rows_newest_first: Iterable[bytes]) -> None:
        """Rebuilds the set from the `keys` of journal rows."""
        found: dict[str, dict[int, bytes]] = {}
        closed: set[str] = set()
        for row in rows_newest_first:
            for broker, keys in reversed(list(decode_keys(row))):
                if broker in closed:
                    continue
                if not keys:
                    closed.add(broker)
                known = found.setdefault(broker, {})
                for packet_id, digest in reversed(keys):
                    if len(known) < limits.REDELIVERY_KEYS:
                        known.setdefault(packet_id, digest)
        self._brokers = {broker: dict(reversed(known.items())) for broker, known in found.items()}


def encode_keys(keys: Iterable[Delivery | str]) -> bytes | None:
    """The `keys` of one row: runs of one broker's deliveries in order; a broker's bare name says its session was lost.

    A run is u8 length and name of the broker, u16 number of keys, and for each u16 packet id and 8 bytes of digest.
    """
    out = bytearray()
    run: list[bytes] = []
    broker: str | None = None

    def flush() -> None:
        if broker is not None and run:
            out.extend(_run(broker, run))
            run.clear()

    for key in keys:
        if isinstance(key, str):
            flush()
            broker = None
            out += _run(key, [])
            continue
        if key.broker != broker or len(run) == 0xFFFF:
            flush()
            broker = key.broker
        run.append(key.packet_id.to_bytes(2, "big") + key.digest)
    flush()
    return bytes(out) or None


def count_keys(row: bytes) -> int:
    """The keys in the `keys` of one row."""
    return sum(len(keys) for _, keys in decode_keys(row))


def _run(broker: str, keys: list[bytes]) -> bytes:
    name = broker.encode()
    return bytes([len(name)]) + name + len(keys).to_bytes(2, "big") + b"".join(keys)


def decode_keys(row: bytes) -> Iterator[tuple[str, list[tuple[int, bytes]]]]:
    """The runs of one row, in order. No keys: the broker's session was lost here."""
    at = 0
    while at < len(row):
        end = at + 1 + row[at]
        broker = row[at + 1 : end].decode()
        count = int.from_bytes(row[end : end + 2], "big")
        at = end + 2
        yield (
            broker,
            [
                (int.from_bytes(row[k : k + 2], "big"), row[k + 2 : k + KEY_BYTES])
                for k in range(at, at + count * KEY_BYTES, KEY_BYTES)
            ],
        )
        at += count * KEY_BYTES
