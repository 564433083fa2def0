"""1-Wire temperature sensors through the kernel's files (w1_therm). A read takes a conversion, 750 ms: in a thread."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

from msgspec import Meta

from drivers.api import DriverError
from drivers.blocking import BlockingCall
from drivers.codecs.base import Found, Framed, Refused
from drivers.codecs.onewire import Thermometer
from drivers.codecs.values import Unfit
from drivers.conditions import FILE_UNREADABLE
from drivers.framing import LineFramer
from drivers.kinds import Kind
from drivers.limits import EXAMPLE_BYTES, LINE_BYTES, SOURCES_PER_BUS, SYSFS_BYTES
from drivers.polls import Answer, PollDriver, PolledOptions

T = TypeVar("T")
FAMILIES = ("10", "22", "28", "3b", "42")  # DS18S20, DS1822, DS18B20, DS1825, DS28EA00
_ENABLE = "Add dtoverlay=w1-gpio to /boot/firmware/config.txt, and restart"


class OneWireOptions(PolledOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "onewire"."""

    sensor: Annotated[
        str,
        Meta(
            pattern=r"^([0-9a-f]{2}-[0-9a-f]{12})?\Z",
            description="28- and 12 digits 0-9a-f",
            title="As the kernel names it. Empty: every one that is there, each a source of its own",
        ),
    ] = ""
    path: Annotated[
        str,
        Meta(
            pattern=r"^/[^\x00-\x1f\x7f]+\Z",
            description="a whole path, from / on",
            title="Where the kernel shows the bus",
        ),
    ] = "/sys/bus/w1/devices"
    timeout_s: Annotated[float, Meta(ge=0.1, le=30, title="How long one sensor may take")] = 5


class OneWireBus:
    """The Bus of one folder of sensors."""

    def __init__(self, name: str, members: Mapping[str, OneWireOptions]) -> None:
        self._members = members
        self._folder = Path(next(iter(members.values())).path)
        self._call = BlockingCall(name)
        self._sensors: dict[str, Thermometer] = {}
        self._seen: dict[str, dict[str, None]] = {}  # by source: the sensors that were there once

    async def open(self) -> None:
        """DriverError where the kernel has no 1-Wire."""
        if not await self._beside(self._folder.is_dir, 5.0):
            what, why = f"{self._folder} is not there", "it is not there. " + _ENABLE
            raise DriverError(what, _ENABLE, FILE_UNREADABLE, path=str(self._folder), detail=why)

    async def close(self) -> None:
        """Nothing is held."""

    async def poll(self, source: str, *, brief: bool) -> Answer:
        """The source's sensor, or all there are."""
        options = self._members[source]
        names = [options.sensor] if options.sensor else await self._there(source, options)
        found: list[Found | Refused] = []
        away: list[str] = []
        silent = False
        for name in names:
            device = "" if options.sensor else name
            try:
                text = await self._beside(functools.partial(_read, self._folder / name), options.timeout_s)
            except TimeoutError:
                away.append(f"{name} does not answer within {options.timeout_s:g} s")
                silent = True
                break
            if isinstance(text, str):
                away.append(f"{name} {text}")
            else:
                found.append(_said(self._sensor(name), text, device))
        if not names:
            away.append(f"no temperature sensor in {self._folder}. Check wiring and pull-up (4.7 kOhm)")
        return Answer(found, not away, "; ".join(away) or f"reads {len(names)} sensors", silent)

    async def _there(self, source: str, options: OneWireOptions) -> list[str]:
        taken = {one.sensor for one in self._members.values()}
        try:
            names = await self._beside(functools.partial(_sensors, self._folder), options.timeout_s)
        except TimeoutError as error:
            what, cure = f"{self._folder} does not answer", "Restart the computer"
            raise DriverError(
                what, cure, FILE_UNREADABLE, path=str(self._folder), detail="the kernel does not answer"
            ) from error
        seen = self._seen.setdefault(source, {})  # one that went away is asked for, and told
        seen.update(dict.fromkeys(name for name in names if name not in taken))
        return sorted(seen)[:SOURCES_PER_BUS]

    def _sensor(self, name: str) -> Thermometer:
        return self._sensors.setdefault(name, Thermometer())

    async def _beside(self, function: Callable[[], T], timeout_s: float) -> T:
        return await self._call.run(function, timeout_s=timeout_s, abandon=lambda _: None)


def _said(sensor: Thermometer, text: bytes, device: str) -> Found | Refused:
    try:
        return sensor.reading(text)._replace(device=device)
    except Unfit as unfit:
        return Refused(unfit.reason, text[:EXAMPLE_BYTES], unfit.detail, device)


def _sensors(folder: Path) -> list[str]:
    """Blocking. At most SOURCES_PER_BUS of them, in order."""
    names = sorted(one.name for one in folder.iterdir() if one.name.split("-")[0] in FAMILIES)
    return names[:SOURCES_PER_BUS]


def _read(folder: Path) -> bytes | str:
    """Blocking. What the kernel writes, or why there is nothing, in words."""
    for name in ("w1_slave", "temperature"):
        try:
            with (folder / name).open("rb", buffering=0) as file:
                return file.read(SYSFS_BYTES) or "answers nothing. Check its supply"
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"cannot be read: {error.strerror}. Check wiring and supply"
    return "is not there. Check its wiring, or correct sensor"


def _driver(members: Mapping[str, OneWireOptions], *, now: Callable[[], float | None] | None = None) -> PollDriver:
    name = f"onewire-{next(iter(members))}"
    return PollDriver(name, members, OneWireBus(name, members))


def codec(options: OneWireOptions, *, drop_first: bool = False) -> Framed:
    """Of what one sensor said, again and again: pairs of lines, or milli-degrees, one a line."""
    return Framed(LineFramer(limit=LINE_BYTES, drop_first=drop_first), Thermometer())


def _folder(options: OneWireOptions) -> str:
    return options.path


KIND = Kind(
    "onewire",
    "1-Wire temperature sensors",
    "poll",
    OneWireOptions,
    codec,
    _driver,
    bus=_folder,
    examples={"bulk-tank": {"every_s": 30, "sensor": "28-0316a2795bff"}},
)
