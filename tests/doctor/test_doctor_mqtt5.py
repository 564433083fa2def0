"""The packets by which a broker is asked: what is made parses again; what is received is bounded, and never a bug."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.doctor import mqtt5
from gateway.doctor.mqtt5 import Connack, Malformed, Packet


def whole(data: bytes) -> Packet:
    packet, rest = mqtt5.parse(data)
    assert packet is not None
    assert rest == b""
    return packet


def test_a_connect_of_each_version() -> None:
    assert mqtt5.connect("a", "", "", version=4) == b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x1e\x00\x01a"
    assert (
        mqtt5.connect("a", "u", "p", version=5)
        == b"\x10\x14\x00\x04MQTT\x05\xc2\x00\x1e\x00\x00\x01a\x00\x01u\x00\x01p"
    )
    assert whole(mqtt5.connect("a", "u", "", version=5)).body[7] == 0x82


def test_subscriptions_want_no_retained_message_but_of_the_broker_itself() -> None:
    body = whole(mqtt5.subscribe(7, [("a/b", 1), ("$SYS/x", 0)], version=5)).body
    assert body == b"\x00\x07\x00\x00\x03a/b\x21\x00\x06$SYS/x\x00"
    assert whole(mqtt5.subscribe(7, [("a/b", 1)], version=4)).body == b"\x00\x07\x00\x03a/b\x01"


@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_packet_is_found_wherever_it_is_cut(payload: bytes, cut: int) -> None:
    data = mqtt5._packet(3, 2, payload)
    head, tail = data[:cut], data[cut:]
    first, rest = mqtt5.parse(head)
    if first is None:
        first, rest = mqtt5.parse(rest + tail)
    assert first == Packet(3, 2, payload)


def test_limits_of_a_connack() -> None:
    parts = (b"\x21\x00\x14", b"\x24\x01", b"\x27\x00\x00\x03\xe8", b"\x12\x00\x02id", b"\x26\x00\x01k\x00\x01v")
    properties = b"".join(parts) + b"\x0b\x80\x01"
    body = b"\x00\x00" + bytes((len(properties),)) + properties
    assert mqtt5.connack(body, version=5) == Connack(0, 20, 1, 1000)
    assert mqtt5.connack(b"\x00\x05", version=4) == Connack(5)
    assert mqtt5.connack(b"\x00\x86\x00", version=5) == Connack(0x86)


def test_grants_and_messages() -> None:
    assert mqtt5.suback(b"\x00\x01\x00\x01\x87", version=5) == (1, [1, 0x87])
    assert mqtt5.suback(b"\x00\x01\x01\x80", version=4) == (1, [1, 0x80])
    assert mqtt5.publish(Packet(3, 2, b"\x00\x01t\x00\x05\x00pay"), version=5) == ("t", b"pay")
    assert mqtt5.publish(Packet(3, 0, b"\x00\x01tpay"), version=4) == ("t", b"pay")


@pytest.mark.parametrize("data", [b"\x20\xff\xff\xff\xff\x01", b"\x20\xff\xff\xff\x7f", b"\x20\x81\x80\x10"])
def test_lengths_that_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        mqtt5.parse(data)


def test_a_packet_at_the_limit_is_waited_for() -> None:
    assert mqtt5.parse(b"\x20\x80\x80\x10")[0] is None


@given(st.binary(max_size=64), st.sampled_from([4, 5]), st.integers(0, 15))
def test_any_bytes_are_read_or_refused(data: bytes, version: int, flags: int) -> None:
    for read in (
        lambda: mqtt5.parse(data),
        lambda: mqtt5.connack(data, version=version),
        lambda: mqtt5.suback(data, version=version),
        lambda: mqtt5.publish(Packet(3, flags, data), version=version),
    ):
        try:
            read()
        except Malformed as error:
            assert str(error)
