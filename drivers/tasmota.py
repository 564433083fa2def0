"""The driver `tasmota`: devices with Tasmota's firmware."""

from drivers.codecs.recorded import json_messages
from drivers.codecs.tasmota import Tasmota
from drivers.kinds import Kind
from drivers.mqtt_sources import Topic
from drivers.profile_options import ProfileOptions, Topics


class TasmotaOptions(ProfileOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "tasmota"."""

    topic: Topic = "tele/+/SENSOR"
    more_topics: Topics = ("tele/+/LWT",)  # "tele/+/STATE" brings power states, Wi-Fi and uptime


def codec(options: TasmotaOptions) -> Tasmota:
    """Of the messages of one source."""
    return Tasmota(options.window)


KIND = Kind(
    "tasmota",
    "Tasmota's sensors and plugs",
    "subscribe",
    TasmotaOptions,
    codec,
    topic="tele/SENSOR",
    messages=json_messages,
    examples={"cold-rooms": {"broker": "local", "more_topics": ["tele/+/LWT", "tele/+/STATE"]}},
)
