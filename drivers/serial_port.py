"""A serial port: pyserial opens it for this gateway alone."""

import contextlib
import errno
import fcntl
import os
import termios
from pathlib import Path
from typing import Protocol

import serial

from drivers.api import DriverError
from drivers.conditions import PORT_BUSY, PORT_FAILED, PORT_MISSING, PORT_PERMISSION
from drivers.limits import CHUNK_BYTES
from drivers.port_holders import holder
from drivers.port_paths import names_there, there_are
from drivers.wires import Chunk, Gone

_AWAY = frozenset([errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO, errno.EBADF])
_PARITY = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}
_PTS = range(136, 144)  # the major numbers of pseudo-terminals, devices.txt of Linux


class PortSettings(Protocol):
    """What StreamOptions says of a port."""

    @property
    def port(self) -> str | None: ...  # noqa: D102
    @property
    def baud(self) -> int: ...  # noqa: D102
    @property
    def bytesize(self) -> int: ...  # noqa: D102
    @property
    def parity(self) -> str: ...  # noqa: D102
    @property
    def stopbits(self) -> int: ...  # noqa: D102
    @property
    def dtr(self) -> str: ...  # noqa: D102
    @property
    def rts(self) -> str: ...  # noqa: D102


class _Port(serial.Serial):  # type: ignore[misc]  # pyserial has no types
    """pyserial sets both pins as it opens a port; one that is to be kept is left alone."""

    kept: frozenset[str] = frozenset()

    def _update_dtr_state(self) -> None:
        if "dtr" not in self.kept:
            super()._update_dtr_state()

    def _update_rts_state(self) -> None:
        if "rts" not in self.kept:
            super()._update_rts_state()


class PortWire:
    """An open port."""

    datagrams = False

    def __init__(self, port: serial.Serial, path: str) -> None:
        self._port, self._path = port, path
        self._fd: int = port.fileno()
        self.detail = f"reads {path}"

    def fileno(self) -> int:
        """Of the port."""
        return self._fd

    def read(self) -> Chunk:
        """What has arrived. Gone where the device is unplugged: an end of file, EIO, ENODEV, ENXIO."""
        try:
            data = os.read(self._fd, CHUNK_BYTES)
        except BlockingIOError:
            return Chunk(b"")
        except OSError as error:
            if error.errno in _AWAY:
                raise _gone(self._path) from error
            cure = "Unplug it and plug it in again"
            why = error.strerror or str(error)
            raise DriverError(
                f"{self._path} cannot be read: {why}", cure, PORT_FAILED, port=self._path, detail=why
            ) from error
        if not data:  # unplugged, or somebody else took what there was to read
            raise _gone(self._path)
        return Chunk(data)

    def close(self) -> None:
        """Lets others have the port."""
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._fd, termios.TIOCNXCL)
        with contextlib.suppress(OSError, termios.error):
            self._port.close()


def open_port(options: PortSettings) -> PortWire:
    """Blocking. The port with an advisory lock, and TIOCEXCL against those who ask for none.

    Gone where it is not there; DriverError, which names who holds it, where it is in use.
    """
    path = options.port or ""
    try:
        return PortWire(_opened(options, path), path)
    except (OSError, ValueError, termios.error) as error:
        raise _not_opened(path, error) from error


def _opened(options: PortSettings, path: str) -> serial.Serial:
    port = _Port(
        None,
        baudrate=options.baud,
        bytesize=options.bytesize,
        parity=_PARITY[options.parity],
        stopbits=options.stopbits,
        timeout=0,
        exclusive=True,
    )
    port.kept = frozenset(pin for pin in ("dtr", "rts") if getattr(options, pin) == "keep")
    port.dtr, port.rts = options.dtr != "off", options.rts != "off"
    port.port = path
    try:
        port.open()
    except termios.error:
        if os.major(Path(path).stat().st_rdev) not in _PTS:
            raise
        # A pseudo-terminal has bytes and no bits: what the kernel does not keep, the C library calls invalid.
        port.bytesize, port.parity = serial.EIGHTBITS, serial.PARITY_NONE
        port.open()
    with contextlib.suppress(OSError):
        fcntl.ioctl(port.fileno(), termios.TIOCEXCL)
    _hold_the_pins(port.fileno())
    return port


def _hold_the_pins(fd: int) -> None:
    """HUPCL off: DTR stays as it is when the port is closed, so opening it again is no edge that resets an Arduino."""
    with contextlib.suppress(termios.error):
        attributes = termios.tcgetattr(fd)
        attributes[2] &= ~termios.HUPCL
        termios.tcsetattr(fd, termios.TCSANOW, attributes)


def _number(error: BaseException | None) -> int | None:
    """The errno of an error of the system. pyserial tells of one by another that has none."""
    if error is None:
        return None
    number = error.args[0] if isinstance(error, termios.error) else getattr(error, "errno", None)
    return number if isinstance(number, int) else _number(error.__context__)


def _gone(path: str) -> Gone:
    cure = "Plug it in again: it is read on as soon as it is there"
    return Gone(f"{path} is gone", cure, PORT_MISSING, port=path, there="-")  # a folder is not listed on the loop


def _not_opened(path: str, error: Exception) -> DriverError:
    number = _number(error)
    if number in _AWAY:
        cure = " ".join(["Plug the device in, or correct port.", there_are(path)]).strip()
        return Gone(f"{path} is not there", cure, PORT_MISSING, port=path, there=names_there())
    if number in (errno.EACCES, errno.EPERM):
        cure = "Add the gateway's user to the group dialout"
        return DriverError(f"{path} may not be opened", cure, PORT_PERMISSION, port=path)
    if number in (errno.EBUSY, errno.EAGAIN):
        who = holder(path)
        return DriverError(
            f"{path} is in use by {who}",
            f"End it (`sudo fuser -v {path}` names it); a login console (serial-getty) and ModemManager take ports: "
            "switch them off for this one",
            PORT_BUSY,
            port=path,
            holder=who,
        )
    cure = "Check port, baud, bytesize, parity and stopbits"
    return DriverError(f"{path} cannot be opened: {error}", cure, PORT_FAILED, port=path, detail=str(error))
