"""From what a MessageCodec finds in a message to the items that the driver hands over."""

from collections.abc import Sequence
from typing import NamedTuple

from drivers.api import STALE, Delivery, Heard, Item, Link, Reject, Sample
from drivers.codecs.base import Ask, Found, Refused, State
from drivers.codecs.values import Unfit
from drivers.conditions import DEVICE_AWAY
from drivers.limits import EXAMPLE_BYTES, PAYLOAD_BYTES
from drivers.mqtt_routes import Reader, Refusal


class Message(NamedTuple):
    """What a broker delivered. shared: several configured sources want it."""

    topic: str
    payload: bytes
    retained: bool
    delivery: Delivery | None
    shared: bool


def read(reader: Reader, message: Message, now: float | None) -> tuple[list[Item], list[Ask]]:
    """What the message makes of one source and its devices: items in order, all with the one Delivery."""
    try:
        found = reader.codec.take(message.topic, message.payload, now, retained=message.retained)
    except Unfit as unfit:
        return [unfit.reject(reader.name, message.payload)._replace(delivery=message.delivery)], []
    asks = [one for one in found if isinstance(one, Ask)]
    items = _items(reader, message, [one for one in found if not isinstance(one, Ask)])
    if message.delivery is not None and not any(isinstance(item, Sample | Reject) for item in items):
        items.append(Heard(message.delivery))
    return items, asks


def _items(reader: Reader, message: Message, found: Sequence[Found | Refused | State]) -> list[Item]:
    items: list[Item] = []
    whole: list[int] = []  # items whose evidence is the whole message
    for one in found:
        source = reader.source(one.device)
        if isinstance(source, Refusal):
            example = one.example if isinstance(one, Refused) else message.payload[:EXAMPLE_BYTES]
            items.append(Reject(reader.name, source.reason, example, source.detail, message.delivery))
        elif isinstance(one, Refused):
            items.append(Reject(source, one.reason, one.example, one.detail, message.delivery))
        elif isinstance(one, State):
            condition, values = ("", {}) if one.up else (DEVICE_AWAY, {"detail": one.detail})
            sources = (source, *(reader.below(one.device) if one.below else ()))
            items.append(Link(one.up, one.detail, sources, condition=condition, values=values))
        else:
            if one.raw is None:
                whole.append(len(items))
            quality = one.quality | (STALE if message.retained else 0)
            raw = message.payload if one.raw is None else one.raw
            items.append(Sample(source, one.records, raw, one.time, quality, message.delivery))
    if len(whole) > 1 or message.shared or len(message.payload) > PAYLOAD_BYTES:
        _share(items, whole, message)
    return items


def _share(items: list[Item], whole: list[int], message: Message) -> None:
    """The message is kept with the first of one source's samples; with none, where it is of several sources."""
    samples = [item for at in whole if isinstance(item := items[at], Sample)]
    alone = not message.shared and len(message.payload) <= PAYLOAD_BYTES and len({one.source for one in samples}) == 1
    for at, sample in list(zip(whole, samples, strict=True))[alone:]:
        items[at] = sample._replace(shared=True)
