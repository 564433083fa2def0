"""The service manager's end of sd_notify(3): what a daemon tells it, message by message."""

import asyncio
import socket
from pathlib import Path

from fakes.field import PATIENCE_S


class ServiceManager:
    """Listens at `address`, as NOTIFY_SOCKET has it: a path, or @ and the name of an abstract socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(f"\0{address[1:]}" if address[0] == "@" else address)
        self._sock.setblocking(False)
        self.heard: list[dict[str, str]] = []

    def close(self) -> None:
        self._sock.close()
        if self.address[0] != "@":
            Path(self.address).unlink()

    def env(self, watchdog_s: float) -> dict[str, str]:
        """What systemd sets for a service."""
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(round(watchdog_s * 1_000_000))}

    def listen(self) -> list[dict[str, str]]:
        """What has come and was not looked at yet."""
        new = []
        while (message := self._next()) is not None:
            new.append(message)
        return new

    def _next(self) -> dict[str, str] | None:
        try:
            message = self._sock.recv(4_096).decode()
        except BlockingIOError:
            return None
        self.heard.append(dict(line.split("=", 1) for line in message.split("\n")))
        return self.heard[-1]

    async def hears(self, name: str, value: str = "1") -> dict[str, str]:
        """Waits for a message that was not looked at yet; what comes after it is left for the next look."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = self._next()
                if message is None:
                    await asyncio.sleep(0.02)
                elif message.get(name) == value:
                    return message

    def told(self, name: str) -> list[str]:
        """The values of all messages of that name."""
        self.listen()
        return [message[name] for message in self.heard if name in message]
