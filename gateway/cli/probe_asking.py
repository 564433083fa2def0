"""Asking a silent line for a register of a Modbus device, and the address of an SDI-12 sensor: neither changes it."""

import contextlib
import re
import termios
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import click

from drivers.codecs.modbus import exception
from drivers.codecs.modbus_rtu import answer_in, crc16
from drivers.serial_port import PortWire
from gateway.cli.probe_line import Setting, hear, opened, say
from gateway.core.text import plain

_MODBUS = ((9_600, "none"), (19_200, "even"), (9_600, "even"), (19_200, "none"), (4_800, "none"), (115_200, "none"))
_SLAVES = (1, 2, 3, 10, 247)
_READ = 3  # the function: holding registers
_ANSWER_S = 0.2
_SDI12_S = 0.6
_BREAK_S = 0.02  # 12 ms at least
_ADDRESS = re.compile(rb"([0-9A-Za-z])\r\n")


class Answer(NamedTuple):
    """Who answered, in words; a name for the source, and its table but for the port."""

    what: str
    name: str
    table: Mapping[str, Any]


def ask_modbus(path: str) -> Answer | None:
    """Reads one holding register at the usual addresses and settings. An answer's CRC is right, or it is none."""
    for baud, parity in _MODBUS:
        setting = Setting(path, baud, parity)
        click.echo(f"{setting}: asking Modbus addresses {', '.join(map(str, _SLAVES))}", err=True)
        with opened(setting) as wire:
            answers = {slave: answer for slave in _SLAVES if (answer := _register(wire, slave)) is not None}
        if answers:
            slave = next(iter(answers))
            told = "; ".join(f"address {one} {answer}" for one, answer in answers.items())
            table = {"driver": "modbus_rtu", **setting.table(), "slave": slave, "numbering": "zero"}
            values = {"value": {"register": 0, "type": "uint16"}}
            what = f"This is modbus_rtu at {setting}: {told}, with the right checksum. Its manual lists the registers."
            return Answer(what, f"modbus-{slave}", {**table, "values": values})
    return None


def _register(wire: PortWire, slave: int) -> str | None:
    """What the device says of its holding register 0; None where it says nothing that is Modbus."""
    request = bytes([slave, _READ, 0, 0, 0, 1])
    say(wire, request + crc16(request).to_bytes(2, "little"))
    return _answer(hear(wire, _ANSWER_S, lambda data: _answer(data, slave) is not None), slave)


def _answer(heard: bytes, slave: int) -> str | None:
    frame = answer_in(heard, slave, _READ)
    if not frame:
        return None
    if frame[1] == _READ:
        return f"says {int.from_bytes(frame[3:5], 'big')} for its register 0"
    return f"answers {exception(frame[2])[0].replace('_', ' ')} for register 0"


def ask_sdi12(path: str) -> Answer | None:
    """Asks for the address of the one sensor (`?!`), then who it is (`aI!`)."""
    setting = Setting(path, 1_200, "even", 7)
    click.echo(f"{setting}: asking for an SDI-12 address", err=True)
    with opened(setting) as wire:
        found = _ADDRESS.search(_command(wire, b"?!").removeprefix(b"?!"))
        if found is None:
            return None
        address = found[1]
        who = _command(wire, address + b"I!").removeprefix(address + b"I!").strip(b"\0\r\n")
    name = plain(who[1:].decode("latin-1")).strip() if who.startswith(address) else ""
    what = f"This is sdi12: a sensor answers with address {address.decode()}" + (f", and is {name}." if name else ".")
    letter = address.decode()
    table = {"driver": "sdi12", "address": letter, "values": {"value1": {"index": 1}}}
    return Answer(f"{what} Its manual says what it measures.", f"sdi12-{letter.lower()}", table)


def _command(wire: PortWire, command: bytes) -> bytes:
    """Wakes the sensors with a break, and says this to them."""
    with contextlib.suppress(termios.error):
        termios.tcsendbreak(wire.fileno(), 0)
    time.sleep(_BREAK_S)
    say(wire, command)
    return bytes(byte & 0x7F for byte in hear(wire, _SDI12_S, lambda data: data.endswith(b"\n")))
