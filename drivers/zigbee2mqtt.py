"""The driver `zigbee2mqtt`: Zigbee devices behind Zigbee2MQTT."""

from collections.abc import Iterable

from drivers.codecs.recorded import json_messages
from drivers.codecs.zigbee2mqtt import Zigbee2Mqtt
from drivers.kinds import Kind
from drivers.limits import DESCRIPTION_BYTES
from drivers.mqtt_sources import Topic
from drivers.profile_options import ProfileOptions


class Zigbee2MqttOptions(ProfileOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "zigbee2mqtt"."""

    topic: Topic = "zigbee2mqtt/#"  # its base_topic and /#

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.topic.endswith("/#") or "+" in self.topic:
            raise ValueError(f"{self.topic!r} is no base topic of Zigbee2MQTT with /# behind it")

    @property
    def payload_bytes(self) -> int:
        """Of bridge/devices; a device's own message is never so long."""
        return DESCRIPTION_BYTES


def codec(options: Zigbee2MqttOptions) -> Zigbee2Mqtt:
    """Of the messages of one source."""
    return Zigbee2Mqtt(options.topic.removesuffix("/#"), options.window)


def _messages(data: bytes) -> Iterable[bytes]:
    """What bridge/devices says is one message, a list."""
    return (data,) if data.lstrip()[:1] == b"[" else json_messages(data)


KIND = Kind(
    "zigbee2mqtt",
    "Zigbee devices behind Zigbee2MQTT",
    "subscribe",
    Zigbee2MqttOptions,
    codec,
    topic="zigbee2mqtt/",
    messages=_messages,
    examples={"zigbee": {"broker": "local", "max_sources": 128}},
)
