"""The command `fieldgate`. Each command's module is imported when it is asked for, so that `verify` starts fast.

=====  ==========================================================================
exit   meaning
=====  ==========================================================================
0      done
1      refused: a receipt or a chain does not verify, the input is wrong
2      the command line, the configuration or a key file is wrong
3      the world: not there, not running, not reachable, in use, no permission, no room
4      durability is lost, or signing is held until a person decides
70     a bug of fieldgate's own
130    interrupted (Ctrl-C)
=====  ==========================================================================
"""

import os
import select
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from gateway import __version__
from gateway.core.text import plain
from gateway.errors import BugError, ConfigError, FieldgateError

OK, REFUSED, USAGE, WORLD, HELD, BUG, INTERRUPTED = 0, 1, 2, 3, 4, 70, 130

_DEBUG = "--debug"

COMMANDS = {
    "init": ("gateway.cli.init:init", "Make a new gateway: configuration, key and store."),
    "check": ("gateway.cli.check:check", "Check a configuration; everything that is wrong in one report."),
    "config": ("gateway.cli.config:config", "Configurations that ran, the way back, an example of all."),
    "run": ("gateway.cli.run:run", "Run the gateway."),
    "reload": ("gateway.cli.reload:reload", "Have the running gateway take over its changed configuration."),
    "status": ("gateway.cli.status:status", "Tell how the running gateway is doing."),
    "sources": ("gateway.cli.sources:sources", "Tell what each source sends."),
    "events": ("gateway.cli.events:events", "Show what the gateway told of itself."),
    "blocks": ("gateway.cli.blocks:blocks", "List the sealed blocks."),
    "show": ("gateway.cli.blocks:show", "Show a sealed block and its readings."),
    "anchors": ("gateway.cli.anchors:anchors", "List what was put on chains, and how far it is."),
    "sync": ("gateway.cli.reload:sync", "Ask the nodes at once."),
    "login": ("gateway.cli.login:login", "Print a one-time code for the page."),
    "logs": ("gateway.cli.logs:logs", "Show the newest records of the running gateway's log."),
    "doctor": ("gateway.cli.doctor:doctor", "Find out what is wrong, and say what to do."),
    "selftest": ("gateway.cli.selftest:selftest", "Have the program test itself, in a folder that is thrown away."),
    "receipt": ("gateway.cli.receipt:receipt", "Write the receipt of one reading."),
    "policy": ("gateway.cli.receipt:policy", "Write whom a verifier of this gateway's receipts trusts."),
    "verify": ("gateway.cli.verify:verify", "Verify a receipt, or a whole store."),
    "key": ("gateway.cli.key:key", "Show, test and seal the log's private key."),
    "scrub": ("gateway.cli.scrub:scrub", "Look at the whole store, and keep what is found for status."),
    "recover": ("gateway.cli.recover:recover", "Tell why signing is held or what is damaged, and mend it."),
    "backup": ("gateway.cli.backup:backup", "Write everything but the secrets to one file."),
    "restore": ("gateway.cli.restore:restore", "Put a backup in place, or go back to the version before."),
    "export": ("gateway.cli.export:export", "Write a source's readings as SenML or CSV."),
    "probe": ("gateway.cli.probe:probe", "Find out what speaks on a serial port or a broker."),
    "decode": ("gateway.cli.decode:decode", "Show what a driver makes of a recorded file."),
    "node": ("gateway.cli.node:node", "Make and run an upstream node."),
    "simulate": ("gateway.cli.simulate:simulate", "Be a sensor, for trying a gateway out."),
    "completion": ("gateway.cli.completion:completion", "Print the script that completes commands in a shell."),
    "demo": ("gateway.cli.demo:demo", "Show the whole way, from a sensor to a verified receipt, here."),
}


class Commands(click.Group):
    """A group that imports a command's module only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which they are met."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported; None for a name that is none."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuses an unknown command with the nearest known one. While words are completed little is imported."""
        if ctx.resilient_parsing:
            made = import_module("gateway.cli.completion").words(args[0], COMMANDS.get(args[0], ("", ""))[0])
            if made is not None and made.stands_for(args[1:]):
                return args[0], made, args[1:]
        elif args and args[0] not in COMMANDS:
            near = get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"there is no command {plain(args[0])}" + (f"; did you mean {near[0]}?" if near else ""))
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names and texts of commands, without importing any; then the options of `fieldgate` itself."""
        known = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return known if incomplete[:1] != "-" else click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands for --help, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command. A reader that went away (`| head`) is no error of ours."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as exc:
            if not _reader_gone():
                raise BugError("a connection broke and nobody took care of it") from exc
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return WORLD
        return result


def _reader_gone() -> bool:
    """Whether stdout is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.option(_DEBUG, is_flag=True, expose_value=False, help="Show the traceback of an unexpected error.")
@click.pass_context
def cli(ctx: click.Context) -> int | None:
    """Fieldgate: a sensor gateway that proves, years later, what it was told.

    \b
    A first run:
      fieldgate init --name henhouse.example.farm --data-dir ./data
      fieldgate check
      fieldgate run
      fieldgate status
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        return USAGE
    return None


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit with its code. An error is one line on stderr; a traceback needs --debug."""
    given = list(sys.argv[1:] if args is None else args)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115  closed by whoever started this process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code = _run([one for one in given if one != _DEBUG], debug=_DEBUG in given)
    if args is None and _has_threads():
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _has_threads() -> bool:
    """Whether something that failed left a thread behind: it must not keep the process from being restarted."""
    threading = sys.modules.get("threading")
    return threading is not None and any(
        not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate()
    )


def _run(args: list[str], *, debug: bool) -> int:
    try:
        result = cli.main(args=args, prog_name="fieldgate", standalone_mode=False, obj=debug)
    except Exception as exc:  # noqa: BLE001  the last line before the technician: told in words, with its exit code
        if debug:
            sys.excepthook(type(exc), exc, exc.__traceback__)
        return explain(exc)
    return result if isinstance(result, int) else OK


def explain(exc: Exception) -> int:
    """Say on stderr what went wrong, a line for each thing, and return the exit code."""
    if isinstance(exc, click.ClickException):
        return _usage(exc)
    if isinstance(exc, click.Abort):
        say("interrupted")
        return INTERRUPTED
    if isinstance(exc, ConfigError):
        for fault in exc.faults:
            click.echo(plain(str(fault)), err=True)
        say(f"{exc.what}: {exc.faults[0].file}")
        return exc.exit_code
    if isinstance(exc, FieldgateError):
        say(str(exc))
        return exc.exit_code
    if isinstance(exc, OSError) and exc.errno is not None:
        say(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc.strerror))
        return WORLD
    say(f"a bug: {type(exc).__name__}: {exc}. Please report it with what {_DEBUG} shows")
    return BUG


def say(text: str) -> None:
    """One line on stderr."""
    click.echo(f"fieldgate: {plain(text)}", err=True)


def _usage(exc: click.ClickException) -> int:
    ctx = getattr(exc, "ctx", None)
    hint = f". See {ctx.command_path} --help" if isinstance(ctx, click.Context) else ""
    say(exc.format_message().rstrip(".") + hint)
    return USAGE
