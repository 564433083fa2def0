"""A Sparkplug B edge node with one pump: births, counted data, a will, and obedience to Rebirth, over real MQTT."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from math import sin

import aiomqtt

from drivers.codecs.sparkplug import NAMESPACE, REBIRTH
from drivers.codecs.sparkplug_payload import BOOL, DOUBLE, INT, LONG, STRING, Metric, Payload, Type, read, write
from drivers.codecs.values import Unfit
from drivers.simulators.henhouse import cancelled

Message = tuple[str, bytes]

_UNIT = {"Cel": ((b"engUnit", (STRING, b"Cel")),), "": ()}
_METRICS = ((b"Motor/Temperature", 2, Type.DOUBLE, "Cel"), (b"Strokes", 3, Type.UINT32, ""))
RETRY_S = 1.0


class EdgeNode:
    """What one session of the node says; `session` is its bdSeq. Data tells aliases alone, as nodes do."""

    def __init__(self, group: str = "plant", node: str = "press-1", device: str = "pump", *, session: int = 0) -> None:
        self._group, self._node, self._device, self._session = group, node, device, session
        self._seq = count()
        self._strokes = count(1)
        self.commands = f"{NAMESPACE}/{group}/NCMD/{node}"

    def will(self) -> Message:
        """What the broker says for it when it is gone."""
        return self._topic("NDEATH"), write(Payload(None, 0, (self._bd_seq(),)))

    def births(self, ms: int) -> Iterator[Message]:
        """The node's and the pump's; the sequence begins again."""
        self._seq = count()
        rebirth = Metric(REBIRTH.encode(), None, ms, Type.BOOLEAN, value=(BOOL, False))
        yield self._topic("NBIRTH"), self._payload(ms, (self._bd_seq(), rebirth))
        metrics = tuple(
            Metric(name, alias, ms, datatype, null=True, properties=_UNIT[unit])
            for name, alias, datatype, unit in _METRICS
        )
        yield self._topic("DBIRTH", self._device), self._payload(ms, metrics)

    def data(self, ms: int) -> Message:
        """The next stroke of the pump."""
        stroke = next(self._strokes)
        metrics = (
            Metric(alias=2, time=ms, value=(DOUBLE, round(61 + 4 * sin(stroke / 30), 1))),
            Metric(alias=3, time=ms, value=(INT, stroke)),
        )
        return self._topic("DDATA", self._device), self._payload(ms, metrics)

    def obeys(self, payload: bytes) -> bool:
        """Whether this command wants its births."""
        try:
            metrics = read(payload).metrics
        except Unfit:
            return False
        return any(one.name == REBIRTH.encode() and one.value == (BOOL, True) for one in metrics)

    def _bd_seq(self) -> Metric:
        return Metric(b"bdSeq", type=Type.INT64, value=(LONG, self._session))

    def _payload(self, ms: int, metrics: tuple[Metric, ...]) -> bytes:
        return write(Payload(ms, next(self._seq) % 256, metrics))

    def _topic(self, kind: str, device: str = "") -> str:
        return "/".join(filter(None, (NAMESPACE, self._group, kind, self._node, device)))


async def run(
    host: str,
    port: int,
    *,
    every_s: float = 0.5,
    skip_every: int = 0,
    group: str = "plant",
    on_published: Callable[[str, bytes], None] = lambda topic, payload: None,
) -> None:
    """Publishes without end, a new session for each connection. skip_every: so many messages, and one is lost."""
    for session in count():
        node = EdgeNode(group, session=session % 256)
        topic, payload = node.will()
        try:
            async with aiomqtt.Client(host, port, will=aiomqtt.Will(topic, payload, qos=1)) as client:
                await client.subscribe(node.commands, qos=1)
                await _session(client, node, every_s, skip_every, on_published)
        except (aiomqtt.MqttError, OSError):
            await asyncio.sleep(RETRY_S)
        if cancelled():
            return


async def _session(
    client: aiomqtt.Client,
    node: EdgeNode,
    every_s: float,
    skip_every: int,
    on_published: Callable[[str, bytes], None],
) -> None:
    turn = asyncio.Lock()  # nothing between two births

    async def publish(messages: Iterable[Message]) -> None:
        async with turn:
            for message in messages:
                await client.publish(*message)
                on_published(*message)

    async def obey() -> None:
        async for command in client.messages:
            if isinstance(command.payload, bytes) and node.obeys(command.payload):
                await publish(node.births(_ms()))

    obeying = asyncio.create_task(obey(), name="edge-node-commands")
    try:
        await publish(node.births(_ms()))
        for number in count(1):
            await asyncio.sleep(every_s)
            if cancelled() or obeying.done():
                return
            message = node.data(_ms())
            if not skip_every or number % skip_every:
                await publish([message])
    finally:
        obeying.cancel()
        await asyncio.wait({obeying})
        _ = obeying.cancelled() or obeying.exception()


def _ms() -> int:
    return int(time.time() * 1000)
