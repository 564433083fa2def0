"""Man pages made of the commands: one of `fieldgate`, one of each command and subcommand (man(7), groff's macros)."""

from collections.abc import Iterator
from inspect import cleandoc

import click

from gateway import __version__
from gateway.cli import COMMANDS, cli

_BLOCK = "\b"
"""A line of its own before a paragraph that click leaves as it is written."""


def pages(day: str) -> dict[str, str]:
    """File name, such as `fieldgate-run.1`, to the page. `day`: 2026-11-23."""
    return {f"{'-'.join(names)}.1": _page(names, command, day) for names, command in _commands()}


def _commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield ("fieldgate",), cli
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        yield from _below(("fieldgate", name), command)


def _below(names: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield names, command
    if isinstance(command, click.Group):
        for name, one in sorted(command.commands.items()):
            yield from _below((*names, name), one)


def _context(names: tuple[str, ...], command: click.Command) -> click.Context:
    above = None
    for name in names[:-1]:
        above = click.Context(click.Group(name), info_name=name, parent=above)
    return click.Context(command, info_name=names[-1], parent=above)


def _page(names: tuple[str, ...], command: click.Command, day: str) -> str:
    context = _context(names, command)
    first, *rest = _paragraphs(command.help or "")
    about, _, more = " ".join(first.split()).removeprefix("Fieldgate: ").partition(". ")
    about = about[:1].lower() + about[1:].rstrip(".")
    rest = [more, *rest] if more else rest
    lines = [
        f'.TH "{"-".join(names).upper()}" 1 "{day}" "Fieldgate {__version__}" "Fieldgate"',
        ".SH NAME",
        f"{_text('-'.join(names))} \\- {_text(about)}",
        ".SH SYNOPSIS",
        f".B {_text(' '.join(names))}",
        _text(" ".join(command.collect_usage_pieces(context))),
    ]
    if rest:
        lines.append(".SH DESCRIPTION")
        lines += [line for paragraph in rest for line in (".PP", *_body(paragraph))][1:]
    if options := [record for one in command.get_params(context) if (record := one.get_help_record(context))]:
        lines.append(".SH OPTIONS")
        lines += _list(options)
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        lines += _list(list(_below_text(command)))
    lines += [".SH SEE ALSO", _see(names, command)]
    return "\n".join(lines) + "\n"


def _below_text(command: click.Group) -> Iterator[tuple[str, str]]:
    if command is cli:
        yield from ((name, text) for name, (_, text) in COMMANDS.items())
    else:
        yield from ((name, one.get_short_help_str(200)) for name, one in sorted(command.commands.items()))


def _paragraphs(text: str) -> list[str]:
    return [one for one in cleandoc(text).split("\n\n") if one.strip()]


def _body(paragraph: str) -> list[str]:
    """A paragraph; one that click leaves alone is set as it is written."""
    if not paragraph.startswith(_BLOCK):
        return [_text(" ".join(paragraph.split()))]
    lines = paragraph.split("\n")[1:]
    return [".nf", *map(_text, lines), ".fi"]


def _list(items: list[tuple[str, str]]) -> list[str]:
    return [line for term, text in items for line in (".TP", f"\\fB{_text(term)}\\fR", _text(text) or "\\&")]


def _see(names: tuple[str, ...], command: click.Command) -> str:
    if names == ("fieldgate",):
        pages = [f"fieldgate-{name}" for name in COMMANDS]
    else:
        pages = ["-".join(names[:-1])]
        if isinstance(command, click.Group):
            pages += ["-".join((*names, name)) for name in sorted(command.commands)]
    return ", ".join(f"\\fB{_text(one)}\\fR(1)" for one in pages)


def _text(text: str) -> str:
    """A line in which roff finds nothing of its own."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    text = text.replace("^", "\\(ha").replace("~", "\\(ti")
    return f"\\&{text}" if text[:1] in (".", "'") else text
