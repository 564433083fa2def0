"""paho-mqtt as a protocol engine without a socket: packets in, bytes out. All that knows paho's inside is here.

paho keeps connecting, authenticating, subscribing and keeping alive; it is given every packet but PUBLISH, and it
never sees the network: its "socket" is two buffers. The one private part is `Client._create_socket`, which `connect`
calls for a connected socket; tests/drivers/test_paho_seam.py fails when a release changes that.
"""

from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

REFUSED = 0x80
"""The return code of a SUBACK for a filter that the broker does not grant (section 3.9.3)."""


class _Pipe:
    """What paho takes for a socket."""

    def __init__(self) -> None:
        self.incoming = bytearray()
        self.outgoing = bytearray()

    def recv(self, size: int) -> bytes:
        if not self.incoming:
            raise BlockingIOError
        data = bytes(self.incoming[:size])
        del self.incoming[:size]
        return data

    def send(self, data: bytes | bytearray) -> int:
        self.outgoing += data
        return len(data)

    def setblocking(self, flag: bool) -> None:
        """Never blocks."""

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        self.incoming.clear()


class _Client(Client):
    def __init__(self, pipe: _Pipe, client_id: str) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self._pipe = pipe

    def _create_socket(self) -> Any:
        return self._pipe


class PahoSession:
    """One connection of a persistent session: `connect`, then `receive` what arrives and send what `take` gives.

    on_connack(session present, reason; "" where accepted), on_suback(packet id, granted QoS or 0x80 for each filter),
    on_unsuback(packet id), on_lost(why): paho wants the connection closed. They are called from `receive` and `tick`.
    """

    def __init__(
        self,
        client_id: str,
        *,
        user: str,
        password: str,
        keepalive_s: int,
        on_connack: Callable[[bool, str], None],
        on_suback: Callable[[int, Sequence[int]], None],
        on_unsuback: Callable[[int], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._pipe = _Pipe()
        self._keepalive_s = keepalive_s
        self._client = client = _Client(self._pipe, client_id)
        if user:
            client.username_pw_set(user, password or None)

        def connack(_: Client, __: Any, flags: ConnectFlags, reason: ReasonCode, ___: Properties | None) -> None:
            on_connack(flags.session_present, reason.getName() if reason.is_failure else "")

        def suback(_: Client, __: Any, packet_id: int, codes: list[ReasonCode], ___: Properties | None) -> None:
            on_suback(packet_id, [code.value for code in codes])

        def unsuback(_: Client, __: Any, packet_id: int, ___: list[ReasonCode], ____: Properties | None) -> None:
            on_unsuback(packet_id)

        def disconnect(_: Client, __: Any, ___: DisconnectFlags, reason: ReasonCode, ____: Properties | None) -> None:
            on_lost(reason.getName())

        client.on_connect, client.on_subscribe = connack, suback
        client.on_unsubscribe, client.on_disconnect = unsuback, disconnect

    def connect(self) -> None:
        """Makes the CONNECT."""
        self._client.connect("broker", keepalive=self._keepalive_s)

    def receive(self, packet: bytes) -> None:
        """One whole packet that is no PUBLISH."""
        self._pipe.incoming += packet
        while self._pipe.incoming and self._client.loop_read() == MQTTErrorCode.MQTT_ERR_SUCCESS:
            pass
        self._client.loop_write()

    def subscribe(self, filters: Sequence[tuple[str, int]]) -> int:
        """Makes a SUBSCRIBE of (filter, QoS); its packet id. ValueError for a filter that is none."""
        return self._sent(self._client.subscribe(list(filters)))

    def unsubscribe(self, filters: Sequence[str]) -> int:
        """Makes an UNSUBSCRIBE; its packet id."""
        return self._sent(self._client.unsubscribe(list(filters)))

    def publish(self, topic: str, payload: bytes) -> None:
        """Makes a PUBLISH with QoS 0. ValueError for a topic that is none."""
        self._client.publish(topic, payload, qos=0)
        self._client.loop_write()

    def _sent(self, result: tuple[MQTTErrorCode, int | None]) -> int:
        self._client.loop_write()
        code, packet_id = result
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or packet_id is None:
            raise ValueError(f"paho refuses: {code.name}")
        return packet_id

    def tick(self) -> None:
        """Once a second or so: makes a PINGREQ when it is due, and tells of one that was never answered."""
        self._client.loop_misc()
        self._client.loop_write()

    def disconnect(self) -> None:
        """Makes the DISCONNECT. The broker keeps the session."""
        self._client.on_disconnect = None
        self._client.disconnect()
        self._client.loop_write()

    def take(self) -> bytes:
        """What is to be sent, in whole packets."""
        data = bytes(self._pipe.outgoing)
        self._pipe.outgoing.clear()
        return data
