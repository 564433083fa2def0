"""Records to the system's journal with fields of their own, over its native protocol.

One datagram a record, of `NAME=value` lines; a value of several lines goes as its name, its length in 64 bits and its
bytes. What no datagram can hold is written into a sealed memory file whose descriptor is sent in place of it
(systemd's Native Journal Protocol). Nothing here waits: the event loop logs too.
"""

import errno
import fcntl
import logging
import os
import select
import socket
import struct
from array import array
from collections.abc import Iterable
from typing import Final

from gateway.core import limits
from gateway.logs.lines import OneLine
from gateway.logs.told import told_of

SOCKET: Final = "/run/systemd/journal/socket"
IDENTIFIER: Final = "fieldgate"
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_TOO_LONG = (errno.EMSGSIZE, errno.ENOBUFS)


def is_ours(stream: str, descriptor: int) -> bool:
    """Whether a descriptor leads to the journal: `stream` is JOURNAL_STREAM, device and inode (systemd.exec(5))."""
    device, _, inode = stream.partition(":")
    try:
        found = os.fstat(descriptor)
        return (int(device), int(inode)) == (found.st_dev, found.st_ino)
    except (OSError, ValueError):
        return False


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """The fields as the journal takes them. Names are ours: capitals, digits and _."""
    parts: list[bytes] = []
    for name, value in fields:
        data = value.encode("utf-8", "backslashreplace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


class JournalHandler(logging.Handler):
    """Sends each record to the journal; where that cannot take it, its line to the descriptor `aside` (stderr)."""

    def __init__(self, lines: OneLine, *, path: str = SOCKET, aside: int = 2) -> None:
        super().__init__()
        self._lines = lines
        self._path = path
        self._aside = aside
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self.lost = 0  # records that neither could take

    def emit(self, record: logging.LogRecord) -> None:
        """Sends it. Never waits and never raises."""
        try:
            text = self._lines.text(record)[: limits.LOG_LINE_CHARS]
            if not (self._send(encode(_fields(record, text))) or self._write_aside(self._lines.format(record))):
                self.lost += 1
        except Exception:  # noqa: BLE001 -- whoever logs must not be harmed by it
            self.lost += 1

    def _send(self, data: bytes) -> bool:
        try:
            self._socket.sendto(data, self._path)
        except OSError as error:
            return error.errno in _TOO_LONG and self._send_file(data)
        return True

    def _send_file(self, data: bytes) -> bool:
        descriptor = os.memfd_create(IDENTIFIER, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))]
            self._socket.sendmsg([], rights, 0, self._path)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _write_aside(self, line: str) -> bool:
        """True where it was taken at once. What can be written to has room for PIPE_BUF bytes (pipe(7))."""
        poll = select.poll()
        poll.register(self._aside, select.POLLOUT)
        if not any(event & select.POLLOUT for _, event in poll.poll(0)):
            return False
        data = line.encode("utf-8", "backslashreplace")[: select.PIPE_BUF - 1]
        os.write(self._aside, data + b"\n")
        return True

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()
        super().close()


def _fields(record: logging.LogRecord, text: str) -> Iterable[tuple[str, str]]:
    yield "MESSAGE", text
    yield "PRIORITY", str(next((number for level, number in _PRIORITIES if record.levelno >= level), 7))
    yield "SYSLOG_IDENTIFIER", IDENTIFIER
    yield "LOGGER", record.name
    yield "CODE_FILE", record.pathname
    yield "CODE_LINE", str(record.lineno)
    yield "CODE_FUNC", record.funcName or ""
    if (told := told_of(record)) is not None:
        yield "MESSAGE_ID", told.message_id
        yield "FIELDGATE_CONDITION", told.condition
        yield "FIELDGATE_SEVERITY", told.severity
        yield "FIELDGATE_HOLDS", str(int(told.holds))
        for name, value in told.values.items():
            yield field(name), value


def field(name: str) -> str:
    """The field that a value of a condition's templates is sent as: FIELDGATE_SUBJECT is there always."""
    return f"FIELDGATE_{name.upper()}"
