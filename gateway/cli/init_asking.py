"""The questions that `fieldgate init` asks on a terminal."""

import re
import socket
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import click

from gateway.cli import init_text
from gateway.cli.common import read_file
from gateway.core.limits import CONFIG_BYTES
from gateway.core.text import plain
from gateway.errors import FieldgateError

T = TypeVar("T")

_NO_NAMES = {"localhost", "raspberrypi", "debian"}
_LINES = 200  # that are pasted, at the most


class Answers(NamedTuple):
    """What was answered, or given on the command line."""

    name: str
    data_dir: Path
    broker: str
    node: str


def ask(data_dir: Path | None, broker: str | None, node: str | None, *, default: Path) -> Answers:
    """Asks for the name, and for what is not given yet. An answer that cannot be is asked for again."""
    click.echo("A new gateway. An empty line takes what stands in brackets; Ctrl-C leaves, and nothing is made.\n")
    name = _until_good("Its name, for good: it is part of every signature", _suggested(), _name)
    if data_dir is None:
        data_dir = _until_good("A folder for its readings", str(default), Path)
    if broker is None:
        broker = _until_good("An MQTT broker, such as mqtt://127.0.0.1:1883 (none)", "", _broker)
    if node is None:
        click.echo("\nA node's operator has sent you lines that begin with [node.NAME]: paste them, and end them with")
        click.echo("an empty line; or give the name of a file that has them.")
        node = _until_good("A node (none)", "", _node)
    click.echo("")
    return Answers(name, data_dir, broker, node)


def _until_good(question: str, default: str, read: Callable[[str], T]) -> T:
    while True:
        answer: str = click.prompt(question, default=default, show_default=bool(default))
        try:
            return read(answer.strip())
        except (ValueError, FieldgateError) as exc:
            click.echo(f"  {plain(str(exc))}")


def _suggested() -> str:
    """A name out of the host's; "" where that is nobody's own."""
    host = re.sub(r"[^a-z0-9.-]", "-", socket.gethostname().lower()).strip("-.")[:60]
    return "" if host in _NO_NAMES else host


def _name(answer: str) -> str:
    if fault := init_text.name_fault(answer):
        raise ValueError(fault)
    return answer


def _broker(answer: str) -> str:
    return _fits(answer, broker=answer)


def _node(answer: str) -> str:
    """What was pasted, of which the answer is the first line, or what is in a file."""
    if not answer:
        return ""
    if not answer.startswith("["):
        lines = read_file(Path(answer), CONFIG_BYTES, "a node's table").decode()
    else:
        lines = "\n".join([answer, *_pasted()])
    tables = init_text.node_tables(lines)
    return _fits(tables, node=tables)


def _pasted() -> list[str]:
    """The lines that follow, up to an empty one."""
    found: list[str] = []
    while len(found) < _LINES and (line := click.prompt("", default="", show_default=False, prompt_suffix="").strip()):
        found.append(line)
    termios.tcflush(sys.stdin, termios.TCIFLUSH)  # what comes behind the empty line is no command for the shell
    return found


def _fits(answer: str, *, broker: str = "", node: str = "") -> str:
    """The answer, where a configuration with it is good. ValueError."""
    if answer and (
        fault := init_text.fault(
            init_text.text("name", 1, Path("/data"), Path("/log.key"), Path("/read.key"), broker=broker, node=node)
        )
    ):
        raise ValueError(fault)
    return answer
