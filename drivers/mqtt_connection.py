"""One connection of a persistent MQTT session on the event loop: a socket, what it brings, what goes into it."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import NamedTuple

from drivers.limits import MQTT_OUT_BYTES, MQTT_PACKET_BYTES, MQTT_PACKETS_A_TURN, MQTT_WAKE_BYTES, READ_BYTES
from drivers.mqtt_connect import Broker
from drivers.mqtt_frames import Packet, Packets, ProtocolError, Publish
from drivers.paho_seam import PahoSession

CONNACK = 0x20


class Lost(NamedTuple):
    """Why a connection ended, and the cure. by_broker: it was closed at the other end, without a word."""

    why: str
    cure: str = "Check the broker and the network"
    by_broker: bool = False


class Connection:
    """Owner of a socket. It hands over what arrives, in order; `connack` and `lost` come to be known.

    Of what one wake-up brings, so much is handed over in one turn of the loop; the rest in the next ones, before more
    is read.

    It is its own generation: an acknowledgement belongs to the connection on which its message came, and to no other.
    """

    def __init__(
        self,
        sock: socket.socket,
        broker: Broker,
        *,
        packet_bytes: int = MQTT_PACKET_BYTES,
        on_session: Callable[[bool], None],
        on_publishes: Callable[["Connection", list[Publish]], None],
        on_suback: Callable[[int, Sequence[int]], None],
        on_unsuback: Callable[[int], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._packets = Packets(packet_bytes)
        self._out = bytearray()
        self._listening = self._writing = self._paused = self._closed = False
        self._accepted = False  # by a CONNACK
        self._paused_at = 0.0
        self._turn: asyncio.Handle | None = None  # in which the rest is handed over
        self._on_session = on_session
        self._on_publishes = on_publishes
        self.connack: asyncio.Future[str] = self._loop.create_future()  # "" or the reason of a refusal
        self.lost: asyncio.Future[Lost] = self._loop.create_future()
        self.session = PahoSession(
            broker.client_id,
            user=broker.user,
            password=broker.password,
            keepalive_s=broker.keepalive_s,
            on_connack=self._connack,
            on_suback=on_suback,
            on_unsuback=on_unsuback,
            on_lost=lambda why: self._end(Lost(f"the session ended: {why}")),
        )

    def allow(self, packet_bytes: int) -> None:
        """From the next packet on this is the longest that is taken whole."""
        self._packets.limit = packet_bytes

    def start(self) -> None:
        """Sends the CONNECT and listens."""
        self.session.connect()
        self.flush()

    def _connack(self, present: bool, refusal: str) -> None:
        if not refusal:
            self._accepted = True
            self._on_session(present)
        if not self.connack.done():
            self.connack.set_result(refusal)

    # Reading

    @property
    def paused(self) -> bool:
        """Whether nothing is read."""
        return self._paused

    @property
    def held_s(self) -> float:
        """How long this pause has lasted; 0 where it reads. However often it is paused, what reads between is alive."""
        return self._loop.time() - self._paused_at if self._paused else 0.0

    def pause(self) -> None:
        """Reads nothing more; the broker comes to wait."""
        if not self._paused:
            self._paused, self._paused_at = True, self._loop.time()
        self._listen()

    def resume(self) -> None:
        """Reads on."""
        self._paused = False
        self._listen()

    def _listen(self) -> None:
        """Reads and hands over, or does not: neither while paused, nor from a broker that does not read itself."""
        wanted = not (self._paused or self._closed or len(self._out) > MQTT_OUT_BYTES)
        if wanted is not self._listening:
            self._listening = wanted
            if wanted:
                self._loop.add_reader(self._sock, self._readable)
                self._take_soon()
            else:
                self._loop.remove_reader(self._sock)

    def _readable(self) -> None:
        if self._packets.left or not self._listening:
            return
        try:
            data = self._receive()
        except OSError as error:
            self._end(Lost(f"it was cut: {error.strerror or error}", by_broker=isinstance(error, ConnectionError)))
            return
        if data is None:
            return
        if not data:
            self._end(Lost("the broker closed it", by_broker=True))
            return
        self._packets.feed(data)
        self._take()

    def _take(self) -> None:
        """Hands over what one turn of the loop may."""
        self._turn = None
        if not self._listening:
            return
        try:
            self._hand_over(self._packets.take(MQTT_PACKETS_A_TURN))
        except ProtocolError as error:
            self._end(Lost(f"it sent {error}", error.cure))
        except Exception as error:  # noqa: BLE001  a bug: whoever awaits `lost` raises it
            self._end(error)
        self.flush()
        self._take_soon()

    def _take_soon(self) -> None:
        if self._packets.left and self._turn is None and self._listening:
            self._turn = self._loop.call_soon(self._take)

    def _receive(self) -> bytes | None:
        """What has arrived; b"" where the broker closed, None where nothing is there."""
        try:
            data = self._sock.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        if not data or not isinstance(self._sock, ssl.SSLSocket):
            return data
        chunks, size = [data], len(data)
        # TLS gives one record at a time. READ_BYTES is over a record's 16 KiB, so no part of one is left behind unseen:
        # what is not read now is in the socket, which stays readable.
        while size < MQTT_WAKE_BYTES:
            try:
                data = self._sock.recv(READ_BYTES)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            if not data:
                break
            chunks.append(data)
            size += len(data)
        return b"".join(chunks)

    def _hand_over(self, packets: list[Packet]) -> None:
        """In their order: what came before a packet that ends the connection is not lost by it."""
        publishes: list[Publish] = []
        for packet in packets:
            if isinstance(packet, Publish):
                publishes.append(packet)
                continue
            self._hand_over_publishes(publishes)
            publishes = []
            if self._closed:
                return
            if packet[0] & 0xF0 == CONNACK and self.connack.done():
                raise ProtocolError("a second CONNACK")
            self.session.receive(packet)
        self._hand_over_publishes(publishes)

    def _hand_over_publishes(self, publishes: list[Publish]) -> None:
        if publishes and not self._closed:
            if not self._accepted:
                raise ProtocolError("a message before its CONNACK")
            self._on_publishes(self, publishes)

    # Writing

    def acknowledge(self, pubacks: bytes | bytearray) -> None:
        """Sends PUBACK packets, joined; nothing where the connection has ended."""
        if not self._closed:
            self._out += pubacks
            self.flush()

    def flush(self) -> None:
        """Sends what there is to send, as far as the socket takes it."""
        if self._closed:
            return
        self._out += self.session.take()
        try:
            while self._out:
                sent = self._sock.send(self._out)
                del self._out[:sent]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except OSError as error:
            self._end(Lost(f"it was cut: {error.strerror or error}", by_broker=isinstance(error, ConnectionError)))
            return
        if bool(self._out) != self._writing:
            self._writing = bool(self._out)
            if self._writing:
                self._loop.add_writer(self._sock, self.flush)
            else:
                self._loop.remove_writer(self._sock)
        self._listen()

    def tick(self) -> None:
        """Once a second: keeps the connection alive, and notices one that is dead."""
        if not self._closed:
            self.session.tick()
            self.flush()

    def close(self) -> None:
        """Says goodbye where it can, and lets go of the socket. The broker keeps the session."""
        if not self._closed:
            self.session.disconnect()
            self.flush()
            self._end(Lost("closed"))

    def _end(self, lost: Lost | Exception) -> None:
        if self._closed:
            return
        self._closed = True
        self._listen()
        self._loop.remove_writer(self._sock)
        self._sock.close()
        if isinstance(lost, Lost):
            self.lost.set_result(lost)
        else:
            self.lost.set_exception(lost)
