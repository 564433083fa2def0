"""`fieldgate demo`: the whole way on one machine, with nothing to set up."""

import asyncio
import contextlib
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from drivers.simulators import quay
from gateway.cli.demo_proof import refuse_all, verify_alone
from gateway.cli.demo_site import Site, choose_broker
from gateway.cli.status import ask
from gateway.errors import FieldgateError, NotFoundError

_SOURCE = "weighbridge"
_TELL_S = 2.0
_PROOF_S = 30.0
Tell = Callable[[str], None]


@click.command()
@click.option("--seconds", envvar="DEMO", type=click.FloatRange(min=0), default=30.0, show_default=True, metavar="S")
@click.option(
    "--broker",
    envvar="DEMO_BROKER",
    type=click.Choice(["", "mosquitto", "amqtt"]),
    default="",
    help="Without it: mosquitto where it is installed, else amqtt.",
)
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
def demo(seconds: float, broker: str, folder: Path) -> None:
    """Show the whole way from sensor to verified receipt on this machine, on loopback, without root.

    A broker, a simulated hen house and quay, one gateway and one upstream node. After S seconds (0: until Ctrl-C; the
    environment's DEMO sets it too) a receipt is fetched, verified by a process that has nothing but it and the policy,
    and spoilt byte by byte. It leaves receipt.tlog-proof and policy in the folder.

    \b
    Examples:
      fieldgate demo
      fieldgate demo --seconds 0 --broker mosquitto

    Exit 0: everything held. Anything else says why.
    """
    program, banner = choose_broker(broker)
    folder = folder.absolute()
    folder.mkdir(exist_ok=True)
    state = folder / "state"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir()
    click.echo(banner)
    asyncio.run(_demo(Site(state, program), seconds, folder))


async def _demo(site: Site, seconds: float, folder: Path) -> None:
    interrupted = _interrupts()
    with quay.Line(site.folder / "weighbridge") as line:
        try:
            await site.start(line)
            click.echo(f"page: {site.page}   files: {site.folder}")
            sensors = asyncio.create_task(site.run_sensors(line), name="sensors")
            try:
                await _show(site, seconds, interrupted, sensors)
                receipt, policy = await _fetch(site, folder)
            finally:
                sensors.cancel()
                await asyncio.wait({sensors})
            await _prove(site, receipt, policy)
            summary = await _finish(site)
        finally:
            await site.stop_all()
    click.echo(summary)


def _interrupts() -> asyncio.Event:
    """Set by Ctrl-C or SIGTERM: the demo comes to its proof at once."""
    event = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    return event


async def _show(site: Site, seconds: float, interrupted: asyncio.Event, sensors: "asyncio.Task[None]") -> None:
    """Live progress until the time is over."""
    with _teller() as tell, contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds or None):
            while not interrupted.is_set():
                site.check()
                if sensors.done():
                    sensors.result()
                tell(_progress(await _status(site)))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(interrupted.wait(), _TELL_S if not sys.stdout.isatty() else 0.5)


async def _status(site: Site) -> dict[str, Any]:
    return await asyncio.to_thread(ask, site.config.parent / "data" / "control.sock")


def _progress(state: dict[str, Any]) -> str:
    received = sum(source["received"] for name, source in state["sources"].items() if name != "gateway")
    node = next(iter(state["nodes"].values()))
    chain = state["chain"]
    return (
        f"readings {received:5}   blocks {chain['size']:3}   co-signed {node['seen']:3}   stored {node['stored']:3}   "
        f"{state['headline']}"
    )


@contextlib.contextmanager
def _teller() -> Iterator[Tell]:
    """One line that renews itself on a terminal; elsewhere a line each time."""
    if not sys.stdout.isatty():
        yield click.echo
        return
    from rich.live import Live  # noqa: PLC0415  only where there is a terminal
    from rich.text import Text  # noqa: PLC0415

    with Live(Text(""), refresh_per_second=4) as live:
        yield lambda text: live.update(Text(text, no_wrap=True, overflow="ellipsis"))


async def _fetch(site: Site, folder: Path) -> tuple[Path, Path]:
    """Policy, and the receipt of a reading that the node holds."""
    receipt, policy = folder / "receipt.tlog-proof", folder / "policy"
    config = str(site.config)
    _check_sources((await _status(site))["sources"])
    await site.command("policy", "--config", config, "-o", str(policy))
    at = (await _status(site))["now_ms"] / 1000
    wanted = ("receipt", _SOURCE, "--at", str(at), "--config", config, "--policy", str(policy), "-o", str(receipt))
    try:
        async with asyncio.timeout(_PROOF_S):
            while (outcome := await site.outcome(*wanted))[0] == NotFoundError.exit_code:
                site.check()
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise FieldgateError(f"no receipt for {_SOURCE} within {_PROOF_S:.0f} s", where="demo") from None
    if outcome[0]:
        raise FieldgateError("no receipt could be made", where="demo", cure=outcome[2].strip())
    return receipt, policy


def _check_sources(sources: dict[str, dict[str, Any]]) -> None:
    """FieldgateError where a source brought nothing, was refused anything, or its counts do not add up."""
    for name, source in sources.items():
        refused = set(source["rejects"]) - {"partial_line"}  # a serial line that was being written when it was opened
        if not source["stored"] or refused or not source["balanced"]:
            counts = {key: source[key] for key in ("received", "stored", "duplicate", "rejected", "dropped")}
            raise FieldgateError(
                f"source {name}: {counts}", where="demo", cure=str(source["example"] or source["detail"])
            )


async def _prove(site: Site, receipt: Path, policy: Path) -> None:
    """Verifies the receipt alone, then shows that a flipped byte in each section is refused at its own step."""
    data = receipt.read_bytes()
    code, words = await verify_alone(site, data, policy)
    click.echo(f"\n{receipt} by a process with nothing but it and {policy.name}:\n{words.rstrip()}\n")
    if code:
        raise FieldgateError(f"the receipt was refused (exit {code})", where="demo", cure=words.strip())
    click.echo("one byte flipped in its ... is refused at step")
    for section, step in await refuse_all(site, data, policy):
        click.echo(f"  {section:<20} {step}")


async def _finish(site: Site) -> str:
    """Stops the gateway and the node in order, verifies the store that is left, and sums up."""
    if (code := await site.stop("gateway")) != 0:
        raise FieldgateError(f"the gateway ended with {code}", where=str(site.folder / "gateway.log"))
    told = await site.command("verify", "--store", str(site.config.parent / "data"))
    readings, blocks, stored = await _stored(site)
    if (code := await site.stop("node")) != 0:
        raise FieldgateError(f"the node ended with {code}", where=str(site.folder / "node.log"))
    if stored != blocks:
        raise FieldgateError(f"the node stored {stored} of {blocks} blocks", where="demo", cure=told.strip())
    return f"demo: {readings} readings, {blocks} blocks, stored by 1 of 1, receipt verified"


async def _stored(site: Site) -> tuple[int, int, int]:
    """(readings, blocks, blocks that the node signed as stored), from the store that the gateway left."""
    from gateway.store import Store  # noqa: PLC0415  aiosqlite, after the processes are gone

    store = await Store.open(site.config.parent / "data", read_only=True)
    try:
        node = await store.cosigned.progress("node")
        return store.blocks.readings, store.blocks.size, node.stored
    finally:
        await store.close()
