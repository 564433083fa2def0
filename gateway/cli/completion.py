"""Shell completion: the scripts, and what completes the words of a command without importing what it does."""

import tomllib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from gateway.cli.common import CONFIG_PLACES
from gateway.core.limits import CONFIG_BYTES

_SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_FIELDGATE_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print the script that completes commands, options, sources, nodes and drivers in a shell.

    \b
    Examples:
      fieldgate completion bash > /etc/bash_completion.d/fieldgate
      fieldgate completion zsh > "${fpath[1]}/_fieldgate"
      fieldgate completion fish > ~/.config/fish/completions/fieldgate.fish

    Exit 0: printed.
    """
    click.echo(script(shell))


def script(shell: str) -> str:
    """What the shell is to read: bash, zsh or fish."""
    found = get_completion_class(shell)
    assert found is not None
    return found(click.Command("fieldgate"), {}, "fieldgate", _VARIABLE).source()


class Words(click.Command):
    """Stands for a command while its words are completed. Its options are asked of the command itself."""

    def __init__(self, name: str, place: str, params: Sequence[click.Parameter]) -> None:
        super().__init__(name, params=list(params))
        self._place = place

    def stands_for(self, args: Iterable[str]) -> bool:
        """Whether it knows every option that is there already."""
        known = {opt for param in self.params for opt in param.opts}
        return all(arg.partition("=")[0] in known for arg in args if arg.startswith("-"))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The options of the command."""
        module, _, name = self._place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command.shell_complete(click.Context(command, parent=ctx.parent, info_name=ctx.info_name), incomplete)


def words(name: str, place: str) -> Words | None:
    """What completes the words of a command; None where the command itself has to."""
    made = _WORDS.get(name)
    return Words(name, place, made()) if made is not None else None


def sources(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Ids of the configuration's sources."""
    return _tables(ctx, "source", incomplete)


def nodes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the configuration's nodes."""
    return _tables(ctx, "node", incomplete)


def _codecs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of drivers, as `decode` takes them."""
    return [name for name in import_module("drivers.recorded").names() if name.startswith(incomplete)]


def _with_config(*params: click.Parameter) -> list[click.Parameter]:
    return [click.Option(["-c", "--config"], type=click.Path()), *params]


def _of_source() -> list[click.Parameter]:
    return _with_config(click.Argument(["source"], required=False, shell_complete=sources))


_WORDS: dict[str, Callable[[], list[click.Parameter]]] = {
    "sources": _of_source,
    "receipt": _of_source,
    "export": _of_source,
    "recover": lambda: _with_config(click.Option(["--from"], shell_complete=nodes)),
    "decode": lambda: [
        click.Argument(["codec"], shell_complete=_codecs),
        click.Argument(["file"], type=click.Path()),
    ],
    "check": _with_config,
    "run": _with_config,
    "status": _with_config,
    "events": _with_config,
    "blocks": _with_config,
}


def _tables(ctx: click.Context, kind: str, incomplete: str) -> list[str]:
    """Names of the tables [kind.NAME] of the configuration that the command line names, or that is found."""
    given = ctx.params.get("config") or ctx.params.get("config_file")
    found: set[str] = set()
    for path in _files(Path(given) if given else None):
        with suppress(OSError, ValueError, AttributeError, RecursionError), path.open("rb") as file:
            found.update(tomllib.loads(file.read(CONFIG_BYTES).decode()).get(kind, {}))
    return sorted(name for name in found if name.startswith(incomplete))


def _files(given: Path | None) -> list[Path]:
    """The configuration, and what is dropped in beside it."""
    places = [given] if given else CONFIG_PLACES
    path = next((place for place in places if place.is_file()), None)
    return [path, *path.with_suffix(".d").glob("*.toml")] if path else []
