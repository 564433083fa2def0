"""One connection of a persistent MQTT session on the event loop: a socket, what it brings, what goes into it."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import NamedTuple

from drivers.limits import MQTT_WAKE_BYTES, READ_BYTES
from drivers.mqtt_connect import Broker
from drivers.mqtt_frames import Packets, ProtocolError, Publish
from drivers.paho_seam import PahoSession


class Lost(NamedTuple):
    """Why a connection ended, and the cure. by_broker: it was closed at the other end, without a word."""

    why: str
    cure: str = "Check the broker and the network"
    by_broker: bool = False


class Connection:
    """Owner of a socket. It hands over what arrives with one wake-up, in order; `connack` and `lost` come to be known.

    It is its own generation: an acknowledgement belongs to the connection on which its message came, and to no other.
    """

    def __init__(
        self,
        sock: socket.socket,
        broker: Broker,
        *,
        on_session: Callable[[bool], None],
        on_publishes: Callable[["Connection", list[Publish]], None],
        on_suback: Callable[[int, Sequence[int]], None],
        on_unsuback: Callable[[int], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._packets = Packets()
        self._out = bytearray()
        self._writing = self._paused = self._closed = False
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

    def start(self) -> None:
        """Sends the CONNECT and listens."""
        self._loop.add_reader(self._sock, self._readable)
        self.session.connect()
        self.flush()

    def _connack(self, present: bool, refusal: str) -> None:
        if not refusal:
            self._on_session(present)
        if not self.connack.done():
            self.connack.set_result(refusal)

    # Reading

    @property
    def paused(self) -> bool:
        """Whether nothing is read."""
        return self._paused

    def pause(self) -> None:
        """Reads nothing more; the broker comes to wait."""
        if not self._paused and not self._closed:
            self._paused = True
            self._loop.remove_reader(self._sock)

    def resume(self) -> None:
        """Reads on."""
        if self._paused and not self._closed:
            self._paused = False
            self._loop.add_reader(self._sock, self._readable)

    def _readable(self) -> None:
        if self._paused or self._closed:
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
        try:
            self._take(data)
        except ProtocolError as error:
            self._end(Lost(f"it sent {error}", error.cure))
        except Exception as error:  # noqa: BLE001  a bug: whoever awaits `lost` raises it
            self._end(error)
        self.flush()

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

    def _take(self, data: bytes) -> None:
        publishes: list[Publish] = []
        for packet in self._packets.feed(data):
            if isinstance(packet, Publish):
                publishes.append(packet)
            elif not self._closed:
                self.session.receive(packet)
        if publishes and not self._closed:
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
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        if isinstance(lost, Lost):
            self.lost.set_result(lost)
        else:
            self.lost.set_exception(lost)
