"""Asks a broker as the gateway would, under another client id and in a session that is thrown away: blocking."""

import secrets
import socket
import ssl
import time
from collections.abc import Sequence
from typing import NamedTuple

from drivers.mqtt_connect import Broker, open_socket
from gateway.doctor import mqtt5
from gateway.doctor.mqtt5 import Connack, Malformed, Packet

VERSION_TOPIC = "$SYS/broker/version"
_SYS_S = 0.5  # for a retained message that may not be there
_TRIES = (5, 4)


class Said(NamedTuple):
    """What a broker said. version: of MQTT; answer: None where it spoke none of both, with `why`.

    granted: (filter, code), 0x80 and more where it is refused. name: what $SYS tells; ends: of its certificate.
    """

    version: int = 0
    answer: Connack | None = None
    why: str = ""
    granted: Sequence[tuple[str, int]] = ()
    name: str = ""
    ends: str = ""


def ask(broker: Broker, filters: Sequence[tuple[str, int]], timeout_s: float) -> Said:
    """Blocking. DriverError where it is not reached, as the gateway's own driver tells it."""
    deadline, said = time.monotonic() + timeout_s, Said()
    for version in _TRIES:
        said = _ask(broker, filters, version, deadline)
        if said.answer is not None and said.answer.reason not in mqtt5.NO_VERSION:
            return said
    return said


def _ask(broker: Broker, filters: Sequence[tuple[str, int]], version: int, deadline: float) -> Said:
    sock = open_socket(broker, max(0.1, deadline - time.monotonic()))
    try:
        line = _Line(sock, deadline)
        ends = _ends(sock)
        client_id = f"fieldgate-doctor-{secrets.token_hex(4)}"
        line.send(mqtt5.connect(client_id, broker.user, broker.password, version=version))
        answer = mqtt5.connack(line.wait(mqtt5.CONNACK).body, version=version)
        if answer.reason:
            return Said(version, answer, ends=ends)
        granted, name = _subscribed(line, filters, version)
        line.deadline = deadline
        line.send(mqtt5.disconnect())
        return Said(version, answer, granted=granted, name=name, ends=ends)
    except (Malformed, EOFError) as error:
        return Said(version, why=str(error) or "it closed the connection")
    except TimeoutError:
        return Said(version, why="it does not answer as a broker")
    except OSError as error:
        return Said(version, why=error.strerror or str(error))
    finally:
        sock.close()


def _subscribed(line: "_Line", filters: Sequence[tuple[str, int]], version: int) -> tuple[list[tuple[str, int]], str]:
    granted: list[tuple[str, int]] = []
    if filters:
        line.send(mqtt5.subscribe(1, filters, version=version))
        _, codes = mqtt5.suback(line.wait(mqtt5.SUBACK).body, version=version)
        granted = list(zip((name for name, _ in filters), codes, strict=False))
    line.send(mqtt5.subscribe(2, [(VERSION_TOPIC, 0)], version=version))
    line.deadline = min(line.deadline, time.monotonic() + _SYS_S)
    try:
        while True:
            packet = line.wait(mqtt5.PUBLISH)
            topic, payload = mqtt5.publish(packet, version=version)
            if topic == VERSION_TOPIC:
                return granted, payload[:80].decode("utf-8", "replace")
    except (TimeoutError, EOFError, Malformed, OSError):
        return granted, ""


def _ends(sock: socket.socket) -> str:
    """When the broker's certificate ends, as OpenSSL writes it."""
    told = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
    return str(told.get("notAfter", "")) if told else ""


class _Line:
    """A socket that is read packet by packet, until the deadline."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self.deadline, self._data = sock, deadline, b""

    def send(self, data: bytes) -> None:
        self._sock.settimeout(self._left())
        self._sock.sendall(data)

    def wait(self, kind: int) -> Packet:
        """The next packet of that kind; others are passed over. TimeoutError, EOFError, Malformed."""
        while True:
            packet, self._data = mqtt5.parse(self._data)
            if packet is not None:
                if packet.kind == kind:
                    return packet
                continue
            self._sock.settimeout(self._left())
            data = self._sock.recv(1 << 16)
            if not data:
                raise EOFError
            self._data += data

    def _left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left
