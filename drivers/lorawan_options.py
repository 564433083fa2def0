"""Options of a LoRaWAN network server's sources."""

from typing import Annotated

from msgspec import Meta, field

from drivers.codecs.values import TimeMap
from drivers.limits import DEVICE_CLOCK_AHEAD_S, DEVICE_CLOCK_BEHIND_S, NAME_BYTES, UNIT_BYTES
from drivers.mqtt_sources import SubscribedOptions

_Name = Annotated[str, Meta(min_length=1, max_length=NAME_BYTES)]
_Unit = Annotated[str, Meta(min_length=1, max_length=UNIT_BYTES)]


class LorawanOptions(SubscribedOptions, kw_only=True, frozen=True):
    """What every network server has in common; a driver gives `topic` a default that fits it."""

    units: dict[_Name, _Unit] = field(
        default_factory=dict
    )  # of the decoder's plain numbers, by their names: { temperature = "Cel" }
    max_behind_s: Annotated[float, Meta(ge=0)] = DEVICE_CLOCK_BEHIND_S  # the network server's time, before receipt
    max_ahead_s: Annotated[float, Meta(ge=0)] = DEVICE_CLOCK_AHEAD_S  # after receipt

    @property
    def window(self) -> TimeMap:
        """Where the network server's time is trusted."""
        return TimeMap(max_behind_s=self.max_behind_s, max_ahead_s=self.max_ahead_s)
