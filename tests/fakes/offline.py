"""`fieldgate verify` on a machine without network, and with nothing installed but what the verifier has to have."""

import subprocess
import sys
from pathlib import Path

from fakes.command import PATIENCE_S, Done

_OFFLINE = """
import socket, sys
def refuse(*_, **__):
    raise OSError("there is no network")
for name in ("connect", "connect_ex", "sendto", "bind"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = refuse
for name in ("cryptography", "coincurve", "gmssl", "aiohttp", "rfc3161_client"):
    sys.modules[name] = None
from gateway.cli import main
main(sys.argv[1:])
"""


def verify(*args: str, cwd: Path) -> Done:
    """In a process of its own."""
    command = [sys.executable, "-c", _OFFLINE, "verify", *args]
    done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=PATIENCE_S, check=False)
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())
