"""Uplinks of a LoRaWAN network server, whichever it is: the decoder's values, the frame, and how it was heard.

A frame that comes again is refused as `duplicate`: the same device, session and frame counter, with the same port and
bytes, received within LORAWAN_AGAIN_S. A device that joins again has a new session, and its counter begins anew; one
that restarts its counter without a new session sends other bytes, or sends them later.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from hashlib import sha256
from math import inf
from typing import Any, NamedTuple

from drivers.codecs.base import Found, Refused
from drivers.codecs.measures import Measures, unit
from drivers.codecs.values import AS_TOLD, TimeMap, Unfit, device_time, number
from drivers.limits import EXAMPLE_BYTES, LORAWAN_AGAIN_S, LORAWAN_FRAMES

OWN = frozenset(
    ["data", "f_port", "f_cnt", "rssi", "rssi.unit", "snr", "frequency", "spreading_factor", "gateways"],
)
"""Names that the network server's own values have: a decoder's value of such a name is called rssi-2."""

_EUI = re.compile(r"[0-9a-f]{16}")


class Heard(NamedTuple):
    """How one radio gateway heard the frame, as the network server wrote it: dBm, dB."""

    rssi: object
    snr: object


class Uplink(NamedTuple):
    """One frame. `decoded` is what the network server's decoder made of it, None where it has none."""

    device: str
    session: str
    f_cnt: int
    f_port: int
    data: bytes
    decoded: Mapping[str, Any] | None
    time: object  # when the network server received it, ISO 8601
    heard: Iterable[Heard]
    frequency: object  # Hz
    spreading_factor: object


class Uplinks:
    """Samples out of the uplinks of one source. units: of the decoder's plain numbers, by their names."""

    def __init__(self, units: Mapping[str, str], time: TimeMap) -> None:
        self._units = {name: unit(text) for name, text in units.items()}
        self._time = time
        self._seen: OrderedDict[bytes, float] = OrderedDict()  # frames, oldest first: when each was received

    def take(self, uplink: Uplink, payload: bytes, now: float | None) -> Found | Refused:
        """The sample, or a refusal of a frame that was there before."""
        measures = Measures(OWN, self._units)
        if uplink.decoded is not None:
            measures.put_all(uplink.decoded)
        if self._again(uplink):
            detail = f"f_cnt {uplink.f_cnt} of session {uplink.session[:40] or '(none)'} was there before"
            return Refused("duplicate", payload[:EXAMPLE_BYTES], detail, uplink.device)
        records = measures.records
        if uplink.data:
            records.append(("data", None, uplink.data))
        records += [("f_port", None, uplink.f_port), ("f_cnt", None, uplink.f_cnt)]
        gateways = list(uplink.heard)
        loudest = max(gateways, key=lambda one: _number(one.rssi, -inf), default=Heard(None, None))
        for name, senml, value, beside in (
            ("rssi", None, loudest.rssi, "dBm"),
            ("snr", "dB", loudest.snr, ""),
            ("frequency", "Hz", uplink.frequency, ""),
            ("spreading_factor", None, uplink.spreading_factor, ""),
            ("gateways", "count", len(gateways) or None, ""),
        ):
            found = _number(value, None)
            if found is not None:
                records.append((name, senml, found))
                if beside:
                    records.append((f"{name}.unit", None, beside))
        return Found(records, device_time(uplink.time, self._time, now), measures.quality, uplink.device)

    def _again(self, uplink: Uplink) -> bool:
        text = f"{uplink.device} {uplink.f_cnt} {uplink.f_port} {uplink.session}\0"
        key = sha256(text.encode(errors="replace") + uplink.data).digest()[:16]
        received = device_time(uplink.time, self._time, AS_TOLD) or 0.0
        before = self._seen.get(key)
        if before is not None and abs(received - before) <= LORAWAN_AGAIN_S:
            return True
        self._seen[key] = received
        self._seen.move_to_end(key)
        if len(self._seen) > LORAWAN_FRAMES:
            self._seen.popitem(last=False)
        return False


def _number(value: object, otherwise: Any) -> Any:
    """A finite number; network servers write 64-bit ones as text."""
    if isinstance(value, str):
        value = number(value)
    fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
    return value if fits else otherwise


def eui(value: object, name: str) -> str:
    """A DevEUI in lower case. Unfit where it is none."""
    if isinstance(value, str) and _EUI.fullmatch(value.lower()):
        return value.lower()
    reason = "missing_value" if value is None else "wrong_type"
    raise Unfit(reason, f"{name} is {str(value)[:40]!r}, not 16 hexadecimal digits")


def counter(value: object, name: str, most: int) -> int:
    """An unsigned integer; absent means 0: protobuf's JSON leaves zeros out. Unfit where it is none."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise Unfit("wrong_type", f"{name} is {str(value)[:40]!r}, not 0 to {most}")
    return value


def member(document: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    """A member of that kind, or an empty one where it is absent or null. Unfit for another kind."""
    value = document.get(name)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise Unfit("wrong_type", f"{name} is {str(value)[:40]!r}")
    return value


def below(document: Any, *names: str) -> Any:
    """What stands at that path of objects, or None."""
    for name in names:
        document = document.get(name) if isinstance(document, dict) else None
    return document
