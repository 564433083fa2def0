import contextlib
import itertools

import pytest
from fakes.mqtt_scripted import connack, packet, publish, suback
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTMessage

from drivers.limits import EXAMPLE_BYTES, MQTT_PACKET_BYTES
from drivers.mqtt_frames import DUP, RETAIN, Packet, Packets, ProtocolError, Publish
from drivers.paho_seam import PahoSession

PUBLISHES = st.builds(
    publish,
    st.text(alphabet="ab/é", min_size=1, max_size=20).map(str.encode),
    st.binary(max_size=300),
    st.integers(0, 65_535),
)
OTHERS = st.sampled_from(
    [connack(), connack(False), suback(1, 1), suback(7, 0, 128), packet(0xD0, b""), packet(0x90, b"x" * 200)]
)


def fed(packets: Packets, data: bytes, most: int = 3) -> list[Packet]:
    """What comes of `data`, taken in parts of `most`."""
    packets.feed(data)
    found: list[Packet] = []
    while packets.left:
        part = packets.take(most)
        assert len(part) <= most
        found += part
    assert packets.take(most) == []
    return found


def all_of(packets: Packets, chunks: list[bytes], most: int = 3) -> list[Packet]:
    return [one for chunk in chunks for one in fed(packets, chunk, most)]


@settings(deadline=None)
@given(st.lists(PUBLISHES | OTHERS, max_size=8), st.lists(st.integers(0, 3000)), st.integers(1, 9))
def test_any_chunking_gives_the_same_packets(stream: list[bytes], places: list[int], most: int) -> None:
    data = b"".join(stream)
    whole = fed(Packets(), data, 100)
    assert fed(Packets(), data, most) == whole
    assert len(whole) == len(stream)
    assert [one for one in whole if isinstance(one, bytes)] == [one for one in stream if one[0] & 0xF0 != 0x30]
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    assert all_of(Packets(), [data[one:two] for one, two in itertools.pairwise(edges)], most) == whole
    assert all_of(Packets(), [data[at : at + 1] for at in range(len(data))]) == whole


def _session(*, accepted: bool = True) -> PahoSession:
    session = PahoSession(
        "x", user="", password="", keepalive_s=60,
        on_connack=lambda *_: None, on_suback=lambda *_: None, on_unsuback=lambda _: None, on_lost=lambda _: None,
    )  # fmt: skip
    session.connect()
    if accepted:
        session.receive(connack())
    return session


@settings(deadline=None)
@given(st.lists(PUBLISHES, min_size=1, max_size=5), st.sampled_from([0, DUP, RETAIN, DUP | RETAIN]))
def test_paho_takes_a_publish_apart_in_the_same_way(stream: list[bytes], flags: int) -> None:
    stream = [bytes([one[0] | (flags if one[0] & 6 else flags & RETAIN)]) + one[1:] for one in stream]
    seen: list[MQTTMessage] = []
    session = _session()
    client: Client = session._client
    client.on_message = lambda _, __, message: seen.append(message)
    for one in stream:
        session.receive(one)
    ours = all_of(Packets(), [b"".join(stream)])
    theirs = [
        (m.topic.encode(), m.mid, m.payload, m.qos << 1 | m.dup << 3 | int(m.retain), len(m.payload)) for m in seen
    ]
    assert [
        (p.topic, int.from_bytes(p.packet_id, "big"), p.payload, p.flags & 15, p.size)
        for p in ours
        if isinstance(p, Publish)
    ] == theirs


def test_length_at_the_limit_and_one_past() -> None:
    head = len(b"\0\1t\0\7")
    fits = publish(b"t", b"x" * (MQTT_PACKET_BYTES - head), 7)
    (one,) = fed(Packets(), fits)
    assert isinstance(one, Publish)
    assert one.size == len(one.payload) == MQTT_PACKET_BYTES - head
    long = publish(b"t", b"y" * (MQTT_PACKET_BYTES - head + 1), 8)
    packets = Packets()
    got = all_of(packets, [long[:1000], long[1000:], publish(b"u", b"next", 9)])
    assert got == [
        Publish(0x32, b"t", b"\0\x08", b"y" * EXAMPLE_BYTES, MQTT_PACKET_BYTES - head + 1),
        Publish(0x32, b"u", b"\0\x09", b"next", 4),
    ]


@settings(deadline=None)
@given(st.lists(st.integers(0, 40_000)), st.integers(60, 400))
def test_a_packet_that_is_too_long_is_skipped_and_not_held(places: list[int], limit: int) -> None:
    data = publish(b"a/b", b"z" * 30_000, 3) + publish(b"a/b", b"ok", 4)
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    packets = Packets(limit)
    got = []
    for one, two in itertools.pairwise(edges):
        got += fed(packets, data[one:two])
        assert packets._have <= limit + 5
    payload = b"z" * min(EXAMPLE_BYTES, limit - 7)
    assert got == [Publish(0x32, b"a/b", b"\0\3", payload, 30_000), Publish(0x32, b"a/b", b"\0\4", b"ok", 2)]


BAD = [
    b"\x30\xff\xff\xff\xff\x01",  # a length of more than four bytes
    b"\x30\x00",
    b"\x30\x01\x00",
    b"\x30\x02\x00\x00",  # no topic
    b"\x30\x03\x00\x02a",  # a topic beyond the end
    b"\x32\x04\x00\x01ab",  # half a packet id
    b"\x32\x05\x00\x01a\x00\x00",  # packet id 0
    b"\x36\x05\x00\x01a\x00\x01",  # QoS 3
    b"\x34\x05\x00\x01a\x00\x01",  # QoS 2: nobody asked for it
    packet(0x20, b"x" * (MQTT_PACKET_BYTES + 1)),
]


@pytest.mark.parametrize("data", BAD)
def test_what_no_broker_sends(data: bytes) -> None:
    with pytest.raises(ProtocolError) as info:
        fed(Packets(), data)
    assert info.value.cure


@pytest.mark.parametrize("data", BAD)
@settings(deadline=None, max_examples=20)
@given(before=st.lists(PUBLISHES | OTHERS, min_size=1, max_size=5), most=st.integers(1, 9))
def test_what_came_before_it_is_not_thrown_away(data: bytes, before: list[bytes], most: int) -> None:
    """Also where it is in the same chunk; and nothing that comes after it is given."""
    packets = Packets()
    packets.feed(b"".join(before) + data + before[0])
    found: list[Packet] = []
    with pytest.raises(ProtocolError):
        while True:
            found += packets.take(most)
    assert found == fed(Packets(), b"".join(before))
    with pytest.raises(ProtocolError):
        packets.take(most)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=50) | PUBLISHES | OTHERS), st.integers(1, 9))
def test_noise_gives_packets_or_a_protocol_error(chunks: list[bytes], most: int) -> None:
    """And in any chunking the same packets before the error."""

    def outcome(chunks: list[bytes], most: int) -> tuple[list[Packet], bool]:
        packets, found = Packets(200), list[Packet]()
        try:
            for chunk in chunks:
                packets.feed(chunk)
                while packets.left:
                    found += packets.take(most)
                assert packets._have <= 205
        except ProtocolError:
            return found, True
        return found, False

    data = b"".join(chunks)
    found = outcome(chunks, most)
    assert found == outcome([data[at : at + 1] for at in range(len(data))], 1)


@settings(deadline=None)
@given(st.lists(st.integers(0, 255), min_size=2, max_size=2), st.binary(max_size=40))
def test_whatever_paho_takes_for_a_message_we_take_for_the_same(head: list[int], rest: bytes) -> None:
    """Any one packet that claims to be a PUBLISH: ours is refused where paho would have had to guess."""
    first = 0x30 | head[0] & 0x0B
    data = packet(first, rest)
    seen: list[MQTTMessage] = []
    session = _session()
    client: Client = session._client
    client.on_message = lambda _, __, message: seen.append(message)
    try:
        (ours,) = fed(Packets(), data)
    except ProtocolError:
        return
    assert isinstance(ours, Publish)
    with contextlib.suppress(UnicodeDecodeError):  # a topic that is no UTF-8 is given on by us, and rejected later
        session.receive(data)
        (theirs,) = seen
        assert (theirs.topic.encode(), theirs.payload) == (ours.topic, ours.payload)
        assert theirs.mid == int.from_bytes(ours.packet_id, "big")


@settings(deadline=None)
@given(st.integers(0, 255).filter(lambda first: first >> 4 != 3), st.binary(max_size=12), st.booleans())
def test_paho_raises_nothing_whatever_packet_it_is_given(first: int, rest: bytes, accepted: bool) -> None:
    session = _session(accepted=accepted)
    session.receive(packet(first, rest))
    session.take()
