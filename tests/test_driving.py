"""What a driver is made of, and how one that runs comes to serve other sources."""

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes import odd_driver
from fakes.gateway_store import Pipeline, pipeline, sample
from fakes.odd_driver import OddOptions

from drivers import registry
from drivers.api import Changing, Driver, Emit
from drivers.mqtt_connect import Broker
from drivers.system import SystemOptions
from gateway import driving
from gateway.configured import Configured
from gateway.core import body, senml
from gateway.driving import Wanted
from gateway.errors import Refused
from gateway.settings import GatewaySettings, Settings, SourceSettings
from gateway.store.blocks import inflate
from gateway.supervise import Supervisor

BROKER = Broker(name="local", host="127.0.0.1", port=1, client_id="c")


class Taker:
    """A Changing driver. `act` is what it does when it is to take over, with the other and the function it emits by."""

    def __init__(self, sources: Mapping[str, object], act: Any = None) -> None:
        self.name = "taker"
        self.sources = sources
        self.act = act
        self.emit: Emit | None = None

    async def run(self, emit: Emit) -> None:
        self.emit = emit
        await asyncio.Event().wait()

    async def take_over(self, other: Driver) -> bool:
        took_over: bool = await self.act(self, other)
        if took_over:
            self.sources = other.sources
        return took_over


def want(driver: Driver, **raws: Any) -> Wanted:
    sources = {name: SourceSettings(driver="system", raw=raw, options=SystemOptions()) for name, raw in raws.items()}
    return Wanted(sources, None, driver)


async def begun(gateway: Pipeline, was: Wanted) -> tuple[Supervisor, "asyncio.Task[None]"]:
    supervisor = driving.supervisor(was, gateway.intake, gateway.clock, random.Random(1))
    task = asyncio.create_task(supervisor.run())
    await asyncio.sleep(0)
    return supervisor, task


async def test_intake_knows_new_sources_before_the_driver_does_and_old_ones_until_it_has_let_go(tmp_path: Path) -> None:
    async def act(driver: Taker, other: Taker) -> bool:
        assert driver.emit is not None
        assert set(gateway.intake.tallies) == {"gateway", "old", "stays", "new"}
        driver.emit([sample(source) for source in ("old", "new", "stays")])
        return True

    async with pipeline(tmp_path) as gateway:
        was, wanted = want(Taker({}, act), old="none", stays="in"), want(Taker({}), new="none", stays="none")
        supervisor, task = await begun(gateway, was)
        assert isinstance(supervisor.driver, Changing)
        assert await driving.take_over(supervisor, was, wanted, gateway.intake)
        await gateway.journal.commit()
        assert set(gateway.intake.tallies) == {"gateway", "new", "stays"}
        rows = await gateway.store.db.read("SELECT data FROM journal")
        kept = [senml.resolve(pack) for (data,) in rows for pack, _ in body.read_items(inflate(data))]
        assert [(one.source, one.raw) for one in kept] == [("old", None), ("new", None), ("stays", None)]
        task.cancel()


@pytest.mark.parametrize("how", ["no", "a bug"])
async def test_a_driver_that_cannot_take_over_serves_what_it_did(tmp_path: Path, how: str) -> None:
    async def act(driver: Taker, other: Taker) -> bool:
        if how == "a bug":
            raise RuntimeError("a bug")
        return False

    async with pipeline(tmp_path) as gateway:
        was, wanted = want(Taker({}, act), old="in"), want(Taker({}), new="in")
        supervisor, task = await begun(gateway, was)
        assert not await driving.take_over(supervisor, was, wanted, gateway.intake)
        assert set(gateway.intake.tallies) == {"gateway", "old"}
        task.cancel()


async def test_one_that_knows_of_no_change_is_made_anew(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        driver = registry.build({"box": ("system", SystemOptions())}, {})[0]
        was = Wanted({}, None, driver)
        supervisor, task = await begun(gateway, was)
        assert not await driving.take_over(supervisor, was, was, gateway.intake)
        task.cancel()


# What is wanted


def configured(brokers: Mapping[str, Broker] | None = None, **sources: SourceSettings) -> Configured:
    gateway = GatewaySettings(name="henhouse.example", data_dir="/d", key="file:/k")
    return Configured(Settings(gateway=gateway, source=sources), brokers or {}, {})


def system(every_s: float, path: str = "/") -> SourceSettings:
    return SourceSettings(driver="system", options=SystemOptions(every_s=every_s, path=path))


def made(*parts: Configured) -> list[dict[str, Wanted]]:
    return [driving.wanted(one, Path("/d"), lambda: None) for one in parts]


def test_drivers_are_equal_where_they_are_made_of_the_same() -> None:
    one, same, other = made(configured(a=system(1)), configured(a=system(1)), configured(a=system(2)))
    assert one == same
    assert one["system-a"].driver is not same["system-a"].driver
    assert one != other


def test_a_bus_keeps_its_name_while_it_has_the_same_sources() -> None:
    running, turned, less, two = made(
        configured(a=system(1), b=system(1)),
        configured(b=system(1), a=system(1)),
        configured(b=system(1)),
        configured(b=system(1), a=system(1, "/other")),
    )
    assert list(turned) == ["system-b"]
    assert driving.under_names(turned, running) == running
    assert driving.under_names(less, running) == less
    assert driving.under_names(two, running) == two
    assert driving.under_names(running, {}) == running


def test_a_driver_that_cannot_be_made_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    odd_driver.install(monkeypatch)
    with pytest.raises(Refused, match="no such thing"):
        made(configured(a=SourceSettings(driver="odd", options=OddOptions(broken=True))))
    with pytest.raises(Refused, match="there is no driver"):
        made(configured(a=SourceSettings(driver="odder", options=OddOptions())))
