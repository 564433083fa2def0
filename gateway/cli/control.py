"""Asking the running gateway over its control socket: JSON over HTTP over a UNIX socket that only its user may open."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from gateway import config
from gateway.errors import ConfigError, UnreachableError
from gateway.settings import CONTROL_SOCKET, Settings

TIMEOUT_S = 60.0  # a reload waits for what it starts
_ANSWER_BYTES = 8 * 1024 * 1024

Answer = dict[str, Any]


def socket_of(settings: Settings) -> Path:
    """Where the gateway of a configuration listens."""
    return Path(settings.gateway.data_dir) / CONTROL_SOCKET


def socket_at(config_file: Path) -> Path:
    """Where the gateway of a configuration listens, also while the file is wrong elsewhere. ConfigError where it is not
    even known where its data lies.
    """
    try:
        return socket_of(config.load(config_file))
    except ConfigError:
        folder = config.data_dir(config_file)
        if folder is None:
            raise
        return folder / CONTROL_SOCKET


def call(path: Path, route: str, method: str = "GET", *, timeout_s: float = TIMEOUT_S) -> Answer:
    """What the gateway behind a control socket answers. UnreachableError where nothing that is one answers."""
    connection = _Control(path, timeout_s)
    try:
        connection.request(method, route, headers={"Host": "control"})
        answer = connection.getresponse()
        data = answer.read(_ANSWER_BYTES + 1)
    except (FileNotFoundError, ConnectionRefusedError) as exc:
        cure = "Start it: systemctl start fieldgate, or fieldgate run"
        raise UnreachableError("the gateway is not running: nothing answers", where=str(path), cure=cure) from exc
    except PermissionError as exc:
        cure = "Ask as the user that the gateway runs as, or with sudo"
        raise UnreachableError("this user may not ask the gateway", where=str(path), cure=cure) from exc
    except (OSError, http.client.HTTPException) as exc:
        what = f"the gateway does not answer: {exc or type(exc).__name__}"
        raise UnreachableError(what, where=str(path), cure="Look at its log: journalctl -u fieldgate") from exc
    finally:
        connection.close()
    told = _parse(data) if answer.status == http.client.OK and len(data) <= _ANSWER_BYTES else None
    if told is None:
        raise strange(path, answer.status)
    return told


def strange(path: Path, status: int = http.client.OK) -> UnreachableError:
    """Something else answers there, or another version."""
    what = f"what answers is not a gateway of this version (status {status})"
    return UnreachableError(what, where=str(path), cure="Restart the gateway after an upgrade")


def _parse(data: bytes) -> Answer | None:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


class _Control(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("control", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connects to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
