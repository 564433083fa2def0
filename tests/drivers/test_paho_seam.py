"""What drivers/paho_seam.py relies on in paho-mqtt. A release that breaks one of these must not be taken as it is."""

from collections.abc import Sequence

import pytest
from fakes.mqtt_scripted import connack, packet, suback
from paho.mqtt.client import Client

from drivers.paho_seam import REFUSED, PahoSession


class Heard:
    def __init__(self, *, user: str = "", password: str = "", keepalive_s: int = 60) -> None:
        self.events: list[object] = []
        self.session = PahoSession(
            "gateway-1",
            user=user,
            password=password,
            keepalive_s=keepalive_s,
            on_connack=lambda present, refusal: self.events.append(("connack", present, refusal)),
            on_suback=self._suback,
            on_unsuback=lambda packet_id: self.events.append(("unsuback", packet_id)),
            on_lost=lambda why: self.events.append(("lost", why)),
        )

    def _suback(self, packet_id: int, codes: Sequence[int]) -> None:
        self.events.append(("suback", packet_id, list(codes)))


def connected() -> Heard:
    heard = Heard()
    heard.session.connect()
    heard.session.take()
    heard.session.receive(connack())
    heard.events.clear()
    return heard


def test_paho_asks_create_socket_for_its_socket() -> None:
    assert callable(getattr(Client, "_create_socket", None)), "paho has renamed Client._create_socket"


def test_connect_is_3_1_1_with_a_persistent_session_and_leaves_at_once() -> None:
    heard = Heard(user="u", password="p", keepalive_s=300)
    heard.session.connect()
    variable = b"\0\4MQTT\4" + bytes([0x80 | 0x40]) + b"\x01\x2c"  # user, password; clean session 0; 300 s
    assert heard.session.take() == packet(0x10, variable + b"\0\x09gateway-1" + b"\0\1u" + b"\0\1p")
    assert heard.session.take() == b""


@pytest.mark.parametrize("present", [True, False])
def test_connack(present: bool) -> None:
    heard = Heard()
    heard.session.connect()
    heard.session.receive(connack(present))
    assert heard.events == [("connack", present, "")]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (2, "Client identifier not valid"),
        (3, "Server unavailable"),
        (4, "Bad user name or password"),
        (5, "Not authorized"),
    ],
)
def test_refusals_come_in_words_that_mqtt_connect_knows(code: int, words: str) -> None:
    heard = Heard()
    heard.session.connect()
    heard.session.receive(connack(False, code))
    assert heard.events[0] == ("connack", False, words)


def test_another_protocol_version_is_not_tried() -> None:
    heard = Heard()
    heard.session.connect()
    heard.session.take()
    heard.session.receive(connack(False, 1))
    assert heard.events == [("lost", "Protocol error")]
    assert heard.session.take() == b""


def test_subscribe_and_unsubscribe_leave_at_once_and_are_answered() -> None:
    heard = connected()
    first = heard.session.subscribe([("a/#", 1), ("b", 0)])
    assert heard.session.take() == packet(0x82, first.to_bytes(2, "big") + b"\0\3a/#\1" + b"\0\1b\0")
    second = heard.session.unsubscribe(["c"])
    assert heard.session.take() == packet(0xA2, second.to_bytes(2, "big") + b"\0\1c")
    assert first != second
    heard.session.receive(suback(first, REFUSED, 0) + packet(0xB0, second.to_bytes(2, "big")))
    assert heard.events == [("suback", first, [REFUSED, 0]), ("unsuback", second)]


def test_what_is_no_packet_loses_the_session() -> None:
    for broken in (packet(0x90, b"\0"), packet(0x00, b""), packet(0x90, b"\0\1\5")):
        heard = connected()
        heard.session.receive(broken)
        assert heard.events == [("lost", "Protocol error")]


def test_disconnect_leaves_at_once_and_is_no_loss() -> None:
    heard = connected()
    heard.session.disconnect()
    assert heard.session.take() == b"\xe0\x00"
    assert heard.events == []


def test_a_ping_is_made_when_it_is_due_and_missed_when_it_is_not_answered() -> None:
    """paho's keepalive, with its clock turned forward."""
    heard = connected()
    heard.session.tick()
    assert heard.session.take() == b""
    client = heard.session._client
    client._last_msg_out -= 61
    heard.session.tick()
    assert heard.session.take() == b"\xc0\x00"
    heard.session.receive(b"\xd0\x00")
    assert client._ping_t == 0
    client._last_msg_out -= 61
    heard.session.tick()
    client._ping_t -= 61
    heard.session.tick()
    assert heard.events == [("lost", "Keep alive timeout")]
