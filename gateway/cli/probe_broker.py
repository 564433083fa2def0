"""Probing a broker: what is published now, and what each driver makes of it."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import aiomqtt
import click

from drivers import probing, suggesting
from drivers.api import DriverError
from drivers.codecs.values import number
from drivers.limits import HEARD_MESSAGE_BYTES, HEARD_TOPICS, HEARD_TOTAL_BYTES, PAYLOAD_BYTES
from drivers.mqtt_connect import Broker, tls_context
from drivers.mqtt_sources import check_filter
from drivers.probing import Heard, Profile
from gateway import config
from gateway.cli.decode import example, in_words
from gateway.cli.probe import paste
from gateway.core.text import plain
from gateway.errors import UnreachableError

_CONNECT_S = 10.0
_REFUSED = 128  # a SUBACK's code, and beyond
_TABLES = 8
_TOPICS = 100


class Target(NamedTuple):
    """Where to subscribe, to what, and as whom. `password` is where it is kept."""

    url: str
    host: str
    port: int
    tls: bool
    topic: str
    user: str
    password: str
    ca_file: str


class _Ear:
    """The last message of each topic, and how many there were; no more than its limits."""

    def __init__(self) -> None:
        self.last: dict[str, Heard] = {}
        self.messages = 0
        self.left_out = 0
        self._bytes = 0

    def hear(self, topic: str, payload: bytes, *, retained: bool) -> None:
        self.messages += 1
        before = len(self.last[topic].payload) if topic in self.last else 0
        more = len(payload) - before
        full = topic not in self.last and len(self.last) == HEARD_TOPICS
        if full or len(payload) > HEARD_MESSAGE_BYTES or self._bytes + more > HEARD_TOTAL_BYTES:
            self.left_out += 1
            return
        self._bytes += more
        self.last[topic] = Heard(topic, payload, retained)


def probe_broker(target: Target, seconds: float) -> int:
    """The command for a broker. Raises UnreachableError, KeyFileError."""
    try:
        check_filter(target.topic)
    except ValueError as exc:
        raise click.UsageError(f"--topic: {exc}") from None
    password = config.read_secret(target.password) if target.password else ""
    click.echo(f"{target.url}: listening to {target.topic} for {seconds:g} s", err=True)
    ear = _Ear()
    asyncio.run(_listen(target, password, seconds, ear))
    heard = list(ear.last.values())
    click.echo(f"{target.url}: {ear.messages} messages on {len(heard)} topics in {seconds:g} s")
    if ear.left_out:
        click.echo(f"{ear.left_out} of them are left out: more topics or bytes than are looked at. Narrow it: --topic")
    if not heard:
        click.echo("Nothing is published. Is this the broker of the devices, and may this user read?")
        return 1
    return _tell(target, heard)


async def _listen(target: Target, password: str, seconds: float, ear: _Ear) -> None:
    """Clean session, an id of its own. What is heard until then is kept where the broker goes away."""
    broker = Broker(
        name="probed", host=target.host, port=target.port, client_id="", tls=target.tls, ca_file=target.ca_file
    )
    try:
        context = await asyncio.to_thread(tls_context, broker) if target.tls else None
        async with aiomqtt.Client(
            target.host,
            target.port,
            identifier=f"fieldgate-probe-{secrets.token_hex(4)}",
            username=target.user or None,
            password=password or None,
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=True,
            tls_context=context,
            timeout=_CONNECT_S,
            max_queued_incoming_messages=HEARD_TOPICS,
        ) as client:
            granted = await client.subscribe(target.topic, qos=0)
            if any(code >= _REFUSED for code in _codes(granted)):
                raise UnreachableError(
                    f"the broker refuses {target.topic} to this user",
                    where=target.url,
                    cure="Name what it may read: --topic",
                )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    async for message in client.messages:
                        ear.hear(str(message.topic), _bytes(message.payload), retained=message.retain)
    except DriverError as error:
        raise UnreachableError(error.what, where=target.url, cure="Check --ca-file") from error
    except (aiomqtt.MqttError, OSError) as error:
        if ear.messages:
            click.echo(plain(f"the connection ended: {error}"), err=True)
            return
        cure = "Is it running there, and are user and password right?"
        raise UnreachableError(f"no MQTT session: {error}", where=target.url, cure=cure) from error


def _codes(granted: Any) -> Iterator[int]:
    for one in granted:
        yield one if isinstance(one, int) else one.value


def _bytes(payload: object) -> bytes:
    return payload if isinstance(payload, bytes) else b""


def _tell(target: Target, heard: Sequence[Heard]) -> int:
    """Every topic with what reads it, then the tables. 1 where nothing reads any."""
    now = time.time()
    profiles = probing.profiles(heard, now)
    free = [one for one in heard if not any(one.topic in profile.topics for profile in profiles)]
    profiles += probing.of_any_topic(free, now)
    plain_ones: dict[str, dict[str, Any]] = {}
    for one in heard[:_TOPICS]:
        _topic(one, profiles, plain_ones)
    if len(heard) > _TOPICS:
        click.echo(f"... and {len(heard) - _TOPICS} more topics")
    sources = [(_name(profile), {"driver": profile.kind.name, **profile.options}) for profile in profiles]
    sources += [(topic, {"driver": "mqtt", "topic": topic, **table}) for topic, table in plain_ones.items()][:_TABLES]
    if not sources:
        click.echo("\nNo driver reads any of this.")
        return 1
    click.echo()
    for name in dict.fromkeys(profile.kind.name for profile in profiles):
        mine = [profile for profile in profiles if profile.kind.name == name]
        samples = sum(profile.samples for profile in mine)
        devices = {device for profile in mine for device in profile.devices}
        told = f"samples {samples}" + (f", devices {len(devices)}" if devices else "")
        click.echo(f"This is {name} ({mine[0].kind.title}): {told}.")
    paste([suggesting.toml("broker.probed", _broker(target)), *_tables(sources)])
    if len(plain_ones) > _TABLES:
        click.echo(f"\n{len(plain_ones) - _TABLES} more topics can be read like the last of these.")
    return 0


def _tables(sources: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    """Each with an id of its own."""
    taken: set[str] = set()
    for name, table in sources:
        source = next(one for number in range(1, 1_000) if (one := _id(name, number)) not in taken)
        taken.add(source)
        yield suggesting.toml(f"source.{suggesting.key(source)}", {**table, "broker": "probed"})


def _topic(one: Heard, profiles: Sequence[Profile], plain_ones: dict[str, dict[str, Any]]) -> None:
    retained = " (retained)" if one.retained else ""
    for profile in profiles:
        if one.topic in profile.topics:
            found = profile.examples.get(one.topic)
            told = f"{found.device}  {in_words(found)}".strip() if found else "it has no value itself"
            click.echo(plain(f"{one.topic}: {profile.kind.name}: {told}"))
            return
    table = _table(one.payload)
    if table is None:
        click.echo(plain(f"{one.topic}{retained}: nothing reads this: {example(one.payload)}"))
        return
    if not one.retained:
        plain_ones[one.topic] = table
    click.echo(plain(f"{one.topic}{retained}: mqtt: {example(one.payload)}"))


def _table(payload: bytes) -> dict[str, Any] | None:
    """Options of the driver mqtt that read the payload: JSON, or one number; None where it is neither."""
    if len(payload) > PAYLOAD_BYTES:
        return None
    if payload.isascii() and isinstance(number(payload.decode("ascii").strip()), int | float):
        return {"payload": "text", "values": {"value": {}}}
    values = suggesting.json_values(payload)
    return {"values": values} if values else None


def _broker(target: Target) -> dict[str, Any]:
    given = {"user": target.user, "password": target.password, "ca_file": target.ca_file}
    return {"url": target.url.rstrip("/"), **{name: value for name, value in given.items() if value}}


def _name(profile: Profile) -> str:
    topic = profile.options.get("topic")
    return f"{profile.kind.name}-{topic}" if topic else profile.kind.name


def _id(name: str, number: int) -> str:
    """A source's id out of a name, the number-th of those that are alike."""
    kept = "".join(char if char.isascii() and (char.isalnum() or char in "._") else "-" for char in name.lower())
    return (kept.strip("-._")[:56] or "probed") + (f"-{number}" if number > 1 else "")
