"""Tells an MQTT broker how the gateway does: `[status]`. Retained, with a last will, for a farm's own dashboard.

A connection of its own beside the sources', as a client that nobody has to wait for: what goes wrong here becomes a
condition and a later try. aiomqtt is imported where this runs, and only there.
"""

import asyncio
import contextlib
import json
import random
import socket
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from drivers.api import DriverError
from drivers.blocking import BlockingCall
from drivers.mqtt_connect import Broker, open_socket, refused, tls_context
from gateway import homeassistant
from gateway.conditions import STATUS_UNSENT, Problem
from gateway.core import limits
from gateway.homeassistant import OFFLINE, ONLINE
from gateway.settings import StatusSettings

if TYPE_CHECKING:
    import ssl

    from aiomqtt import Client

_KEEPALIVE_S = 30


class Announced(NamedTuple):
    """The gateway of that name is to be announced so, to that broker."""

    name: str
    settings: StatusSettings
    broker: Broker


def _place(wanted: Announced) -> tuple[str, str, str, str]:
    return wanted.name, wanted.broker.address, wanted.settings.topic, wanted.settings.discovery


class Announcer:
    """Announces one gateway. status: the snapshot of gateway/status.py; `problems`: why nothing is announced."""

    def __init__(
        self,
        wanted: Announced,
        status: Callable[[], dict[str, Any]],
        monotonic: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._name, self._settings, self._broker = wanted
        self._status, self._monotonic, self._rng = status, monotonic, rng
        self._topics = homeassistant.topics(self._settings.topic, self._settings.discovery, self._name)
        self._call = BlockingCall(f"status {self._broker.name}")
        self._count: homeassistant.Count | None = None
        self._announced = False  # on this connection
        self.problems: list[Problem] = []
        self._wanted = wanted
        self.leaving = False  # it is switched off for good: at its end nothing of it stays at the broker

    def leaves_for(self, wanted: Announced | None) -> None:
        """What will be announced in place of this: where it is nothing, or elsewhere, nothing of this is to stay."""
        self.leaving = wanted is None or _place(wanted) != _place(self._wanted)

    async def run(self) -> None:
        """Until cancelled; then the broker is told that nobody tells any more."""
        await asyncio.to_thread(import_module, "aiomqtt")
        pause_s = limits.STATUS_BACKOFF_MIN_S
        while True:
            self._announced = False
            try:
                await self._connection()
            except DriverError as error:
                self.problems = [STATUS_UNSENT.problem(self._broker.name, what=error.what, cure=error.cure)]
            if self._announced:
                pause_s = limits.STATUS_BACKOFF_MIN_S
            await asyncio.sleep(self._rng.uniform(pause_s / 2, pause_s))
            pause_s = min(limits.STATUS_BACKOFF_S, pause_s * 2)

    async def _connection(self) -> None:
        """One connection to its end. DriverError says what ended it."""
        from aiomqtt import Client, MqttError, Will  # noqa: PLC0415 -- only where somebody is told
        from aiomqtt.exceptions import MqttConnectError  # noqa: PLC0415 -- as above

        broker, will = self._broker, Will(self._topics.availability, OFFLINE, qos=1, retain=True)
        context = await self._reach()
        client = Client(
            broker.host,
            broker.port,
            username=broker.user or None,
            password=broker.password or None,
            identifier=f"{broker.client_id}-status",
            clean_session=True,
            keepalive=_KEEPALIVE_S,
            timeout=broker.connect_timeout_s,
            tls_context=context,
            will=will,
        )
        try:
            async with client:
                try:
                    await self._tell(client)
                finally:
                    await self._farewell(client)
        except MqttConnectError as error:
            raise refused(broker, str(error.rc)) from error
        except (MqttError, ValueError) as error:  # ValueError: a password or a host that paho cannot send
            what = f"broker {broker.name} at {broker.address}: the connection was lost or is not answered"
            raise DriverError(what, "Check the broker and its log; it is tried again by itself") from error
        finally:
            # What ends a connection that was given up already would be told by asyncio, as nobody's error.
            client._disconnected.add_done_callback(lambda gone: gone.cancelled() or gone.exception())

    async def _reach(self) -> "ssl.SSLContext | None":
        """Whether the broker can be reached at all, in words that aiomqtt does not have; the context for its TLS."""
        broker = self._broker
        timeout_s = broker.connect_timeout_s
        try:
            found = await self._call.run(
                lambda: open_socket(broker, timeout_s), timeout_s=timeout_s, abandon=socket.socket.close
            )
        except TimeoutError:
            what = f"broker {broker.name}: {broker.address} did not answer in time"
            raise DriverError(what, "Check that the broker runs and can be reached") from None
        found.close()
        return await asyncio.to_thread(tls_context, broker) if broker.tls else None

    async def _tell(self, client: "Client") -> None:
        """Announces the gateway, then its state again and again until the connection is gone."""
        told: dict[str, Any] | None = None
        while True:
            state, now = self._status(), self._monotonic()
            count = homeassistant.count(state, now)
            summary = homeassistant.summary(state, count, self._count)
            self._count = count
            if self._topics.discovery:
                told = await self._discover(client, summary, told)
            await client.publish(self._topics.status, json.dumps(summary), qos=1, retain=True)
            if not self._announced:
                await client.publish(self._topics.availability, ONLINE, qos=1, retain=True)
            self._announced, self.problems = True, []
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.every_s):
                    async for _ in client.messages:  # none is subscribed to: it ends with the connection
                        pass

    async def _discover(self, client: "Client", summary: dict[str, Any], told: dict[str, Any] | None) -> dict[str, Any]:
        """Sends the discovery message where this connection has not had it, or something is known that was not."""
        warm = summary["temperature"] is not None or (told is not None and "temperature" in told["components"])
        wanted = homeassistant.discovery(self._name, self._topics, self._settings.every_s, with_temperature=warm)
        if wanted != told:
            await client.publish(self._topics.discovery, json.dumps(wanted), qos=1, retain=True)
        return wanted

    async def _farewell(self, client: "Client") -> None:
        """What a last will does not say where the connection ends in order; on a lost one it is not waited for."""
        from aiomqtt import MqttError  # noqa: PLC0415 -- as above

        topics = self._topics
        with contextlib.suppress(MqttError, TimeoutError):
            async with asyncio.timeout(limits.STATUS_FAREWELL_S):
                if self.leaving:
                    for topic in filter(None, (topics.discovery, topics.status)):
                        await client.publish(topic, b"", qos=1, retain=True)
                payload = b"" if self.leaving else OFFLINE
                await client.publish(topics.availability, payload, qos=1, retain=True)
