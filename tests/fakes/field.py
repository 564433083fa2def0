"""A whole installation as processes of its own: a gateway, and a node, made by the commands that a user runs."""

import asyncio
import contextlib
import json
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from fakes import command
from fakes.broker import free_port
from fakes.command import Done

from gateway.core import senml
from gateway.store import Store

PATIENCE_S = 60.0
CLI = (sys.executable, "-m", "gateway.cli")


async def until(done: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Waits for something that has no event of its own."""
    try:
        async with asyncio.timeout(patience_s):
            while not done():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {patience_s:.0f} s: {what}") from None


class Process:
    """A process with its log. `command` is what is run; each start appends to the log."""

    def __init__(self, name: str, folder: Path, *command: str) -> None:
        self.name, self.folder, self.command = name, folder, command
        self.log = folder / f"{name}.log"
        self.env: dict[str, str] | None = None  # in place of this process's own
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *more: str) -> None:
        assert not self.running
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                *more,
                cwd=self.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Sends the signal to what still runs, and tells how it ended."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(how)
        async with asyncio.timeout(PATIENCE_S):
            return await self._process.wait()

    async def gone(self) -> int:
        """Waits until it ends by itself."""
        assert self._process is not None
        async with asyncio.timeout(PATIENCE_S):
            return await self._process.wait()

    def words(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


async def ran(*args: str, cwd: Path, under: tuple[str, ...] = ()) -> Done:
    """How a command ended."""
    return await asyncio.to_thread(command.fieldgate, *args, cwd=cwd, under=under)


async def fieldgate(*args: str, cwd: Path) -> str:
    """What a command prints; it must succeed."""
    done = await ran(*args, cwd=cwd)
    assert done.code == 0, (args, done)
    return done.out


class Field:
    """folder/gateway and folder/node. `sources` is the text of the gateway's tables; run `make` first.

    data: the gateway's data_dir, where it is not folder/gateway/data.
    """

    def __init__(
        self,
        folder: Path,
        sources: str,
        *,
        with_node: bool = True,
        data: Path | None = None,
        name: str = "field.example",
    ) -> None:
        self.folder, self.sources, self.with_node, self.name = folder, sources, with_node, name
        self.home = folder / "gateway"
        self.data = data or self.home / "data"
        self.gateway = Process("gateway", self.home, *CLI, "run")
        self.node = Process("node", folder, *CLI, "node", "run", "--config", "node/node.toml")
        self.node_port, self.web_port = free_port(), free_port()

    async def make(self) -> None:
        self.home.mkdir(parents=True)
        made = await fieldgate("init", "--name", self.name, "--data-dir", str(self.data), cwd=self.home)
        reader = next(line.split()[2] for line in made.splitlines() if line.startswith("read key"))
        text = self.sources + f'\n[web]\nlisten = "127.0.0.1:{self.web_port}"\n'
        if self.with_node:
            listen = f"127.0.0.1:{self.node_port}"
            init = ("node", "init", "--name", "node.example", "--dir", "node", "--listen", listen)
            told = await fieldgate(*init, cwd=self.folder)
            text += told[told.index("[node.") :]
        with (self.home / "fieldgate.toml").open("a") as file:
            file.write("\n" + text)
        if self.with_node:
            policy = await fieldgate("policy", cwd=self.home)
            vkey = next(line.split()[1] for line in policy.splitlines() if line.startswith("log "))
            with (self.folder / "node" / "node.toml").open("a") as file:
                file.write(f'\n[gateway.field]\nvkey = "{vkey}"\nconsumers = ["{reader}"]\n')

    @contextlib.asynccontextmanager
    async def started(self, *, node: bool = True) -> AsyncIterator[None]:
        """Node and gateway run; both are ended whatever happens."""
        try:
            if self.with_node and node:
                await self.node.start()
            await self.gateway.start()
            yield
        finally:
            for process in (self.gateway, self.node):
                if process.running:
                    await process.end(signal.SIGKILL)

    async def node_up(self) -> None:
        """Waits until the node takes connections."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(ConnectionError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.node_port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    async def up(self) -> None:
        """Returns when the gateway answers; a killed one leaves a socket that nobody answers on."""
        await until(self._answers, f"a gateway that answers\n{self.gateway.words()}")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(str(self.data / "control.sock")) == 0

    async def status(self) -> dict[str, Any]:
        """`fieldgate status --json` of the running gateway."""
        await self.up()
        out: dict[str, Any] = json.loads(await fieldgate("status", "--json", cwd=self.home))
        return out

    def journaled(self) -> int:
        """Readings on disk at this moment, as another process sees them."""
        path = self.data / "fieldgate.db"
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as con:
            return int(con.execute("SELECT coalesce(sum(count),0) FROM journal").fetchone()[0])

    def entries(self) -> dict[int, bytes]:
        """Height to entry, as stored at this moment."""
        path = self.data / "fieldgate.db"
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as con:
            return dict(con.execute("SELECT height, entry FROM block"))

    async def readings(self) -> list[senml.Reading]:
        """Every sealed reading of a gateway that is stopped, in the order of the chain."""
        store = await Store.open(self.data, read_only=True)
        try:
            found = []
            for height in range(store.blocks.size):
                found += [senml.resolve(pack) async for pack, _ in store.blocks.items(height)]
            return found
        finally:
            await store.close()

    async def node_progress(self) -> tuple[int, int]:
        """(blocks of the log, blocks that the node signed as stored), as the stopped gateway knows."""
        store = await Store.open(self.data, read_only=True)
        try:
            return store.blocks.size, (await store.cosigned.progress("node")).stored
        finally:
            await store.close()
