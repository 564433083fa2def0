"""Keeps each upstream in step: a session per node or witness as a state machine without I/O, and the client of it."""

from gateway.upstream.client import Upstream
from gateway.upstream.witness import WitnessUpstream

__all__ = ["Upstream", "WitnessUpstream"]
