"""Events of ChirpStack v4 in its JSON encoding. Uplinks are read; a join says that the device is there.

The shape of v3, which has devEUI and applicationID outermost, is refused as chirpstack_v3.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from drivers.codecs.base import Found, Refused, State
from drivers.codecs.json_map import parse
from drivers.codecs.lorawan import Heard, Uplink, Uplinks, below, counter, eui, member
from drivers.codecs.octets import base64
from drivers.codecs.values import TimeMap, Unfit
from drivers.limits import LORAWAN_FRAME_BYTES

_JOIN = "join"
_OTHERS = frozenset(["status", "ack", "txack", "log", "location", "integration"])


class Chirpstack:
    """The MessageCodec of `application/ID/device/DEVEUI/event/EVENT`; the topic's last level names the event."""

    def __init__(self, units: Mapping[str, str], time: TimeMap) -> None:
        self._uplinks = Uplinks(units, time)

    def take(
        self, topic: str, payload: bytes, now: float | None, *, retained: bool
    ) -> Sequence[Found | Refused | State]:
        """One event; nothing for those that measure nothing."""
        event = topic.rpartition("/")[2]
        if event in _OTHERS:
            return ()
        document = parse(payload)
        if not isinstance(document, dict):
            raise Unfit("wrong_type", "an event is an object")
        if "deviceInfo" not in document and ("devEUI" in document or "applicationID" in document):
            raise Unfit("chirpstack_v3", "the shape of ChirpStack v3; v4 is read")
        device = eui(below(document, "deviceInfo", "devEui"), "deviceInfo.devEui")
        if event == _JOIN:
            return (State(True, "joined the network", device),)
        return (self._uplinks.take(_uplink(document, device), payload, now),)


def _uplink(document: Mapping[str, Any], device: str) -> Uplink:
    lora = below(document.get("txInfo"), "modulation", "lora")
    return Uplink(
        device=device,
        session=member(document, "devAddr", str),
        f_cnt=counter(document.get("fCnt"), "fCnt", 2**32 - 1),
        f_port=counter(document.get("fPort"), "fPort", 255),
        data=base64(member(document, "data", str), "data", most=LORAWAN_FRAME_BYTES),
        decoded=member(document, "object", dict) or None,
        time=document.get("time"),
        heard=[
            Heard(one.get("rssi"), one.get("snr")) for one in member(document, "rxInfo", list) if isinstance(one, dict)
        ],
        frequency=below(document.get("txInfo"), "frequency"),
        spreading_factor=below(lora, "spreadingFactor"),
    )
