"""A gateway and a node as a service manager sees them: they start, are fed or not, reload, wait and stop."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from fakes.card import Card
from fakes.field import Field, Process, fieldgate, until
from fakes.service_manager import ServiceManager

FREEZE, THAW = 0xC0045877, 0xC0045878  # FIFREEZE, FITHAW: ioctl_fs(2)
WATCHDOG_S = 0.4
QUIET = "[seal]\nheartbeat_s = 3600\n"


@contextlib.contextmanager
def managing(process: Process, folder: Path) -> Iterator[ServiceManager]:
    manager = ServiceManager(str(folder / f"{process.name}.notify"))
    process.env = {**os.environ, **manager.env(WATCHDOG_S)}
    try:
        yield manager
    finally:
        manager.close()


@contextlib.contextmanager
def hung(folder: Path) -> Iterator[None]:
    """The disk takes a write and does not answer, as a card does that is busy with itself."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, FREEZE, 0)
        try:
            yield
        finally:
            fcntl.ioctl(fd, THAW, 0)
    finally:
        os.close(fd)


async def test_a_gateway_tells_that_it_runs_reloads_and_stops(tmp_path: Path) -> None:
    field = Field(tmp_path, QUIET, with_node=False)
    await field.make()
    with managing(field.gateway, tmp_path) as manager:
        async with field.started():
            await manager.hears("READY")
            assert (await field.status())["headline"], "it answers when it says that it runs"
            await manager.hears("WATCHDOG")
            manager.listen()
            await fieldgate("reload", cwd=field.home)
            await manager.hears("RELOADING")
            await manager.hears("READY")
            (field.home / "fieldgate.toml").write_text("nonsense")
            os.kill(field.gateway.pid, signal.SIGHUP)
            await manager.hears("RELOADING")
            await manager.hears("READY")
            assert manager.told("STATUS")
            assert await field.gateway.end() == 0
            await manager.hears("STOPPING")
            assert manager.told("EXTEND_TIMEOUT_USEC"), "it drains"


async def test_a_hung_disk_starves_the_watchdog_of_an_idle_gateway(tmp_path: Path) -> None:
    with Card(tmp_path / "card", "ext4") as card:
        field = Field(tmp_path, QUIET, with_node=False, data=card.folder / "data")
        await field.make()
        with managing(field.gateway, tmp_path) as manager:
            async with field.started():
                await manager.hears("READY")
                await manager.hears("WATCHDOG")
                with hung(card.folder):
                    await asyncio.sleep(2 * WATCHDOG_S)  # a probe that was under way has ended
                    fed = len(manager.told("WATCHDOG"))
                    await asyncio.sleep(4 * WATCHDOG_S)
                    assert len(manager.told("WATCHDOG")) == fed
                await manager.hears("WATCHDOG")
                assert await field.gateway.end() == 0


async def test_a_gateway_without_room_at_its_start_says_what_it_waits_for(tmp_path: Path) -> None:
    with Card(tmp_path / "card", "ext4", mib=8) as card:
        field = Field(tmp_path, QUIET, with_node=False, data=card.folder / "data")
        await field.make()
        ballast = card.folder / "others"
        (card.folder / "data" / "ballast").unlink(missing_ok=True)
        with ballast.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4_096))
                file.flush()
        with managing(field.gateway, tmp_path) as manager:
            async with field.started():
                await manager.hears("EXTEND_TIMEOUT_USEC", "30000000")
                await until(lambda: bool(manager.told("STATUS")), "a word of what it waits for")
                assert "room" in manager.told("STATUS")[0]
                assert manager.told("READY") == []
                ballast.unlink()
                await manager.hears("READY")
                assert await field.gateway.end() == 0


async def test_a_node_tells_that_it_runs_and_starves_its_watchdog_on_a_hung_disk(tmp_path: Path) -> None:
    with Card(tmp_path / "card", "ext4") as card:
        field = Field(tmp_path, "")
        await field.make()
        shutil.move(tmp_path / "node" / "data", card.folder / "data")
        (tmp_path / "node" / "data").symlink_to(card.folder / "data")
        with managing(field.node, tmp_path) as manager:
            await field.node.start()
            try:
                await manager.hears("READY")
                await manager.hears("WATCHDOG")
                with hung(card.folder):
                    await asyncio.sleep(2 * WATCHDOG_S)
                    fed = len(manager.told("WATCHDOG"))
                    await asyncio.sleep(4 * WATCHDOG_S)
                    assert len(manager.told("WATCHDOG")) == fed
                await manager.hears("WATCHDOG")
                assert manager.told("STATUS") == [f"Serves 1 logs on http://127.0.0.1:{field.node_port}"]
                assert await field.node.end() == 0
                assert manager.told("STOPPING") == ["1"]
            finally:
                if field.node.running:
                    await field.node.end(signal.SIGKILL)
