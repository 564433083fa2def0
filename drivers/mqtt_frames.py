"""MQTT 3.1.1 packets out of a byte stream. Pure: PUBLISH is taken apart here, every other packet is given on as it is.

Two reasons for a parser of our own beside paho's: a packet that is too long is skipped and told, where paho would hold
up to 256 MiB of it; and it costs a third.
"""

from typing import NamedTuple

from drivers.limits import EXAMPLE_BYTES, MQTT_PACKET_BYTES

PUBLISH = 0x30
DUP, QOS, QOS1, QOS2, RETAIN = 0x08, 0x06, 0x02, 0x04, 0x01


class ProtocolError(Exception):
    """The stream is not what a broker of MQTT 3.1.1 sends to this client. `cure` is for a person."""

    def __init__(self, what: str, cure: str = "Is this an MQTT broker's port?") -> None:
        super().__init__(what)
        self.cure = cure


class Publish(NamedTuple):
    """A PUBLISH (section 3.3). `packet_id` is as it came, b"" with QoS 0. `size` is over len(payload) where that was
    cut off.
    """

    flags: int
    topic: bytes
    packet_id: bytes
    payload: bytes
    size: int


Packet = Publish | bytes
_new = tuple.__new__  # a NamedTuple made in half the time of its call


class Packets:
    """One object for one connection: `feed` it what arrived, then `take` until nothing is `left`.

    It holds at most one packet of `limit` bytes and what came with its end.
    """

    def __init__(self, limit: int = MQTT_PACKET_BYTES) -> None:
        self.limit = limit  # may change between two packets
        self._chunks: list[bytes] = []  # of a packet whose end is missing
        self._have = 0
        self._need = 2  # bytes without which there is nothing to look at
        self._skip = 0  # bytes still to come of a packet that is too long
        self._data = b""
        self._at = 0
        self._error: ProtocolError | None = None
        self.left = False  # whether `take` may have more to give

    def feed(self, data: bytes) -> None:
        """More of the stream. Only where nothing is left."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        if not data:
            return
        self._chunks.append(data)
        self._have += len(data)
        if self._have >= self._need:
            self._data = data if self._have == len(data) else b"".join(self._chunks)
            self._at = 0
            self.left = True

    def take(self, most: int) -> list[Packet]:
        """The next packets, at most so many. ProtocolError where there can be none: the stream is of no more use then.

        What came before that is given first.
        """
        packets: list[Packet] = []
        try:
            if self._error is not None:
                raise self._error
            if self.left:
                self._split(packets, most)
        except ProtocolError as error:
            if not packets:
                raise
            self._error = error
        return packets

    def _split(self, packets: list[Packet], most: int) -> None:
        data, at, limit = self._data, self._at, self.limit
        end = len(data)
        append, publish = packets.append, _publish
        need = 2
        while end - at >= 2:
            first, size, body = data[at], data[at + 1], at + 2
            if size > 127:
                size, body = _remaining_length(data, at)
                if not body:
                    need = end - at + 1
                    break
            stop = body + (size if size < limit else limit)
            if stop > end:
                need = stop - at
                break
            if most <= 0:
                self._at = at
                return
            if first & 0xF0 == PUBLISH:
                append(publish(first, data, body, stop, size))
            elif size > limit:
                raise ProtocolError(f"a packet of type {first >> 4} of {size} bytes")
            else:
                append(data[at:stop])
            most -= 1
            at = body + size
        self._need = need
        self._skip = max(at - end, 0)
        self._chunks = [data[at:]] if at < end else []
        self._have = max(end - at, 0)
        self._data = b""
        self.left = False


def _remaining_length(data: bytes, at: int) -> tuple[int, int]:
    """Section 2.2.3: the length, and where the packet's rest begins; that is 0 where more bytes are needed."""
    size = 0
    for place, byte in enumerate(data[at + 1 : at + 5]):
        size |= (byte & 0x7F) << (7 * place)
        if byte < 128:
            return size, at + 2 + place
    if len(data) - at >= 5:
        raise ProtocolError("a remaining length of more than 4 bytes")
    return 0, 0


def _publish(first: int, data: bytes, body: int, stop: int, size: int) -> Publish:
    """Section 3.3. `size` is the packet's remaining length; where that goes beyond `stop`, the payload is cut off."""
    topic = body + 2
    rest = topic + (data[body] << 8 | data[body + 1]) if stop >= topic else stop + 1
    qos = first & QOS
    end = rest + 2 if qos else rest
    if end > stop or rest == topic or qos == QOS:
        raise ProtocolError("a PUBLISH that is none")
    if qos == QOS2:
        raise ProtocolError(
            "a message with QoS 2, to which this gateway never subscribes: another program has used its client id",
            "Set a client_id that nobody else uses",
        )
    packet_id = data[rest:end]
    if packet_id == b"\0\0":
        raise ProtocolError("a PUBLISH with packet id 0")
    length = body + size - end
    payload = data[end:stop] if length == stop - end else data[end : min(end + EXAMPLE_BYTES, stop)]
    return _new(Publish, (first, data[topic:rest], packet_id, payload, length))
