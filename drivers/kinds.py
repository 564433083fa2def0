"""What a driver is to whoever looks it up by name: `fieldgate run`, `check`, `decode`, `probe`.

A module of a driver has one constant, KIND; a package of somebody else names its own as an entry point of the group
`fieldgate.drivers` (docs/drivers.md, A driver of your own).
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from drivers.api import Driver
from drivers.codecs.values import Table

Shape = Literal["subscribe", "stream", "poll"]


class Kind(NamedTuple):
    """A driver. Its options are a table of the configuration, [source.ID] with `driver = NAME`.

    stream and poll: `driver(source, options, now=now)` makes one driver for one source, and
    `codec(options, drop_first=...)` the codec of one opening, or of a recorded one.
    bus: what sources must share to be one driver, `driver(members, now=now)` of source to options, in which the fields
    of `shared` are the same; without it each source has a driver of its own.
    subscribe: `codec(options)` reads the messages of one source, and the driver is the broker's (drivers/mqtt.py), for
    which the options are SubscribedOptions (drivers/mqtt_sources.py).
    """

    name: str
    title: str  # a few words for lists
    shape: Shape
    options: type[Table]
    codec: Callable[..., Any] | None = None  # a StreamCodec or a MessageCodec (codecs/base.py)
    driver: Callable[..., Driver] | None = None
    recorded: Mapping[str, object] = MappingProxyType({})  # options that a recorded file needs no value of its own for
    topic: str = ""  # subscribe: of a recorded message that comes without one
    messages: Callable[[bytes], Iterable[bytes]] = lambda data: (data,)  # subscribe: those in a recorded file
    bus: Callable[[Any], str] | None = None  # poll: the name of a source's bus
    shared: tuple[str, ...] = ()  # poll: options that the sources of one bus have in common
    examples: Mapping[str, Mapping[str, object]] = MappingProxyType(
        {}
    )  # source id to options, for deploy/fieldgate.toml
