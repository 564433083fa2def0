"""The drivers that a configuration wants, each with its supervisor, and the brokers that are told how it goes."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivers import registry
from drivers.api import Driver
from drivers.mqtt_connect import Broker
from gateway import config
from gateway.announce import Announced
from gateway.clock import Clock
from gateway.intake import Intake
from gateway.settings import Settings, SourceSettings
from gateway.supervise import Supervisor


@dataclass(frozen=True)
class Wanted:
    """One driver as the configuration wants it; equal where nothing that it is made of differs.

    broker: that of its sources with its secrets, or None. driver: such a one, which has not run.
    """

    sources: Mapping[str, SourceSettings]
    broker: Broker | None
    driver: Driver = field(compare=False)


def wanted(settings: Settings, state_dir: Path, now: Callable[[], float | None]) -> dict[str, Wanted]:
    """The drivers by name. FieldgateError where a secret cannot be read; nothing else is touched.

    now: Unix seconds against which a device's own time is held, or None where nobody knows them.
    """
    brokers = {name: broker(settings, name) for name in settings.broker}
    sources = {name: (source.driver, source.options) for name, source in settings.source.items()}
    made: dict[str, Wanted] = {}
    for driver in registry.build(sources, brokers, state_dir=state_dir, now=now):
        own = {name: settings.source[name] for name in driver.sources}
        made[driver.name] = Wanted(own, _broker_of(own, brokers), driver)
    return made


def announced(settings: Settings) -> dict[str, Announced]:
    """Whom `[status]` tells how the gateway does: one broker or none. KeyFileError as for `broker`."""
    name = settings.status.broker
    return {name: Announced(settings.gateway.name, settings.status, broker(settings, name))} if name else {}


def supervisor(one: Wanted, intake: Intake, clock: Clock, rng: random.Random) -> Supervisor:
    """A supervisor of the driver, its sources known to intake."""
    driver = one.driver
    raws = {name: source.raw for name, source in one.sources.items()}
    parents = getattr(driver, "parents", {})  # drivers that name sources themselves have it
    return Supervisor(driver, intake.emitter(driver.name, raws, parents), monotonic=clock.monotonic, rng=rng)


def _broker_of(sources: Mapping[str, SourceSettings], brokers: Mapping[str, Broker]) -> Broker | None:
    names: list[Any] = [getattr(source.options, "broker", None) for source in sources.values()]
    return brokers.get(names[0]) if names else None


def broker(settings: Settings, name: str) -> Broker:
    """[broker.NAME] with its secrets. KeyFileError where one cannot be had."""
    own = settings.broker[name]
    host, port, tls = config.broker_address(own.url)
    return Broker(
        name=name,
        host=host,
        port=port,
        tls=tls,
        client_id=own.client_id or f"fieldgate-{settings.gateway.name}",
        window=own.window,
        keepalive_s=own.keepalive_s,
        connect_timeout_s=own.connect_timeout_s,
        user=own.user,
        password=config.read_secret(own.password) if own.password else "",
        ca_file=own.ca_file,
        cert_file=own.cert_file,
        key_file=own.key_file,
    )
