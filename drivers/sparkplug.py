"""Sparkplug B over MQTT: edge nodes of a plant, their devices, births and deaths."""

from typing import Annotated

from msgspec import Meta

from drivers.codecs.sparkplug import Sparkplug
from drivers.codecs.values import MaxAhead, MaxBehind
from drivers.kinds import Kind
from drivers.limits import DEVICE_CLOCK_AHEAD_S, DEVICE_CLOCK_BEHIND_S, SPARKPLUG_BYTES
from drivers.mqtt_sources import SubscribedOptions, Topic


class SparkplugOptions(SubscribedOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "sparkplug"."""

    topic: Topic = "spBv1.0/#"  # or one group's: "spBv1.0/Plant 1/#"
    rebirth: Annotated[
        bool, Meta(title="Births that were missed are asked for; false: nothing is published, and they are waited for")
    ] = True
    max_behind_s: MaxBehind = DEVICE_CLOCK_BEHIND_S
    max_ahead_s: MaxAhead = DEVICE_CLOCK_AHEAD_S

    @property
    def payload_bytes(self) -> int:
        """Births describe every metric of a node at once."""
        return SPARKPLUG_BYTES


def codec(options: SparkplugOptions) -> Sparkplug:
    """The codec of these options, for one connection."""
    return Sparkplug(rebirth=options.rebirth, max_behind_s=options.max_behind_s, max_ahead_s=options.max_ahead_s)


KIND = Kind(
    "sparkplug",
    "Sparkplug B: edge nodes and their devices",
    "subscribe",
    SparkplugOptions,
    codec,
    topic="spBv1.0/recorded/DBIRTH/node/device",
    examples={"plant": {"broker": "local"}},
)
