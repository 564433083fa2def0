"""The driver `senml`: devices that publish SenML packs, JSON or CBOR."""

from typing import Annotated

from msgspec import Meta

from drivers.codecs.senml import Senml
from drivers.codecs.values import TimeMap
from drivers.kinds import Kind
from drivers.limits import DEVICE_CLOCK_AHEAD_S, DEVICE_CLOCK_BEHIND_S
from drivers.mqtt_sources import SubscribedOptions


class SenmlOptions(SubscribedOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "senml"."""

    device_level: Annotated[int, Meta(ge=0, le=99)] = 0  # level of the topic that names the device, from 1; 0: none
    max_behind_s: Annotated[float, Meta(ge=0)] = DEVICE_CLOCK_BEHIND_S  # a record's time, before receipt
    max_ahead_s: Annotated[float, Meta(ge=0)] = DEVICE_CLOCK_AHEAD_S  # after receipt

    def __post_init__(self) -> None:
        super().__post_init__()
        levels = self.topic.split("/")
        if self.device_level > len(levels) and levels[-1] != "#":
            raise ValueError(f"device_level is {self.device_level}, and the topic has {len(levels)} levels")


def codec(options: SenmlOptions) -> Senml:
    """Of the messages of one source."""
    time = TimeMap(format="unix", max_behind_s=options.max_behind_s, max_ahead_s=options.max_ahead_s)
    return Senml(time, options.device_level)


KIND = Kind(
    "senml",
    "SenML packs, JSON or CBOR (RFC 8428)",
    "subscribe",
    SenmlOptions,
    codec,
    topic="senml",
)
