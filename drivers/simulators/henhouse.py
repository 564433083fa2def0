"""A hen house: a climate sensor and a feed scale that publish JSON over real MQTT, QoS 1."""

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from itertools import count
from math import sin

import aiomqtt

CLIMATE_TOPIC = "farm/house3/climate"
FEED_TOPIC = "farm/house3/feed"
RETRY_S = 1.0

Message = tuple[str, bytes]


def messages(seed: int = 1) -> Iterator[Message]:
    """Topics and payloads without end, the same for a seed: nine of the climate, then one of the feed silo."""
    rng = random.Random(seed)  # noqa: S311  a simulation
    silo = 412.5
    for number in count():
        if number % 10 == 9:
            silo = silo - rng.uniform(0.2, 0.9) if silo > 20 else 412.5
            yield FEED_TOPIC, _json({"n": number, "silo": {"mass": round(silo, 1), "stable": rng.random() > 0.1}})
        else:
            temperature = round(20.5 + 1.5 * sin(number / 40) + rng.uniform(-0.1, 0.1), 2)
            humidity = round(58 + 4 * sin(number / 55) + rng.uniform(-0.4, 0.4), 1)
            co2 = int(900 + 180 * sin(number / 70) + rng.uniform(-15, 15))
            yield CLIMATE_TOPIC, _json({"n": number, "temperature": temperature, "humidity": humidity, "co2": co2})


def _json(document: dict[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


async def run(
    host: str,
    port: int,
    *,
    every_s: float = 0.2,
    most: int | None = None,
    seed: int = 1,
    client_id: str = "henhouse-simulator",
    user: str | None = None,
    password: str | None = None,
    on_published: Callable[[str, bytes], None] = lambda topic, payload: None,
) -> None:
    """Publishes `most` messages, or without end; waits for a broker that is away, and then sends what it could not.

    on_published is told of each message that the broker has acknowledged.
    """
    waiting: Message | None = None
    source = messages(seed)
    sent = 0
    while (most is None or sent < most) and not cancelled():
        try:
            async with aiomqtt.Client(host, port, identifier=client_id, username=user, password=password) as client:
                while (most is None or sent < most) and not cancelled():
                    waiting = waiting or next(source)
                    await client.publish(*waiting, qos=1)
                    on_published(*waiting)
                    waiting, sent = None, sent + 1
                    await asyncio.sleep(every_s)
        except (aiomqtt.MqttError, OSError):
            await asyncio.sleep(RETRY_S)


def cancelled() -> bool:
    """Whether this task was cancelled, which asyncio.wait_for in aiomqtt may forget (Python 3.11) and go on."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
