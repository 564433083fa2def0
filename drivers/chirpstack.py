"""The driver `chirpstack`: devices behind a ChirpStack v4 network server, by the MQTT integration it has."""

from drivers.codecs.chirpstack import Chirpstack
from drivers.codecs.recorded import json_messages
from drivers.kinds import Kind
from drivers.lorawan_options import LorawanOptions
from drivers.mqtt_sources import Topic


class ChirpstackOptions(LorawanOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "chirpstack"."""

    topic: Topic = "application/+/device/+/event/up"


def codec(options: ChirpstackOptions) -> Chirpstack:
    """Of the messages of one source."""
    return Chirpstack(options.units, options.window)


KIND = Kind(
    "chirpstack",
    "LoRaWAN devices by ChirpStack v4",
    "subscribe",
    ChirpstackOptions,
    codec,
    topic="application/0/device/0/event/up",
    messages=json_messages,
    examples={"soil": {"broker": "local", "units": {"temperature": "Cel", "humidity": "%RH"}}},
)
