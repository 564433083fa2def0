"""The driver `tts`: devices behind The Things Stack v3 (The Things Network among them), by the MQTT server it has."""

from drivers.codecs.recorded import json_messages
from drivers.codecs.tts import Tts
from drivers.kinds import Kind
from drivers.lorawan_options import LorawanOptions
from drivers.mqtt_sources import Topic


class TtsOptions(LorawanOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "tts"."""

    topic: Topic = "v3/+/devices/+/up"


def codec(options: TtsOptions) -> Tts:
    """Of the messages of one source."""
    return Tts(options.units, options.window)


KIND = Kind(
    "tts",
    "LoRaWAN devices by The Things Stack v3",
    "subscribe",
    TtsOptions,
    codec,
    topic="v3/application@tenant/devices/device/up",
    messages=json_messages,
    examples={"tanks": {"broker": "quay", "max_sources": 40}},
)
