"""A stream of bytes from a serial port, a TCP connection or UDP datagrams, through one codec to one source."""

import asyncio
import functools
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Annotated, Literal

from msgspec import Meta

from drivers.api import DriverError, Dropped, Emit, Item, Link, Reject, Sample
from drivers.blocking import BlockingCall
from drivers.codecs.base import Found, Refused, StreamCodec
from drivers.codecs.values import Table
from drivers.conditions import NETWORK_AWAY, NETWORK_SILENT, PORT_FAILED, PORT_SILENT
from drivers.findings import items
from drivers.limits import PENDING_BYTES, PENDING_LINES, QUIET_S, UDP_PEERS
from drivers.network import check_tcp, check_udp, open_tcp, open_udp
from drivers.pending import Pending
from drivers.port_paths import check_port
from drivers.wires import Chunk, Gone, Wire

OPEN_S = 10.0
FULL_PAUSE_S = 0.002  # between two chunks that are thrown away: half of what 4 Mbaud bring in that time
AGAIN_S, AGAIN_MOST_S = 0.1, 1.0  # between two looks for a port that is gone: doubled each time, to the second

PortPath = Annotated[str, Meta(pattern=r"^/[^\x00-\x1f\x7f]+\Z", max_length=255, description="a whole path, from / on")]
Address = Annotated[str, Meta(max_length=255, description="host:port")]
Pin = Literal["on", "off", "keep"]
Dtr = Annotated[Pin, Meta(title="The pin DTR while the port is open; keep: as the system has it")]
Rts = Annotated[Pin, Meta(title="The pin RTS, in the same manner")]
Baud = Annotated[int, Meta(ge=50, le=4_000_000, title="Bits a second, as the device has them")]
Parity = Annotated[Literal["none", "even", "odd"], Meta(title="As the device has it")]
StopBits = Annotated[Literal[1, 2], Meta(title="As the device has them")]

RECORDED: Mapping[str, object] = {"port": "/dev/null"}
"""Kind.recorded of a stream: a recorded file needs no wire."""


class StreamOptions(Table, kw_only=True, frozen=True):
    """Where a stream comes from: exactly one of port, tcp and udp. A driver's own options inherit from these."""

    port: Annotated[
        PortPath | None, Meta(title="A serial port, by a path that stays, never /dev/ttyUSB0; in its place tcp or udp")
    ] = None
    tcp: Annotated[Address | None, Meta(title="In place of port: host:port of a serial server, connected to")] = None
    udp: Annotated[
        Address | None, Meta(title="In place of port: address:port of this computer; 0.0.0.0 takes broadcasts")
    ] = None
    baud: Baud = 9_600
    bytesize: Annotated[Literal[5, 6, 7, 8], Meta(title="Data bits, as the device has them")] = 8
    parity: Parity = "none"
    stopbits: StopBits = 1
    dtr: Dtr = "on"
    rts: Rts = "on"
    first_line: Annotated[
        Literal["drop", "quiet"],
        Meta(title='After opening the rest of a line comes first: "drop" it; "quiet" keeps it after 0.5 s of silence'),
    ] = "drop"
    gap_ms: Annotated[int, Meta(ge=10, le=10_000, title="A silence that ends a frame that has no other end")] = 100
    silence_s: Annotated[
        float, Meta(ge=0, le=86_400, title="No byte for so long: the source is down, the wire opened again. 0: never")
    ] = 0

    def __post_init__(self) -> None:
        given = [name for name in ("port", "tcp", "udp") if getattr(self, name) is not None]
        if not given:
            raise ValueError("port is missing. Write port, or tcp or udp in its place")
        if len(given) > 1:
            raise ValueError(f"{given[1]} stands beside {given[0]}. Write one of port, tcp and udp")
        fault = check_port(self.port) if self.port else check_tcp(self.tcp) if self.tcp else check_udp(self.udp or "")
        if fault:
            raise ValueError(fault)


def driver_of(prefix: str, codec: Callable[..., StreamCodec]) -> Callable[..., "StreamDriver"]:
    """`Kind.driver` of a stream with that `Kind.codec`. The driver of source S is called PREFIX-S."""

    def driver(source: str, options: StreamOptions, *, now: Callable[[], float | None] = time.time) -> "StreamDriver":
        return StreamDriver(f"{prefix}-{source}", source, options, codec, now=now)

    return driver


class StreamDriver:
    """One source: one wire. A port that was unplugged, or is silent for too long, is opened again here; the end of a
    connection is a DriverError.

    Nobody can hold a device back: while too much is not yet durable, its frames are read all the same, and dropped.
    """

    def __init__(
        self,
        name: str,
        source: str,
        options: StreamOptions,
        codec: Callable[..., StreamCodec],
        *,
        now: Callable[[], float | None] = time.time,
    ) -> None:
        self.name = name
        self.sources: Mapping[str, object] = {source: options}
        self._source, self._options, self._codec, self._now = source, options, codec, now
        self._opening = BlockingCall(name)
        self._pending = Pending(PENDING_LINES, PENDING_BYTES)
        self._told = Link(up=False, detail="")
        self._silent = False
        self._pause_s = AGAIN_S

    async def run(self, emit: Emit) -> None:
        """Until cancelled. DriverError where the wire cannot be opened or has ended; a port that is gone is awaited."""
        self._told, self._silent, self._pause_s = Link(up=False, detail=""), False, AGAIN_S
        while True:
            try:
                wire = await self._open()
                try:
                    await self._read(wire, emit)
                finally:
                    wire.close()
            except Gone as gone:
                self._silent = False
                told = f"{gone.what}. {gone.cure}"
                self._tell(emit, Link(up=False, detail=told, condition=gone.condition, values=gone.values))
                await asyncio.sleep(self._pause_s)
                self._pause_s = min(2 * self._pause_s, AGAIN_MOST_S)

    async def _open(self) -> Wire:
        options = self._options
        try:
            return await self._opening.run(
                functools.partial(_open, options), timeout_s=OPEN_S, abandon=lambda wire: wire.close()
            )
        except TimeoutError as error:
            cure = "Unplug the adapter and plug it in again" if options.port else "Check the address, and the way to it"
            what = f"does not open within {OPEN_S:.0f} s"
            raise _away(options, f"{_where(options)} {what}", cure, f"it {what}") from error

    async def _read(self, wire: Wire, emit: Emit) -> None:
        """Chunk by chunk. Returns where a silence was too long and the wire should be opened again."""
        options, fd = self._options, wire.fileno()
        if not self._silent:
            self._tell(emit, Link(up=True, detail=wire.detail))
        whole = wire.datagrams or (options.first_line == "quiet" and not await _readable(fd, QUIET_S))
        codecs = _Codecs(functools.partial(self._codec, options, drop_first=not whole))
        silence_s, silent_s = options.silence_s, 0.0
        while True:
            if self._pending.full:
                await asyncio.sleep(FULL_PAUSE_S)
            wait_s = silence_s if silent_s else options.gap_ms / 1000
            if await _readable(fd, wait_s):
                self._take(wire, codecs, emit)
                silence_s, silent_s = options.silence_s, 0.0
                continue
            silent_s += wait_s
            self._hand_over(emit, codecs.gap(self._now()))
            if 0 < silence_s <= silent_s:
                self._silent, silence_s = True, 0.0
                self._tell(emit, _silent(options, wire))
                if not wire.datagrams:
                    return

    def _take(self, wire: Wire, codecs: "_Codecs", emit: Emit) -> None:
        try:
            chunk = wire.read()
        except DriverError:
            self._hand_over(emit, codecs.gap(self._now()))
            raise
        if chunk.data:
            self._silent, self._pause_s = False, AGAIN_S
            self._tell(emit, Link(up=True, detail=wire.detail))
        if chunk.missed:
            emit([Dropped(self._source, chunk.missed, "no_room")])
        self._hand_over(emit, codecs.feed(chunk, self._now()))

    def _tell(self, emit: Emit, link: Link) -> None:
        """The state of the wire, where it is another than was told last."""
        if link != self._told:
            self._told = link
            emit([link])

    def _hand_over(self, emit: Emit, findings: list[Found | Refused]) -> None:
        found = items(self._source, findings)
        if not found:
            return
        if self._pending.full:
            kept: list[Item] = [item for item in found if isinstance(item, Reject)]
            dropped = len(found) - len(kept)
            emit([*kept, Dropped(self._source, dropped, "no_room")] if dropped else kept)
        else:
            size = sum(len(item.payload) for item in found if isinstance(item, Sample))
            self._pending.add(emit(found), len(found), size)


class _Codecs:
    """A codec for each sender of a wire; a port and a connection have one. Of many senders those heard last."""

    def __init__(self, make: Callable[[], StreamCodec]) -> None:
        self._make = make
        self._codecs = OrderedDict[Hashable, StreamCodec]()

    def feed(self, chunk: Chunk, now: float | None) -> list[Found | Refused]:
        found: list[Found | Refused] = []
        if chunk.peer not in self._codecs:
            if len(self._codecs) == UDP_PEERS:
                found += self._codecs.popitem(last=False)[1].gap(now)
            self._codecs[chunk.peer] = self._make()
        self._codecs.move_to_end(chunk.peer)
        return found + self._codecs[chunk.peer].feed(chunk.data, now)

    def gap(self, now: float | None) -> list[Found | Refused]:
        return [found for codec in self._codecs.values() for found in codec.gap(now)]


def _where(options: StreamOptions) -> str:
    return options.port or options.tcp or options.udp or ""


def _away(options: StreamOptions, what: str, cure: str, detail: str) -> DriverError:
    if options.port:
        return DriverError(what, cure, PORT_FAILED, port=options.port, detail=detail)
    return DriverError(what, cure, NETWORK_AWAY, at=_where(options), detail=detail)


def _silent(options: StreamOptions, wire: Wire) -> Link:
    seconds = f"{options.silence_s:g}"
    told = f"{wire.detail}: no byte for {seconds} s. Check the device, its cable and its settings"
    values = {"port" if options.port else "at": _where(options), "seconds": seconds}
    return Link(up=False, detail=told, condition=PORT_SILENT if options.port else NETWORK_SILENT, values=values)


def _open(options: StreamOptions) -> Wire:
    """Blocking."""
    if options.tcp:
        return open_tcp(options.tcp)
    if options.udp:
        return open_udp(options.udp)
    from drivers.serial_port import open_port  # noqa: PLC0415  pyserial only where there is a port

    return open_port(options)


async def _readable(fd: int, timeout_s: float) -> bool:
    """Whether there is something to read, within `timeout_s`; 0 waits for ever."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(fd, wake)
    try:
        await asyncio.wait({ready}, timeout=timeout_s or None)
        return ready.done()
    finally:
        loop.remove_reader(fd)
