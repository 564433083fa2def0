"""What several commands share: which configuration, times, files in and out. Imports nothing heavy."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, TypeVar

import click

from gateway.errors import ConfigError, Fault, NotFoundError, Refused

CONFIG_PLACES = (Path("fieldgate.toml"), Path("/etc/fieldgate/fieldgate.toml"))

CLOCKS = ("the gateway's clock was not synchronised", "the gateway's clock was synchronised", "by a local reference")
"""What a header's clock says (docs/format.md, section 3)."""
QUALITY = {
    1: "clock not synchronised",
    2: "the device says unstable",
    4: "stale or retained",
    8: "a sentinel or out of the device's range",
    16: "replayed from a file",
}
"""What the quality bits of a reading say (docs/format.md, section 2)."""

F = TypeVar("F", bound=Callable[..., Any])
_SECONDS = re.compile(r"\d{1,11}(\.\d{1,3})?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def config_option(command: F) -> F:
    """The option --config."""
    return click.option(
        "--config",
        "-c",
        "config_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The configuration. Without it ./fieldgate.toml, then /etc/fieldgate/fieldgate.toml.",
    )(command)


def find_config(given: Path | None) -> Path:
    """The configuration to use. ConfigError where none is given and none is in its usual places."""
    if given is not None:
        return given
    for place in CONFIG_PLACES:
        with suppress(PermissionError):  # a service's user, called from somebody's own folder
            if place.is_file():
                return place
    what = f"there is no such file here, and no {CONFIG_PLACES[1]}"
    raise ConfigError([Fault(str(CONFIG_PLACES[0]), 0, "", what, "Make one with fieldgate init, or name it: --config")])


def moment(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """An option's callback: a time on the command line as Unix milliseconds; a usage error for anything else."""
    try:
        return None if value is None else parse_time(value)
    except ValueError as exc:
        raise click.BadParameter(str(exc), ctx, param) from None


def parse_time(text: str) -> int:
    """RFC 3339 with Z or an offset, Unix seconds, or `now`, as Unix milliseconds. ValueError says what is allowed."""
    if text == "now":
        return time.time_ns() // 1_000_000
    if _SECONDS.fullmatch(text):
        return round(float(text) * 1000)
    wanted = "write a time as 2026-11-23T06:30:00Z, as Unix seconds, or now"
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time: {wanted}") from None
    if at.tzinfo is None:
        raise ValueError(f"{text!r} does not say which zone: add Z for UTC, or an offset like +01:00")
    if at < _EPOCH:
        raise ValueError(f"{text!r} is before 1970")
    return (at - _EPOCH) // _MS


def format_time(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds; Unix seconds for a time after the year 9999."""
    try:
        at = _EPOCH + ms * _MS
    except OverflowError:
        return f"{ms // 1000}.{ms % 1000:03}"
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03}Z"


@contextmanager
def locked(data_dir: Path, *, cure: str) -> Iterator[None]:
    """Nobody else writes to the store meanwhile. NotFoundError where there is no such folder; InUseError."""
    descriptor: int | None = import_module("gateway.store").take_lock(data_dir)
    if descriptor is None:
        raise NotFoundError("is not there", where=str(data_dir), cure=cure)
    try:
        yield
    finally:
        os.close(descriptor)


def read_file(path: Path, limit: int, what: str) -> bytes:
    """A whole file of at most `limit` bytes. NotFoundError where it is not there, Refused where it is longer."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as exc:
        cure = "Check the path, and who may read it"
        raise NotFoundError(exc.strerror or "it cannot be read", where=str(path), cure=cure) from exc
    if len(data) > limit:
        raise Refused(f"longer than {what} can be ({limit} bytes)", where=str(path), cure="Is it the right file?")
    return data


@contextmanager
def output(path: Path | None, *, private: bool = False) -> Iterator[IO[bytes]]:
    """Where a command writes: stdout, or a file that appears whole, when all went well, or not at all.

    private: nobody else may read the file.
    """
    if path is None or str(path) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if path.exists() and not path.is_file():  # a pipe or a device
        with path.open("wb") as file:
            yield file
        return
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o600 if private else 0o666 & ~_umask())
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(file.name).unlink()
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
