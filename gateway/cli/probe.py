"""`fieldgate probe`: what speaks on a serial port or a broker, and the table that reads it."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import click

from drivers import adapters
from drivers.port_paths import stable_name
from gateway.core.text import plain


@click.command()
@click.argument("where", required=False)
@click.option(
    "--seconds", type=click.FloatRange(0.01, 600), metavar="S", help="To listen: 2 a setting, 10 to a broker."
)
@click.option("--listen", is_flag=True, help="Serial: ask nothing, so write nothing to the device.")
@click.option("--topic", default="#", show_default=True, metavar="FILTER", help="Broker: what to subscribe to.")
@click.option("--user", default="", metavar="USER", help="Broker.")
@click.option("--password", default="", metavar="SECRET", help='Broker: where it is, "file:/path" or "env:NAME".')
@click.option("--ca-file", default="", metavar="FILE", help="Broker, mqtts: whom to trust. Without it: the system's.")
def probe(
    where: str | None, seconds: float | None, topic: str, user: str, password: str, ca_file: str, *, listen: bool
) -> int:
    """Find out what speaks on WHERE, a serial port or mqtt://host[:port], and print the table that reads it.

    A port is listened to at the usual settings in turn; where it stays silent, Modbus devices and SDI-12 sensors are
    asked for an answer; all within three minutes. Nothing else may have it open meanwhile. Of a broker the live topics
    are shown with what each driver makes of them. Without WHERE: the serial ports there are.

    \b
    Examples:
      fieldgate probe
      fieldgate probe /dev/ttyUSB0
      fieldgate probe mqtt://127.0.0.1 --user fieldgate --password file:/etc/fieldgate/mqtt.password

    Exit 0: found. 1: nothing that is known. 2: an option is wrong. 3: it is not there, or in use.
    """
    if where is None:
        return _list_ports()
    if "://" not in where:
        from gateway.cli.probe_port import probe_port  # noqa: PLC0415  pyserial

        return probe_port(where, seconds or 2.0, ask=not listen)
    parts = urlsplit(where)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.username or parts.path.strip("/"):
        raise click.UsageError(
            "WHERE is a port such as /dev/ttyUSB0, or mqtt://host:1883; user and password have options"
        )
    from gateway.cli.probe_broker import Target, probe_broker  # noqa: PLC0415  aiomqtt

    tls = parts.scheme == "mqtts"
    try:
        port = parts.port or (8883 if tls else 1883)
    except ValueError as exc:
        raise click.UsageError(f"WHERE: {exc}") from None
    return probe_broker(Target(where, parts.hostname, port, tls, topic, user, password, ca_file), seconds or 10.0)


def _list_ports() -> int:
    """The serial ports of this machine, by the name that stays."""
    from serial.tools.list_ports import comports  # noqa: PLC0415  only here

    rows = [(stable_name(one.device), one.device, _adapter(one)) for one in sorted(comports())]
    for name, device, adapter in rows:
        click.echo(plain(f"{name}  {'' if name == device else device + '  '}{adapter}").rstrip())
    if not rows:
        click.echo("there is no serial port on this machine: plug an adapter in")
    return 0 if rows else 1


def _adapter(port: Any) -> str:
    """What a port of pyserial's list is, as it says itself, and what is known of its chip."""
    known = adapters.find(port.vid, port.pid)
    said = "" if port.description == "n/a" else port.description
    return said if known is None else f"{said} ({', '.join(filter(None, (known.chip, known.note)))})".lstrip()


def paste(tables: Sequence[str]) -> None:
    """Tables for the configuration, set off."""
    click.echo("\nTo paste into fieldgate.toml:\n")
    click.echo("\n\n".join(tables))
