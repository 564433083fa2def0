"""The gateway over HTTP: the pull API for nodes, the page for people, the control socket for the command line."""

from gateway.web.server import WebServer
from gateway.web.services import Services

__all__ = ["Services", "WebServer"]
