"""A whole gateway in this process, on a configuration that a test rewrites: what app.py makes, with its inside open."""

import asyncio
import contextlib
import gc
import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fakes.gateway_store import ORIGIN, signer

from gateway import store, tallies
from gateway.app import Gateway, Signals, started_with
from gateway.clock import SystemClock
from gateway.core import body, senml
from gateway.core.note import ED25519
from gateway.keys import encode_key
from gateway.store import Store
from gateway.store.blocks import inflate
from gateway.store.journal import newest_keys
from gateway.store.opening import open_journal
from gateway.store.space import quota_of

HEAD = """\
[gateway]
name = "{name}"
data_dir = "{folder}/data"
key = "file:{folder}/log.key"

[web]
listen = "127.0.0.1:0"

[journal]
linger_ms = 1

"""


class Home:
    """A gateway's folder: configuration, key, store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "fieldgate.toml"
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        seed = hashlib.sha256(b"gateway_store " + ORIGIN.encode()).digest()
        self.secret("log.key", encode_key(ORIGIN, ED25519, seed))
        store.create(self.data, signer().vkey)
        self.write("")

    def secret(self, name: str, text: str) -> None:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)

    def write(self, text: str, head: str = HEAD) -> None:
        """`text` behind the tables that every configuration here has."""
        self.path.write_text(head.format(name=ORIGIN.rpartition("/")[0], folder=self.folder) + text)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Running"]:
        """The gateway runs; at the end it is stopped in order, unless it has ended by itself."""
        configured = await asyncio.to_thread(started_with, self.path)
        clock = await asyncio.to_thread(SystemClock)
        settings = configured.settings
        opened = await Store.open(self.data, quota=quota_of(settings.retention))
        try:
            linger_s, most = settings.journal.linger_ms / 1000, settings.seal.max_count
            journal = await open_journal(opened, linger_s=linger_s, max_count=most, monotonic=clock.monotonic)
            seen = await newest_keys(opened.db, settings.broker)
            signals = Signals(asyncio.Event(), asyncio.Event())
            gateway = Gateway(self.path, configured, clock, opened, journal, seen, signals)
            gateway._rng = random.Random(1)
            task = asyncio.create_task(gateway.run())
            made = Running(self, gateway, signals, opened, task)
            try:
                await made.until(lambda: gateway._web.port)
                yield made
            finally:
                signals.stop.set()
                await task
        finally:
            gc.unfreeze()  # what it froze belongs to the tests
            await opened.close()


class Running:
    """A gateway that runs."""

    def __init__(
        self, home: Home, gateway: Gateway, signals: Signals, opened: Store, task: "asyncio.Task[None]"
    ) -> None:
        self.home, self.gateway, self.signals, self.store, self.task = home, gateway, signals, opened, task

    async def until(self, condition: Any, patience_s: float = 20) -> None:
        """Returns when it holds; what ends the gateway meanwhile is raised."""
        async with asyncio.timeout(patience_s):
            while not condition():
                if self.task.done():
                    await self.task
                    raise AssertionError("the gateway has ended")
                await asyncio.sleep(0.005)

    async def reload(self, text: str | None = None, asked: str = "reload") -> dict[str, Any]:
        """The configuration is `text` now; what the gateway says to it."""
        if text is not None:
            self.home.write(text)
        assert self.gateway._services.reload is not None
        return await self.gateway._services.reload(asked)

    def status(self) -> dict[str, Any]:
        return self.gateway._services.status()

    @property
    def drivers(self) -> dict[str, Any]:
        """By name."""
        return {name: one.driver for name, one in self.gateway._drivers.members.items()}

    async def events(self) -> list[dict[str, Any]]:
        """The gateway's own, in order."""
        await self.gateway._journal.commit()
        rows = await self.store.db.read("SELECT data FROM journal ORDER BY row")
        packs = [senml.resolve(pack) for (data,) in rows for pack, _ in body.read_items(inflate(data))]
        own = [one for one in packs if one.source == tallies.OWN]
        return [{record.name: record.value for record in one.records} for one in own]

    def inside(self) -> dict[str, Any]:
        """All that a configuration decides, as this gateway has it."""
        it = self.gateway
        return {
            "drivers": dict(it._drivers.wanted),
            "served": {name: dict(driver.sources) for name, driver in self.drivers.items()},
            "filters": {
                name: driver._subscriptions.filters for name, driver in self.drivers.items() if name.startswith("mqtt-")
            },
            "tallies": {
                name: (one.driver, one.raw) for name, one in it._intake.tallies.items() if name not in self.drivers
            },
            "windows": dict(it._intake._sizes),
            "nodes": {name: (node._link, str(node._seen_key)) for name, node in it._nodes.members.items()},
            "witnesses": {name: (one._link, str(one._key)) for name, one in it._witnesses.members.items()},
            "readers": {} if it._web._pull is None else {
                str(key): reader.named for key, reader in it._web._pull._readers.items()
            },
            "keys": set() if it._web._pull is None else set(it._web._pull._checker._keys),
            "retention": (it._retention._settings, dict(it._retention._nodes)),
            "space": (it._retention._space._quota, it._retention._space._min_free, it._store.db._quota),
            "seal": (it._sealer._max_age_s, it._sealer._heartbeat_s, it._services.cosigned_within_s()),
            "announced": dict(it._announcers.wanted),
        }  # fmt: skip
