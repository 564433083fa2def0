"""Lines from a serial port: pyserial opens it for itself alone, the event loop reads it."""

import asyncio
import contextlib
import errno
import fcntl
import functools
import os
import re
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import serial
from msgspec import Meta

from drivers.api import DriverError, Dropped, Emit, Item, Link, Reject, Sample
from drivers.blocking import BlockingCall
from drivers.findings import items
from drivers.kinds import Kind
from drivers.limits import PENDING_BYTES, PENDING_LINES, QUIET_S
from drivers.lines import LineOptions, stream
from drivers.pending import Pending

BY_ID = Path("/dev/serial/by-id")
OPEN_S = 10.0
CHUNK_BYTES = 1_024  # of the shortest lines no more than one turn of the loop should take
FULL_PAUSE_S = 0.002  # between two chunks that are thrown away: half of what 4 Mbaud bring in that time

_BARE = re.compile(r"/dev/tty(USB|ACM)[0-9]+")
_UNPLUGGED = frozenset([errno.EIO, errno.ENODEV, errno.ENXIO, errno.EBADF])
_PARITY = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}


class SerialLineOptions(LineOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "serial_line"."""

    port: Annotated[str, Meta(pattern=r"^/[^\x00-\x1f\x7f]+\Z", max_length=255, description="a whole path, from / on")]
    baud: Annotated[int, Meta(ge=50, le=4_000_000)] = 9_600
    bytesize: Literal[5, 6, 7, 8] = 8
    parity: Literal["none", "even", "odd"] = "none"
    stopbits: Literal[1, 2] = 1
    first_line: Literal["drop", "quiet"] = "drop"  # quiet: keep it where the line was silent for 0.5 s after opening
    gap_ms: Annotated[int, Meta(ge=10, le=10_000)] = 100  # framing fixed: a silence that ends a frame
    silence_s: Annotated[float, Meta(ge=0, le=86_400)] = 0  # no byte for so long: open the port again; 0: never

    def __post_init__(self) -> None:
        super().__post_init__()
        fault = check_port(self.port)
        if fault:
            raise ValueError(fault)


def check_port(path: str, by_id_dir: Path = BY_ID) -> str | None:
    """What is wrong with a port's path, with its cure; None where nothing is.

    /dev/ttyUSB0 is whichever adapter was found first: after an unplug it may be another device.
    """
    if not _BARE.fullmatch(path):
        return None
    stable = sorted(str(link) for link in _links(by_id_dir) if os.path.realpath(link) == os.path.realpath(path))
    cure = f"Write {stable[0]}" if stable else f"Write its name in {by_id_dir}, or in /dev/serial/by-path"
    return f"{path} may be another device after an unplug. {cure}"


def _links(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return list(folder.iterdir())
    return []


class SerialLineDriver:
    """One source: one port. After an unplug it raises DriverError, and opens the same path when it is run again.

    Nobody can hold a device back: while too much is not yet durable, its lines are read all the same, and dropped.
    """

    def __init__(self, source: str, options: SerialLineOptions, *, now: Callable[[], float | None] = time.time) -> None:
        self.name = f"serial-{source}"
        self.sources: Mapping[str, object] = {source: options}
        self._source, self._options, self._now = source, options, now
        self._opening = BlockingCall(self.name)
        self._pending = Pending(PENDING_LINES, PENDING_BYTES)

    async def run(self, emit: Emit) -> None:
        """Until cancelled. DriverError where the port cannot be opened or is gone."""
        port = await self._open()
        try:
            emit([Link(up=True, detail=f"reads {self._options.port}")])
            await self._read(port.fileno(), emit)
        finally:
            _close(port)

    async def _open(self) -> serial.Serial:
        options = self._options
        try:
            return await self._opening.run(
                functools.partial(_open, options), timeout_s=OPEN_S, abandon=lambda port: port.close()
            )
        except TimeoutError as error:
            cure = "Unplug the adapter and plug it in again"
            raise DriverError(f"{options.port} does not open within {OPEN_S:.0f} s", cure) from error
        except (OSError, ValueError, termios.error) as error:
            raise _not_opened(options.port, error) from error

    async def _read(self, fd: int, emit: Emit) -> None:
        """Chunk by chunk."""
        options = self._options
        quiet = options.first_line == "quiet" and not await _readable(fd, QUIET_S)
        lines = stream(options, drop_first=not quiet)
        gap_s = options.gap_ms / 1000 if options.framing == "fixed" else 0.0
        silent_s = 0.0
        while True:
            if self._pending.full:
                await asyncio.sleep(FULL_PAUSE_S)
            wait_s = gap_s if gap_s and not silent_s else options.silence_s
            if await _readable(fd, wait_s):
                silent_s = 0.0
                self._hand_over(emit, items(self._source, lines.feed(_chunk(fd, options.port), self._now())))
                continue
            silent_s += wait_s
            self._hand_over(emit, items(self._source, lines.gap(self._now())))
            if 0 < options.silence_s <= silent_s:
                cure = "Check the cable, the device and its baud rate"
                raise DriverError(f"{options.port}: no byte for {silent_s:g} s", cure)

    def _hand_over(self, emit: Emit, found: list[Sample | Reject]) -> None:
        if not found:
            return
        if self._pending.full:
            kept: list[Item] = [item for item in found if isinstance(item, Reject)]
            dropped = len(found) - len(kept)
            emit([*kept, Dropped(self._source, dropped, "no_room")] if dropped else kept)
        else:
            size = sum(len(item.payload) for item in found if isinstance(item, Sample))
            self._pending.add(emit(found), len(found), size)


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


def _chunk(fd: int, port: str) -> bytes:
    """What has arrived. DriverError where the device is gone: an end of file, EIO, ENODEV, ENXIO."""
    try:
        data = os.read(fd, CHUNK_BYTES)
    except BlockingIOError:
        return b""
    except OSError as error:
        if error.errno not in _UNPLUGGED:
            raise DriverError(f"{port} cannot be read: {error.strerror}", "Unplug it and plug it in again") from error
        raise _unplugged(port) from error
    if not data:
        raise _unplugged(port)
    return data


def _unplugged(port: str) -> DriverError:
    return DriverError(f"{port} is gone", "Plug it in again: it is read on as soon as it is there")


def _open(options: SerialLineOptions) -> serial.Serial:
    """Blocking. The port with an advisory lock, and TIOCEXCL against those who ask for none."""
    port = serial.Serial(
        options.port,
        baudrate=options.baud,
        bytesize=options.bytesize,
        parity=_PARITY[options.parity],
        stopbits=options.stopbits,
        timeout=0,
        exclusive=True,
    )
    with contextlib.suppress(OSError):
        fcntl.ioctl(port.fileno(), termios.TIOCEXCL)
    return port


def _close(port: serial.Serial) -> None:
    with contextlib.suppress(OSError):
        fcntl.ioctl(port.fileno(), termios.TIOCNXCL)
    with contextlib.suppress(OSError, termios.error):
        port.close()


def _not_opened(port: str, error: Exception) -> DriverError:
    number = error.args[0] if isinstance(error, termios.error) else getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO):
        return DriverError(f"{port} is not there", "Plug the device in, or correct port")
    if number in (errno.EACCES, errno.EPERM):
        return DriverError(f"{port} may not be opened", "Add the gateway's user to the group dialout")
    if number in (errno.EBUSY, errno.EAGAIN):
        return DriverError(
            f"{port} is in use by another program",
            "End it; a login console (serial-getty) and ModemManager take ports too: switch them off for this one",
        )
    return DriverError(f"{port} cannot be opened: {error}", "Check port, baud, bytesize, parity and stopbits")


KIND = Kind(
    "serial_line",
    "lines of text from a serial port",
    "stream",
    SerialLineOptions,
    stream,
    SerialLineDriver,
    recorded={"port": "/dev/null"},
)
