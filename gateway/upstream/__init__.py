"""Keeps each upstream node in step: a session per node as a state machine without I/O, and the client that runs it."""

from gateway.upstream.client import Upstream

__all__ = ["Upstream"]
