"""Application messages of The Things Stack v3, as its MQTT server has them.

Uplinks are read; a join says that the device is there.

The shape of TTN v2, which has dev_id and payload_raw outermost, is refused as ttn_v2, and what the console simulated as
simulated: no device sent it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from drivers.codecs.base import Found, Refused, State
from drivers.codecs.json_map import parse
from drivers.codecs.lorawan import Heard, Uplink, Uplinks, below, counter, eui, member
from drivers.codecs.octets import base64
from drivers.codecs.values import TimeMap, Unfit
from drivers.limits import LORAWAN_FRAME_BYTES

_V2 = frozenset(["dev_id", "hardware_serial", "payload_raw", "app_id"])


class Tts:
    """The MessageCodec of `v3/APP@TENANT/devices/ID/EVENT`; the message itself says which event it is."""

    def __init__(self, units: Mapping[str, str], time: TimeMap) -> None:
        self._uplinks = Uplinks(units, time)

    def take(
        self, topic: str, payload: bytes, now: float | None, *, retained: bool
    ) -> Sequence[Found | Refused | State]:
        """One message; nothing for those that measure nothing."""
        document = parse(payload)
        if not isinstance(document, dict):
            raise Unfit("wrong_type", "a message is an object")
        ids = document.get("end_device_ids")
        if not isinstance(ids, dict):
            if document.keys() & _V2:
                raise Unfit("ttn_v2", "the shape of TTN v2; v3 is read")
            raise Unfit("missing_value", "end_device_ids")
        if document.get("simulated") is True:
            raise Unfit("simulated", "no device sent it")
        device = _device(ids)
        if "join_accept" in document:
            return (State(True, "joined the network", device),)
        if "uplink_message" not in document:
            return ()
        return (self._uplinks.take(_uplink(document, device), payload, now),)


def _device(ids: Mapping[str, Any]) -> str:
    """The DevEUI; a device activated by personalization may have none, and then it is its device_id."""
    if ids.get("dev_eui") is None and ids.get("device_id"):
        device_id = member(ids, "device_id", str)
        if len(device_id) <= 36:  # an identifier of The Things Stack is no longer
            return str(device_id)
    return eui(ids.get("dev_eui"), "end_device_ids.dev_eui")


def _uplink(document: Mapping[str, Any], device: str) -> Uplink:
    message = member(document, "uplink_message", dict)
    settings = member(message, "settings", dict)
    return Uplink(
        device=device,
        session=member(message, "session_key_id", str),
        f_cnt=counter(message.get("f_cnt"), "f_cnt", 2**32 - 1),
        f_port=counter(message.get("f_port"), "f_port", 255),
        data=base64(member(message, "frm_payload", str), "frm_payload", most=LORAWAN_FRAME_BYTES),
        decoded=member(message, "decoded_payload", dict) or None,
        time=document.get("received_at") or message.get("received_at"),
        heard=[
            Heard(one.get("rssi"), one.get("snr"))
            for one in member(message, "rx_metadata", list)
            if isinstance(one, dict)
        ],
        frequency=settings.get("frequency"),
        spreading_factor=below(settings, "data_rate", "lora", "spreading_factor"),
    )
