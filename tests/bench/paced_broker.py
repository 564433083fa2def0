"""A broker, as a process of its own, that hands one subscriber messages at a rate and takes the time of each PUBACK.

`python paced_broker.py RATE WARMING_S SECONDS WINDOW`. It prints its port; warms up when it has a subscriber,
and prints `warm`; begins at a line on stdin; prints `ended` after the last PUBACK, and then a JSON object. With 0
seconds it sends one message, at once.
A message is due at its place in the rate whether or not the window lets it out: waiting for the window is waiting too.
"""

import json
import select
import socket
import sys
import time

from bench.home import TOPIC, payload
from fakes.mqtt_scripted import connack, packet, publish, suback

CONNECT, PUBLISH_ACK, SUBSCRIBE, PING, DISCONNECT = 0x10, 0x40, 0x82, 0xC0, 0xE0
PATIENCE_S = 60.0


class Peer:
    """The subscriber. `acked` gives (packet id, when) of every PUBACK."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.acked: list[tuple[int, float]] = []
        self.subscribed = False
        self._rest = b""

    def read(self, timeout_s: float) -> None:
        """Takes what arrives within the time, and answers it."""
        if not select.select([self.sock], [], [], max(timeout_s, 0))[0]:
            return
        data = self.sock.recv(65_536)
        now = time.monotonic()
        if not data:
            raise SystemExit("the subscriber has gone")
        data = self._rest + data
        at = 0
        while len(data) - at >= 2 and len(data) - at >= 2 + data[at + 1]:  # no packet of it has 128 bytes or more
            end = at + 2 + data[at + 1]
            self._take(data[at], data[at + 2 : end], now)
            at = end
        self._rest = data[at:]

    def _take(self, kind: int, body: bytes, now: float) -> None:
        if kind == PUBLISH_ACK:
            self.acked.append((int.from_bytes(body, "big"), now))
        elif kind == CONNECT:
            self.sock.sendall(connack(present=False))
        elif kind == SUBSCRIBE:
            self.sock.sendall(suback(int.from_bytes(body[:2], "big"), 1))
            self.subscribed = True
        elif kind == PING:
            self.sock.sendall(packet(0xD0, b""))
        elif kind == DISCONNECT:
            raise SystemExit("the subscriber has said goodbye")


def main(rate: float, warming_s: float, seconds: float, window: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        server.settimeout(PATIENCE_S)
        sock, _ = server.accept()
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(sock)
        while not peer.subscribed:
            peer.read(PATIENCE_S)
        if seconds:
            _send(peer, rate, round(rate * warming_s), window)
            print("warm", flush=True)
            sys.stdin.readline()
        messages = max(round(rate * seconds), 1)
        waits = _send(peer, rate, messages, window)
        print("ended", flush=True)
        print(json.dumps({"waits_s": waits, "first_s": peer.acked[0][1]}), flush=True)
        while True:  # keeps the connection until the subscriber ends it
            peer.read(PATIENCE_S)


def _send(peer: Peer, rate: float, messages: int, window: int) -> list[float]:
    """Seconds from when each message was due to its PUBACK."""
    due: dict[int, float] = {}
    waits: list[float] = []
    began = time.monotonic()
    sent, seen = 0, len(peer.acked)
    while len(waits) < messages:
        now = time.monotonic()
        while sent < messages and len(due) < window and began + sent / rate <= now:
            packet_id = sent % 65_535 + 1
            due[packet_id] = began + sent / rate
            peer.sock.sendall(publish(TOPIC.encode(), payload(sent), packet_id))
            sent += 1
        more = sent < messages and len(due) < window
        peer.read(began + sent / rate - time.monotonic() if more else 1.0)
        for packet_id, at in peer.acked[seen:]:
            waits.append(at - due.pop(packet_id))
        seen = len(peer.acked)
    return waits


if __name__ == "__main__":
    main(*map(float, sys.argv[1:4]), int(sys.argv[4]))
