"""The driver `shelly`: Shelly devices of every generation."""

from typing import Annotated

from msgspec import Meta

from drivers.codecs.recorded import json_messages
from drivers.codecs.shelly import Shelly
from drivers.kinds import Kind
from drivers.mqtt_sources import Topic
from drivers.profile_options import ProfileOptions, Topics


class ShellyOptions(ProfileOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "shelly"."""

    topic: Topic = "+/events/rpc"
    more_topics: Topics = ("+/status/+", "+/online", "shellies/#")  # shellies/# are those of Gen1
    fahrenheit: Annotated[bool, Meta(title="Gen1 sensors are set to show degrees Fahrenheit")] = False


def codec(options: ShellyOptions) -> Shelly:
    """Of the messages of one source."""
    return Shelly(options.window, fahrenheit=options.fahrenheit)


KIND = Kind(
    "shelly",
    "Shelly devices of every generation",
    "subscribe",
    ShellyOptions,
    codec,
    topic="events/rpc",
    messages=json_messages,
    examples={"sockets": {"broker": "local"}},
)
