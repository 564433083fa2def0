"""The drivers that a configuration wants, and each with its supervisor."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivers import registry
from drivers.api import Driver
from drivers.mqtt_connect import Broker
from gateway import config
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
    brokers = {name: _broker(settings, name) for name in settings.broker}
    sources = {name: (source.driver, source.options) for name, source in settings.source.items()}
    made: dict[str, Wanted] = {}
    for driver in registry.build(sources, brokers, state_dir=state_dir, now=now):
        own = {name: settings.source[name] for name in driver.sources}
        made[driver.name] = Wanted(own, _broker_of(own, brokers), driver)
    return made


def supervisor(one: Wanted, intake: Intake, clock: Clock, rng: random.Random) -> Supervisor:
    """A supervisor of the driver, its sources known to intake."""
    driver = one.driver
    raws = {name: source.raw for name, source in one.sources.items()}
    parents = getattr(driver, "parents", {})  # drivers that name sources themselves have it
    return Supervisor(driver, intake.emitter(driver.name, raws, parents), monotonic=clock.monotonic, rng=rng)


def _broker_of(sources: Mapping[str, SourceSettings], brokers: Mapping[str, Broker]) -> Broker | None:
    names: list[Any] = [getattr(source.options, "broker", None) for source in sources.values()]
    return brokers.get(names[0]) if names else None


def _broker(settings: Settings, name: str) -> Broker:
    broker = settings.broker[name]
    host, port, tls = config.broker_address(broker.url)
    return Broker(
        name=name,
        host=host,
        port=port,
        tls=tls,
        client_id=broker.client_id or f"fieldgate-{settings.gateway.name}",
        window=broker.window,
        keepalive_s=broker.keepalive_s,
        connect_timeout_s=broker.connect_timeout_s,
        user=broker.user,
        password=config.read_secret(broker.password) if broker.password else "",
        ca_file=broker.ca_file,
        cert_file=broker.cert_file,
        key_file=broker.key_file,
    )
