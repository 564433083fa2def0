"""`fieldgate simulate`: a sensor for trying a gateway out, where no real one is at hand."""

import asyncio
import os
import stat
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from msgspec import ValidationError, convert

from drivers.simulators import henhouse, nmea, quay
from gateway import config
from gateway.cli import INTERRUPTED
from gateway.errors import Refused
from gateway.settings import BrokerSettings

_CLIMATE = """\
[broker.local]
url = "{url}"

[source.climate]
driver = "mqtt"
broker = "local"
topic = "{topic}"
values = {{ temp = {{ pointer = "/temperature", unit = "Cel" }}, rh = {{ pointer = "/humidity", unit = "%RH" }} }}
"""
_SCALE = """\
[source.weighbridge]
driver = "scale"
variant = "st-gs"
port = "{port}"
"""
_SHIP = """\
[source.ship]
driver = "nmea0183"
port = "{port}"
"""


@click.group()
def simulate() -> None:
    """Be a sensor, until Ctrl-C: for trying a gateway out. What to add to the configuration is printed first.

    \b
    Examples:
      fieldgate simulate climate mqtt://127.0.0.1:1883
      fieldgate simulate scale ./scale
      fieldgate simulate ship ./ship
    """


@simulate.command()
@click.argument("broker", metavar="mqtt://HOST:PORT")
@click.option("--user", default="", help="Who publishes.")
@click.option("--password", default=None, metavar="SECRET", help="Where the password is: file:/path or env:NAME.")
@click.option("--every", default=1.0, show_default=True, type=click.FloatRange(0.01, 3600), help="Seconds between two.")
def climate(broker: str, user: str, password: str | None, every: float) -> int:
    """Publish a hen house's temperature and humidity over MQTT, and every tenth time the weight of its feed silo.

    A broker that is away is waited for.

    \b
    Examples:
      fieldgate simulate climate mqtt://127.0.0.1:1883
      fieldgate simulate climate mqtt://127.0.0.1:1883 --user climate --password file:/etc/fieldgate/climate.password

    Exit 2: the address or the password cannot be used. 130: ended with Ctrl-C.
    """
    host, port = _address(broker)
    secret = config.read_secret(password) if password else None
    click.echo(_CLIMATE.format(url=f"mqtt://{host}:{port}", topic=henhouse.CLIMATE_TOPIC))
    name = f"simulated-climate-{os.getpid()}"
    return _until_interrupted(
        henhouse.run(host, port, every_s=every, client_id=name, user=user or None, password=secret)
    )


@simulate.command()
@click.argument("port", type=click.Path(path_type=Path))
@click.option(
    "--every", default=0.25, show_default=True, type=click.FloatRange(0.01, 3600), help="Seconds between two."
)
def scale(port: Path, every: float) -> int:
    """Be a weighbridge on a serial port that is made for it, PORT: lorries roll on, come to rest, drive off.

    Ctrl-C unplugs it.

    \b
    Example:
      fieldgate simulate scale ./scale

    Exit 1: PORT is something else already. 130: ended with Ctrl-C.
    """
    with _line(port) as line:
        click.echo(_SCALE.format(port=line.path))
        return _until_interrupted(quay.run(line, quay.weighbridge(), every_s=every))


@simulate.command()
@click.argument("port", type=click.Path(path_type=Path))
@click.option(
    "--every", default=0.25, show_default=True, type=click.FloatRange(0.01, 3600), help="Seconds between two."
)
def ship(port: Path, every: float) -> int:
    """Be a ship's instruments (NMEA 0183) on a serial port that is made for it, PORT.

    Ctrl-C unplugs them.

    \b
    Example:
      fieldgate simulate ship ./ship

    Exit 1: PORT is something else already. 130: ended with Ctrl-C.
    """
    with _line(port) as line:
        click.echo(_SHIP.format(port=line.path))
        return _until_interrupted(quay.run(line, nmea.log(), every_s=every))


def _address(url: str) -> tuple[str, int]:
    """Host and port of a broker without TLS."""
    try:
        broker = convert({"url": url}, BrokerSettings)
        host, port, tls = config.broker_address(broker.url)
    except (ValidationError, ValueError):
        host, port, tls = "", 0, False
    if not host or tls:
        raise click.UsageError(f"{url!r} is no broker's address: write mqtt://HOST:PORT")
    return host, port


@contextmanager
def _line(port: Path) -> Iterator[quay.Line]:
    """A pseudo-terminal under that name; only one that a simulation left behind is replaced."""
    path = port.absolute()
    if os.path.lexists(path) and not (path.is_symlink() and _is_terminal(path)):
        raise Refused("is there already, and is no simulated port", where=str(path), cure="Choose another name")
    with quay.Line(path) as line:
        line.let_go()  # who else holds a port is looked into by `doctor`
        try:
            yield line
        finally:
            path.unlink(missing_ok=True)


def _is_terminal(path: Path) -> bool:
    """Whether a link is to a pseudo-terminal, or to one that is gone."""
    try:
        return path.readlink().parent == Path("/dev/pts") and (not path.exists() or stat.S_ISCHR(path.stat().st_mode))
    except OSError:
        return False


def _until_interrupted(work: Awaitable[Any]) -> int:
    async def run() -> None:
        await work

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0
