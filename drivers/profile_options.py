"""Options of the drivers that know what common firmware publishes: Tasmota, Shelly, Zigbee2MQTT, Home Assistant."""

from typing import Annotated

from msgspec import Meta

from drivers.codecs.values import MaxAhead, MaxBehind, TimeMap
from drivers.limits import DEVICE_CLOCK_AHEAD_S, DEVICE_CLOCK_BEHIND_S, FILTERS
from drivers.mqtt_sources import SubscribedOptions, Topic

Topics = Annotated[tuple[Topic, ...], Meta(max_length=FILTERS, title="Further topics, beside `topic`")]


class ProfileOptions(SubscribedOptions, kw_only=True, frozen=True):
    """What they have in common; a driver gives `topic` and `more_topics` defaults that fit it."""

    more_topics: Topics = ()
    max_behind_s: MaxBehind = DEVICE_CLOCK_BEHIND_S
    max_ahead_s: MaxAhead = DEVICE_CLOCK_AHEAD_S

    @property
    def filters(self) -> tuple[str, ...]:
        """All that is subscribed to."""
        return (self.topic, *self.more_topics)

    @property
    def window(self) -> TimeMap:
        """Where the device's time is trusted."""
        return TimeMap(max_behind_s=self.max_behind_s, max_ahead_s=self.max_ahead_s)
