"""The driver `homeassistant`: whatever describes itself by Home Assistant's MQTT discovery."""

from typing import Annotated

from msgspec import Meta

from drivers.codecs.homeassistant import HomeAssistant
from drivers.codecs.recorded import json_messages
from drivers.kinds import Kind
from drivers.mqtt_sources import Topic, matches
from drivers.profile_options import ProfileOptions, Topics


class HomeAssistantOptions(ProfileOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "homeassistant"."""

    topic: Topic = "homeassistant/#"  # the discovery prefix and /#
    # A configuration alone never makes the gateway subscribe.
    more_topics: Annotated[
        Topics, Meta(title="The topics that configurations name as those of states and of availability")
    ] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.topic.endswith("/#") or "+" in self.topic:
            raise ValueError(f"{self.topic!r} is no discovery prefix with /# behind it")


def codec(options: HomeAssistantOptions) -> HomeAssistant:
    """Of the messages of one source."""
    filters = [tuple(one.split("/")) for one in options.filters]

    def subscribed(topic: str) -> bool:
        return any(matches(one, tuple(topic.split("/"))) for one in filters)

    return HomeAssistant(options.topic.removesuffix("/#"), subscribed)


KIND = Kind(
    "homeassistant",
    "devices of Home Assistant's discovery",
    "subscribe",
    HomeAssistantOptions,
    codec,
    topic="homeassistant/sensor/recorded/config",
    messages=json_messages,
    examples={"milk-tanks": {"broker": "local", "more_topics": ["farm/#"]}},
)
