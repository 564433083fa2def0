"""What a driver and the gateway say to each other. A driver is handed one function, `Emit`, and nothing else."""

from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

Value = float | int | str | bool | bytes
Record = tuple[str, str | None, Value]
"""Name, SenML unit (RFC 8428 section 12.1) or None, value."""

UNSTABLE, STALE, OUT_OF_RANGE, REPLAYED = 2, 4, 8, 16
"""Quality bits of a reading (docs/format.md, section 2); the gateway itself adds 1, "clock not synchronised"."""


class Delivery(NamedTuple):
    """One MQTT delivery, to tell a redelivery from a new message. `digest` is over topic and payload."""

    broker: str
    packet_id: int
    digest: bytes
    dup: bool


class Sample(NamedTuple):
    """One message of one source. `time` is the device's own, Unix seconds, only where its driver trusts it."""

    source: str
    records: Sequence[Record]
    payload: bytes
    time: float | None = None
    quality: int = 0
    delivery: Delivery | None = None  # samples of one message share one object
    shared: bool = False  # the payload belongs to several sources: kept with none of them


class Reject(NamedTuple):
    """A message that became no sample: counted for its source by `reason` (a short snake_case word).

    Its delivery, where it has one, supersedes an older message of the same packet id.
    """

    source: str
    reason: str
    example: bytes
    detail: str = ""
    delivery: Delivery | None = None


class Heard(NamedTuple):
    """A message with QoS 1 that becomes no sample and no reject: its delivery supersedes an older one all the same."""

    delivery: Delivery


_NONE: Mapping[str, str] = MappingProxyType({})


class Link(NamedTuple):
    """The state of what the driver speaks to, for status and for events, in words a technician reads.

    condition: what is the matter, one of drivers/conditions.py with its values; empty: nothing, or none of those.
    """

    up: bool
    detail: str
    sources: tuple[str, ...] = ()  # none: all of the driver's
    cure: str = ""  # what a person can do; empty: it mends itself
    condition: str = ""
    values: Mapping[str, str] = _NONE


class SessionLost(NamedTuple):
    """The broker no longer knows the session: its packet ids begin anew, remembered deliveries are void."""

    broker: str


class Dropped(NamedTuple):
    """Messages that the driver had to throw away, counted for their source by `reason` (a short snake_case word).

    Nobody else repeats them: whatever can be held back or repeated is not dropped.
    """

    source: str
    messages: int
    reason: str


Item = Sample | Reject | Heard | Link | SessionLost | Dropped
Emit = Callable[[Sequence[Item]], "Future[None]"]
"""Hands items over, in order. The future completes when all of them are durable; only then may the driver acknowledge.
It never fails: if durability is lost, the process ends. A driver bounds what it handed over before."""


class DriverError(Exception):
    """The world failed (no device, no broker). The driver is run again after a pause. `cure` is for a person.

    condition, values: as in Link.
    """

    def __init__(self, what: str, cure: str = "", condition: str = "", **values: str) -> None:
        super().__init__(what)
        self.what = what
        self.cure = cure
        self.condition = condition
        self.values = values


class Driver(Protocol):
    """`run` speaks the protocol until cancelled, or raises DriverError; on cancellation it lets go of its device."""

    name: str
    sources: Mapping[str, object]

    async def run(self, emit: Emit) -> None:
        """Until cancelled, or until there is nothing more to come."""


@runtime_checkable
class Changing(Driver, Protocol):
    """A Driver that can serve other sources while it runs."""

    async def take_over(self, other: Driver) -> bool:
        """Serves the sources of `other` from now on, as one that was made for them; what is the same is not touched.

        `other` has the same name, has never run, and is of no use afterwards. False, and nothing is done, where only
        another driver can serve them.
        """
        ...
