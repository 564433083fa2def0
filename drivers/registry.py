"""The drivers by name. A driver's module is imported when it is asked for: without a serial line, no pyserial."""

import contextlib
import difflib
import functools
import importlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from drivers.api import Driver
from drivers.kinds import Kind
from drivers.network import clash

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Now = Callable[[], float | None]

_MODULES = {
    name: f"drivers.{name}"
    for name in (
        # what a broker brings
        "mqtt",
        "tasmota",
        "shelly",
        "zigbee2mqtt",
        "homeassistant",
        "chirpstack",
        "tts",
        "senml",
        "sparkplug",
        # streams, and what was recorded of one
        "serial_line",
        "nmea0183",
        "ais",
        "scale",
        "animal_tag",
        "p1",
        "replay",
        # polled
        "modbus_rtu",
        "modbus_tcp",
        "onewire",
        "sdi12",
        "system",
    )
}
"""In the order of docs/drivers.md and deploy/fieldgate.toml."""
GROUP = "fieldgate.drivers"
"""Entry points: NAME = "package.module:KIND"."""


class UnknownDriver(LookupError):
    """No driver has this name; the message lists those there are and the nearest."""


class Misfit(ValueError):
    """A source whose options do not fit the rest: `source`, `field`, `what` is wrong, and its `cure`."""

    def __init__(self, source: str, field: str, what: str, cure: str) -> None:
        super().__init__(f"source {source}: {field} {what}. {cure}")
        self.source, self.field, self.what, self.cure = source, field, what, cure


def names() -> tuple[str, ...]:
    """The drivers there are, those of other packages too."""
    return tuple(sorted({*_MODULES, *_foreign()}))


def kind(name: str) -> Kind:
    """The driver of that name. UnknownDriver for a name that none has, and for one that cannot be loaded."""
    if name in _MODULES:
        found: Kind = importlib.import_module(_MODULES[name]).KIND
        return found
    if name in _foreign():
        return _load(name, _foreign()[name])
    near = difflib.get_close_matches(name, names(), 1)
    guess = f" Did you mean {near[0]}?" if near else ""
    raise UnknownDriver(f"there is no driver {name!r}. There are: {', '.join(names())}.{guess}")


def kinds() -> list[Kind]:
    """All drivers: ours in the order of their manual, then those of other packages that can be loaded."""
    found = [kind(name) for name in _MODULES]
    for name, entry in sorted(_foreign().items()):
        with contextlib.suppress(UnknownDriver):
            found.append(_load(name, entry))
    return found


def options_type(name: str) -> type[Struct]:
    """The type of a driver's source options. UnknownDriver as for `kind`."""
    return kind(name).options


@functools.cache
def _foreign() -> "dict[str, EntryPoint]":
    """Drivers of other packages; one that has the name of ours is ours."""
    entry_points = importlib.import_module("importlib.metadata").entry_points
    return {found.name: found for found in entry_points(group=GROUP) if found.name not in _MODULES}


def _load(name: str, found: "EntryPoint") -> Kind:
    try:
        made = found.load()
    except Exception as error:
        raise UnknownDriver(f"the driver {name} of {found.value} cannot be loaded: {error}") from error
    if not isinstance(made, Kind) or made.name != name:
        raise UnknownDriver(f"the driver {name} of {found.value} is no Kind of that name (drivers/kinds.py)")
    return made


def build(
    sources: Mapping[str, tuple[str, Any]],
    brokers: Mapping[str, Any],
    *,
    state_dir: Path | None = None,
    now: Now = time.time,
) -> list[Driver]:
    """The drivers of all sources: one for each broker and each polled bus in use, one for each other source.

    sources: id -> (driver's name, its options). brokers: name -> drivers.mqtt.Broker. state_dir: where a driver keeps
    the little it has to remember. UnknownDriver or Misfit where something does not fit.
    """
    drivers: list[Driver] = []
    groups: dict[str, dict[str, Any]] = {}
    buses: dict[tuple[str, str], dict[str, Any]] = {}
    for source, (name, options) in sources.items():
        found = kind(name)
        if found.driver is None:
            groups.setdefault(_broker(source, options.broker, brokers), {})[source] = options
        elif found.bus is not None:
            members = buses.setdefault((name, found.bus(options)), {})
            _check_shared(source, options, members, found.shared)
            members[source] = options
        else:
            drivers.append(found.driver(source, options, now=now))
    for (name, _), members in buses.items():
        make = kind(name).driver
        assert make is not None, "a kind with a bus has a driver"
        drivers.append(make(members, now=now))
    for broker, members in groups.items():
        codecs = {source: kind(sources[source][0]).codec for source in members}
        drivers.append(_mqtt(brokers[broker], members, codecs, state_dir, now))
    _check_names(drivers)
    return drivers


def _broker(source: str, broker: str, brokers: Mapping[str, Any]) -> str:
    if broker not in brokers:
        near = difflib.get_close_matches(broker, brokers, 1)
        cure = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(sorted(brokers)) or 'none'}"
        raise Misfit(source, "broker", f"names {broker!r}, and there is no [broker.{broker}]", cure)
    return broker


def _check_shared(source: str, options: Any, members: Mapping[str, Any], shared: tuple[str, ...]) -> None:
    """Sources of one bus agree in what is the bus's."""
    for other, theirs in members.items():
        for field in shared:
            ours, before = getattr(options, field), getattr(theirs, field)
            if ours != before:
                what = f"is {ours}, and source {other} on the same bus has {before}"
                raise Misfit(source, field, what, "Write the same in both: a bus has one setting")


def _mqtt(
    broker: Any, members: Mapping[str, Any], codecs: Mapping[str, Any], state_dir: Path | None, now: Now
) -> Driver:
    from drivers.mqtt import MqttDriver  # noqa: PLC0415  only where a source needs it

    state_file = state_dir / f"mqtt-{broker.name}.json" if state_dir is not None else None
    return MqttDriver(broker, members, codecs=codecs, state_file=state_file, now=now)


def _check_names(drivers: list[Driver]) -> None:
    """A driver counts under its own name what belongs to no source; a port has one reader."""
    ids = {source for driver in drivers for source in driver.sources}
    for driver in drivers:
        if driver.name in ids:
            raise Misfit(driver.name, "id", "is the name of a driver", "Choose another id")
    readers: dict[str, tuple[str, str]] = {}
    for driver in drivers:
        for source, options in driver.sources.items():
            port = getattr(options, "port", None)
            if port is None:
                continue
            reader, first = readers.setdefault(str(Path(port).resolve()), (driver.name, source))
            if reader != driver.name:
                what = f"{port} is read by source {first} already"
                cure = "Give each source its own port. Those that share a polled one all name it in the same way"
                raise Misfit(source, "port", what, cure)
    _check_listeners(drivers)


def _check_listeners(drivers: list[Driver]) -> None:
    """A UDP port of this computer has one listener. A TCP server may have as many clients as it likes."""
    heard: dict[str, str] = {}
    for driver in drivers:
        for source, options in driver.sources.items():
            if udp := getattr(options, "udp", None):
                for other, address in heard.items():
                    if clash(udp, address):
                        what = f"{udp} is listened on by source {other} already"
                        raise Misfit(source, "udp", what, "Give each source its own port")
                heard[source] = udp
