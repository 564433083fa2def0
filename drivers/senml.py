"""The driver `senml`: devices that publish SenML packs, JSON or CBOR."""

from typing import Annotated

from msgspec import Meta

from drivers.codecs.senml import Senml
from drivers.codecs.values import MaxAhead, MaxBehind, TimeMap
from drivers.kinds import Kind
from drivers.limits import DEVICE_CLOCK_AHEAD_S, DEVICE_CLOCK_BEHIND_S
from drivers.mqtt_sources import SubscribedOptions


class SenmlOptions(SubscribedOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "senml"."""

    device_level: Annotated[
        int, Meta(ge=0, le=99, title="The level of the topic, from 1, that names the device. 0: all are one source")
    ] = 0
    max_behind_s: MaxBehind = DEVICE_CLOCK_BEHIND_S
    max_ahead_s: MaxAhead = DEVICE_CLOCK_AHEAD_S

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
    examples={"stations": {"broker": "local", "topic": "farm/+/senml", "device_level": 2}},
)
