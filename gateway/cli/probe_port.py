"""Probing a serial port: listening at the usual settings, then asking the protocols that only answer."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from drivers import probing, suggesting
from drivers.port_paths import stable_name
from drivers.probing import Verdict, Way
from gateway.cli.decode import sample_line
from gateway.cli.probe import paste
from gateway.cli.probe_line import Setting, hear, opened
from gateway.core.text import plain

_LONGER = 6.0  # times as long, where something was heard and nothing was sure: a meter sends every 10 s
_SHOWN = 64  # bytes
_HALF = 0.5  # of what came, at least, is read by what is named


_LISTENED = (
    *((baud, "none") for baud in (9_600, 4_800, 38_400, 115_200, 1_200, 2_400, 19_200, 57_600)),
    *((baud, "even") for baud in (9_600, 19_200)),
)
"""7E1 and 7O1 are told from 8N1 by what was heard: the parity is then the top bit."""


class Heard(NamedTuple):
    """What came at a setting, and what reads it."""

    setting: Setting
    data: bytes
    verdicts: list[Verdict]

    @property
    def best(self) -> Verdict | None:
        """The likeliest."""
        return self.verdicts[0] if self.verdicts else None

    @property
    def sure(self) -> bool:
        """Whether the likeliest leaves no doubt."""
        return bool(self.verdicts) and self.verdicts[0].sure

    @property
    def text(self) -> bool:
        """Whether these are lines that a person could read: then the setting is right."""
        return suggesting.is_text(self.data)


def probe_port(path: str, seconds: float, *, ask: bool) -> int:
    """The command for a port. Raises InUseError and UnreachableError."""
    path = str(Path(path).absolute())
    ways = probing.ways()
    heard = list(_listen(path, seconds, ways))
    if heard and not heard[-1].sure and not heard[-1].text:
        click.echo("Something speaks, and it is not clear yet: listening again, longer.")
        heard = list(_listen(path, _LONGER * seconds, ways)) or heard
    if heard:
        return _conclude(heard)
    if ask:
        from gateway.cli.probe_asking import ask_modbus, ask_sdi12  # noqa: PLC0415  only where nothing speaks by itself

        for asked in (ask_modbus, ask_sdi12):
            answer = asked(path)
            if answer is not None:
                click.echo(f"\n{answer.what}")
                paste([suggesting.toml(f"source.{answer.name}", {**answer.table, "port": stable_name(path)})])
                return 0
    click.echo(
        "Nothing is heard. Is the device switched on, and set to send by itself? Are TX and RX, or A and B, the other "
        "way round? Some scales send only when their print key is pressed."
    )
    return 1


def _listen(path: str, seconds: float, ways: list[Way]) -> Iterator[Heard]:
    """What is heard at each setting in turn, until something is sure, or a text that a person could read."""
    for baud, parity in _LISTENED:
        setting = Setting(path, baud, parity)
        one = _hear(setting, seconds, ways)
        if one is not None and one.text and not one.sure:  # the setting is right, and a frame may be longer
            one = _hear(setting, _LONGER * seconds, ways) or one
        if one is not None:
            _show(one)
            yield one
            if one.sure or one.text:
                return


def _hear(setting: Setting, seconds: float, ways: list[Way]) -> Heard | None:
    click.echo(f"{setting}: listening for {seconds:g} s", err=True)
    with opened(setting) as wire:
        data = hear(wire, seconds, lambda data: _judged(setting, data, ways).sure)
    return _judged(setting, data, ways) if data else None


def _judged(setting: Setting, data: bytes, ways: list[Way]) -> Heard:
    """Bytes whose top bit is a parity are seven bits."""
    parity = probing.parity(data) if setting.parity == "none" else None
    if parity is None:
        return Heard(setting, data, probing.judge(data, ways))
    data = bytes(byte & 0x7F for byte in data)
    return Heard(Setting(setting.port, setting.baud, parity, 7), data, probing.judge(data, ways))


def _show(heard: Heard) -> None:
    """The raw bytes, and what each codec makes of them."""
    click.echo(f"\n{heard.setting}: {len(heard.data)} bytes")
    for at in range(0, min(len(heard.data), _SHOWN), 16):
        row = heard.data[at : at + 16]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        click.echo(f"  {row.hex(' '):<47}  {text}")
    for one in heard.verdicts:
        click.echo(f"  {_name(one.way)}: {one.evidence}")
        for found in one.found[:1]:
            click.echo(plain(f"    {sample_line(found, found.device or one.way.kind.name)}"))
    if not heard.verdicts:
        click.echo("  no driver reads this")


def _name(way: Way) -> str:
    return " ".join([way.kind.name, *(f"{name}={value}" for name, value in way.options.items())])


def _conclude(heard: list[Heard]) -> int:
    """Names what it is, with the table; 1 where nothing can be said."""
    likeliest = max(heard, key=lambda one: _rank(one.best))
    best = likeliest.best
    if best is not None and best.share >= _HALF:
        kind, options = best.way
        belief = "This is" if best.sure else "This may be"
        click.echo(f"\n{belief} {kind.name} ({kind.title}) at {likeliest.setting}: {best.evidence}.")
        table = {"driver": kind.name, **likeliest.setting.table(), **options}
        paste([suggesting.toml(f"source.{kind.name.replace('_', '-')}", table)])
        return 0
    text = next((one for one in heard if one.text), None)
    found = suggesting.lines(text.data) if text else None
    if text is None or found is None:
        click.echo("\nSomething speaks, and no driver knows it. Is one of these settings the device's?")
        return 1
    click.echo(
        f"\nThese are lines of text at {text.setting}. No driver knows them by itself; this reads their numbers."
    )
    paste([suggesting.toml("source.lines", {"driver": "serial_line", **text.setting.table(), **found})])
    return 0


def _rank(verdict: Verdict | None) -> tuple[bool, float]:
    return (verdict.sure, verdict.frames * verdict.share) if verdict else (False, 0.0)
