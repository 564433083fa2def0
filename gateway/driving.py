"""The drivers that a configuration wants, each with its supervisor, and what one of them can take over as it runs;
the brokers that are told how the gateway does, and the chains that are told of the log.
"""

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from drivers import registry
from drivers.api import Changing, Driver
from drivers.mqtt_connect import Broker
from gateway.anchors import registry as chains
from gateway.anchors.api import Opened, RefusedError
from gateway.anchors.of_log import OfLog
from gateway.anchors.task import Anchoring
from gateway.announce import Announced
from gateway.clock import Clock
from gateway.configured import Configured
from gateway.errors import KeyFileError, Refused
from gateway.intake import Intake
from gateway.settings import AnchorSettings, SourceSettings
from gateway.store import Store
from gateway.supervise import Supervisor
from gateway.tallies import Raw

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """One driver as the configuration wants it; equal where nothing that it is made of differs.

    broker: that of its sources with its secrets, or None. driver: such a one, which has not run.
    """

    sources: Mapping[str, SourceSettings]
    broker: Broker | None
    driver: Driver = field(compare=False)

    @property
    def raws(self) -> dict[str, Raw]:
        """What is kept of the payloads of each source."""
        return {name: source.raw for name, source in self.sources.items()}


def wanted(configured: Configured, state_dir: Path, now: Callable[[], float | None]) -> dict[str, Wanted]:
    """The drivers by name; nothing is touched. Refused where one cannot be made.

    now: Unix seconds against which a device's own time is held, or None where nobody knows them.
    """
    settings = configured.settings
    sources = {name: (source.driver, source.options) for name, source in settings.source.items()}
    try:
        drivers = registry.build(sources, configured.brokers, state_dir=state_dir, now=now)
    except (registry.Misfit, registry.UnknownDriver) as error:
        raise Refused(str(error)) from error
    except Exception as error:
        what = f"a driver cannot be made of its options ({type(error).__name__}: {error})"
        raise Refused(what, cure="Report this to whoever made the driver") from error
    made: dict[str, Wanted] = {}
    for driver in drivers:
        own = {name: settings.source[name] for name in driver.sources}
        made[driver.name] = Wanted(own, _broker_of(own, configured.brokers), driver)
    return made


def _broker_of(sources: Mapping[str, SourceSettings], brokers: Mapping[str, Broker]) -> Broker | None:
    names = {getattr(source.options, "broker", None) for source in sources.values()}
    return next((brokers[name] for name in names if isinstance(name, str) and name in brokers), None)


def announced(configured: Configured) -> dict[str, Announced]:
    """Whom `[status]` tells how the gateway does: one broker or none."""
    settings = configured.settings
    name = settings.status.broker
    return {name: Announced(settings.gateway.name, settings.status, configured.brokers[name])} if name else {}


class Chained(NamedTuple):
    """One chain as the configuration wants it; equal where nothing that it is made of differs."""

    settings: AnchorSettings
    secrets: Mapping[str, str] | KeyFileError


def chained(configured: Configured) -> dict[str, Chained]:
    """The chains that are told of the log, by name."""
    anchors = configured.settings.anchor
    return {name: Chained(one, configured.anchors[name]) for name, one in anchors.items()}


def anchoring(name: str, wanted: Chained, store: Store, clock: Clock, rng: random.Random) -> Anchoring:
    """What keeps one of them told."""
    settings, kind = wanted.settings, chains.kind(wanted.settings.kind)
    opened = partial(_opened, kind, wanted)
    return Anchoring(name, settings, kind.chain(settings.options), opened, OfLog(store), clock, rng, final=kind.final)


def _opened(kind: chains.Kind, wanted: Chained) -> Opened:
    secrets = wanted.secrets
    if isinstance(secrets, KeyFileError):
        raise RefusedError(f"{secrets.where}: {secrets.what}", cure=f"{secrets.cure}. Then: fieldgate reload")
    return kind.opened(wanted.settings.options, secrets)


def under_names(wanted: Mapping[str, Wanted], running: Mapping[str, Wanted]) -> dict[str, Wanted]:
    """The wanted drivers, each under the name of a running one that is the same: a bus is called by a source of it."""
    names = {source: name for name, one in running.items() for source in one.sources}
    found: dict[str, Wanted] = {}
    for name, one in wanted.items():
        other = names.get(next(iter(one.sources), ""), name)
        found[other if running.get(other) == one else name] = one
    return found


def supervisor(one: Wanted, intake: Intake, clock: Clock, rng: random.Random) -> Supervisor:
    """A supervisor of the driver, its sources known to intake."""
    driver = one.driver
    parents = getattr(driver, "parents", {})  # drivers that name sources themselves have it
    emit = intake.emitter(driver.name, one.raws, parents)
    return Supervisor(driver, emit, monotonic=clock.monotonic, rng=rng)


async def take_over(running: Supervisor, was: Wanted, wanted: Wanted, intake: Intake) -> bool:
    """Has the running driver serve the sources that are wanted now. False where another has to be made for them."""
    driver = running.driver
    if not isinstance(driver, Changing):
        return False
    intake.change_sources(driver.name, {**was.raws, **wanted.raws})
    try:
        took_over = await driver.take_over(wanted.driver)
    except Exception as error:  # noqa: BLE001 -- a driver's bug: it is made anew
        log.error("%s: cannot take over other sources: %s: %s", driver.name, type(error).__name__, error)
        took_over = False
    intake.change_sources(driver.name, (wanted if took_over else was).raws)
    return took_over
