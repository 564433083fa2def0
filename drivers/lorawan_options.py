"""Options of a LoRaWAN network server's sources."""

from typing import Annotated

from msgspec import Meta, field

from drivers.codecs.values import MaxAhead, MaxBehind, TimeMap
from drivers.limits import DEVICE_CLOCK_AHEAD_S, DEVICE_CLOCK_BEHIND_S, NAME_BYTES, UNIT_BYTES
from drivers.mqtt_sources import SubscribedOptions

_Name = Annotated[str, Meta(min_length=1, max_length=NAME_BYTES)]
_Unit = Annotated[str, Meta(min_length=1, max_length=UNIT_BYTES)]


class LorawanOptions(SubscribedOptions, kw_only=True, frozen=True):
    """What every network server has in common; a driver gives `topic` a default that fits it."""

    units: Annotated[
        dict[_Name, _Unit],
        Meta(title="Units of the plain numbers that the device profile's decoder gives, by their names"),
    ] = field(default_factory=dict)
    max_behind_s: MaxBehind = DEVICE_CLOCK_BEHIND_S
    max_ahead_s: MaxAhead = DEVICE_CLOCK_AHEAD_S

    @property
    def window(self) -> TimeMap:
        """Where the network server's time is trusted."""
        return TimeMap(max_behind_s=self.max_behind_s, max_ahead_s=self.max_ahead_s)
