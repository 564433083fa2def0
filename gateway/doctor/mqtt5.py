"""The few packets by which a broker tells its limits: a client that connects, subscribes and leaves. Bytes only.

MQTT Version 5.0 (OASIS, 2019-03-07); clause numbers are of it. Nothing that is unread here changes the broker's state:
a clean start, no will, no publish.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

CONNACK, PUBLISH, SUBACK = 2, 3, 9
PACKET_BYTES = 256 * 1024

_INT = {1: 1, 2: 4, 17: 4, 19: 2, 23: 1, 25: 1, 33: 2, 34: 2, 35: 2, 36: 1, 37: 1, 39: 4, 40: 1, 41: 1, 42: 1}
_TEXT = frozenset((3, 8, 18, 21, 26, 28, 31))
_RECEIVE_MAXIMUM, _MAXIMUM_QOS, _MAXIMUM_PACKET = 33, 36, 39

LOGIN = frozenset((0x86, 0x87, 4, 5))  # 3.2.2.2; 4 and 5 of MQTT 3.1.1, section 3.2.2.3
NO_VERSION = frozenset((0x84, 1))
NO_CLIENT_ID = frozenset((0x85, 2))
REASONS = {
    1: "it takes neither MQTT 5 nor MQTT 3.1.1",
    0x84: "it takes neither MQTT 5 nor MQTT 3.1.1",
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
    0x8C: "bad authentication method",
    0x97: "quota exceeded",
    0x9F: "too many connections in this time",
    3: "server unavailable",
}


class Malformed(Exception):
    """Bytes that are no MQTT."""


class Packet(NamedTuple):
    """A packet: its type (2.1.2), the flags beside it, and what follows the length."""

    kind: int
    flags: int
    body: bytes


class Connack(NamedTuple):
    """reason: 0 for success. Limits as far as they are told (3.2.2.3); None: not told."""

    reason: int
    receive_maximum: int | None = None
    maximum_qos: int | None = None
    maximum_packet: int | None = None


def connect(client_id: str, user: str, password: str, *, version: int) -> bytes:
    """CONNECT with a clean start (3.1); version 5, or 4 for MQTT 3.1.1."""
    flags = 0x02 | (0x80 if user else 0) | (0x40 if user and password else 0)
    head = _text("MQTT") + bytes((version, flags)) + struct.pack(">H", 30) + (b"\0" if version == 5 else b"")
    body = head + _text(client_id)
    if user:
        body += _text(user) + (_text(password) if password else b"")
    return _packet(1, 0, body)


def subscribe(packet_id: int, filters: Sequence[tuple[str, int]], *, version: int) -> bytes:
    """SUBSCRIBE (3.8) to (filter, QoS); with version 5 no retained message is sent, but for those of $SYS."""
    body = struct.pack(">H", packet_id) + (b"\0" if version == 5 else b"")
    for name, qos in filters:
        handling = 0 if version == 4 or name.startswith("$SYS/") else 2 << 4
        body += _text(name) + bytes((qos | handling,))
    return _packet(8, 2, body)


def disconnect() -> bytes:
    """DISCONNECT (3.14), normal."""
    return _packet(14, 0, b"")


def parse(data: bytes) -> tuple[Packet | None, bytes]:
    """The first packet, None where it is not whole yet, and what is left. Malformed."""
    length, at = 0, 1
    for shift in (0, 7, 14, 21):
        if at >= len(data):
            return None, data
        length |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            break
    else:
        raise Malformed("a length of more than four bytes")
    if length > PACKET_BYTES:
        raise Malformed(f"a packet of {length} bytes")
    if len(data) < at + length:
        return None, data
    return Packet(data[0] >> 4, data[0] & 0x0F, data[at : at + length]), data[at + length :]


def connack(body: bytes, *, version: int) -> Connack:
    """What follows the length of a CONNACK. Malformed."""
    if len(body) < 2:
        raise Malformed("a CONNACK of less than two bytes")
    told = _properties(body[2:]) if version == 5 and len(body) > 2 else {}
    return Connack(body[1], told.get(_RECEIVE_MAXIMUM), told.get(_MAXIMUM_QOS), told.get(_MAXIMUM_PACKET))


def suback(body: bytes, *, version: int) -> tuple[int, list[int]]:
    """Packet id and the code for each filter: a QoS, or 0x80 and more where it is refused. Malformed."""
    if len(body) < 3:
        raise Malformed("a SUBACK of less than three bytes")
    rest = body[2:]
    if version == 5:
        size, at = _variable(rest, 0)
        rest = rest[at + size :]
    return int.from_bytes(body[:2]), list(rest)


def publish(packet: Packet, *, version: int) -> tuple[str, bytes]:
    """Topic and payload of a PUBLISH. Malformed."""
    body = packet.body
    if len(body) < 2 or len(body) < 2 + int.from_bytes(body[:2]):
        raise Malformed("a PUBLISH without its topic")
    at = 2 + int.from_bytes(body[:2])
    topic = body[2:at].decode("utf-8", "replace")
    at += 2 if packet.flags & 0x06 else 0
    if version == 5:
        size, start = _variable(body, at)
        at = start + size
    return topic, body[at:]


def _properties(data: bytes) -> dict[int, int]:
    """The numbers among the properties (2.2.2.2)."""
    size, at = _variable(data, 0)
    end, found = at + size, dict[int, int]()
    if end > len(data):
        raise Malformed("properties that are cut off")
    while at < end:
        name, at = _variable(data, at)
        if name in _INT:
            found[name] = int.from_bytes(data[at : at + _INT[name]])
            at += _INT[name]
        elif name == 11:
            _, at = _variable(data, at)
        elif name in _TEXT or name in {9, 22}:
            at += 2 + int.from_bytes(data[at : at + 2])
        elif name == 38:
            for _ in range(2):
                at += 2 + int.from_bytes(data[at : at + 2])
        else:
            raise Malformed(f"a property {name}, which there is not")
    return found


def _variable(data: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer (1.5.5), and where it ends."""
    value = 0
    for shift in (0, 7, 14, 21):
        if at >= len(data):
            raise Malformed("a number that is cut off")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
    raise Malformed("a number of more than four bytes")


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def _packet(kind: int, flags: int, body: bytes) -> bytes:
    length, left = bytearray(), len(body)
    while True:
        left, low = left >> 7, left & 0x7F
        length.append(low | (0x80 if left else 0))
        if not left:
            return bytes((kind << 4 | flags,)) + bytes(length) + body
