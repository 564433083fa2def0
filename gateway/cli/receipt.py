"""`fieldgate receipt` and `fieldgate policy`: what goes to whoever wants to check a reading."""

import asyncio
from pathlib import Path

import click

from gateway import config
from gateway.cli import completion, say
from gateway.cli.common import config_option, find_config, format_time, moment, output, read_file
from gateway.cli.digests import tell_digests
from gateway.cli.reading import opened
from gateway.core import senml
from gateway.core.block import parse_leaf
from gateway.core.limits import POLICY_BYTES
from gateway.core.note import VerifierKey
from gateway.core.policy import Policy, make_policy, parse_policy
from gateway.core.receipt import parse_receipt
from gateway.errors import FormatError, NotFoundError
from gateway.settings import Settings
from gateway.store import Store
from gateway.store.receipts import build_receipt, first_receipt

_OUT = click.Path(path_type=Path)


@click.command()
@click.argument("source", shell_complete=completion.sources)
@click.option(
    "--at",
    "at_ms",
    callback=moment,
    metavar="TIME",
    help="2026-11-23T06:30:00Z, Unix seconds, or now: the last reading up to then.",
)
@click.option("--first", is_flag=True, help="Of the log's first reading, which is one of the source gateway.")
@click.option("-o", "--output", "out", type=_OUT, metavar="FILE", help="Where to write it. Without it: stdout.")
@click.option("--policy", "policy_file", type=_OUT, metavar="FILE", help="The policy that the receipt has to meet.")
@config_option
def receipt(
    source: str,
    at_ms: int | None,
    first: bool,
    out: Path | None,
    policy_file: Path | None,
    config_file: Path | None,
) -> None:
    """Write the receipt of SOURCE's last sealed reading up to a time. The gateway may be running meanwhile.

    The receipt carries the earliest co-signatures that meet the policy; without --policy, the earliest
    of any node or witness.

    \b
    Examples:
      fieldgate receipt climate --at now -o climate.tlog-proof
      fieldgate receipt climate --at 2026-11-23T06:30:00+01:00 -o climate.tlog-proof --policy henhouse.policy
      fieldgate receipt gateway --first -o first.tlog-proof

    Exit 0: written. 3: there is no such reading, or it is not sealed or co-signed yet.
    """
    _check_source(source)
    if first == (at_ms is not None) or (first and source != "gateway"):
        raise click.UsageError("name --at TIME, or, of the source gateway, --first")
    settings = config.load(find_config(config_file))
    wanted = parse_policy(read_file(policy_file, POLICY_BYTES, "a policy")) if policy_file else None
    text = asyncio.run(_receipt(settings, source, at_ms, wanted))
    with output(out) as file:
        file.write(text.encode())
    if out is not None:
        parts = parse_receipt(text.encode())
        reading = senml.resolve(parse_leaf(parts.leaf)[1])
        say(f"{out}: {source}, observed {format_time(reading.time_ms)}, block {parts.log_index}, reading {parts.index}")
    tell_digests(out, settings.gateway.digests)


def _check_source(source: str) -> None:
    try:
        senml.check_source(source)
    except FormatError as exc:
        raise click.UsageError(f"SOURCE: {exc}") from None


async def _receipt(settings: Settings, source: str, at_ms: int | None, wanted: Policy | None) -> str:
    async with opened(settings.gateway.data_dir) as store:
        if at_ms is None:
            return await first_receipt(store, wanted)
        try:
            return await build_receipt(store, source, at_ms, wanted)
        except NotFoundError:
            if await store.blocks.find(source, at_ms) is None and await _waits(store, source, at_ms):
                raise NotFoundError(
                    f"a reading of {source} up to that time is stored, but its block is not sealed yet",
                    cure=f"Ask again in {settings.seal.max_age_s:.0f} seconds; only a gateway that runs seals",
                ) from None
            raise


async def _waits(store: Store, source: str, at_ms: int) -> bool:
    """Whether a reading that is in no block yet is what was asked for."""
    async for _ in store.blocks.readings_between(source, 0, at_ms + 1):
        return True
    return False


@click.command()
@click.option("-o", "--output", "out", type=_OUT, metavar="FILE", help="Where to write it. Without it: stdout.")
@click.option(
    "--quorum",
    default="any",
    show_default=True,
    metavar="any|all|none|N",
    help="How many of the configured nodes and witnesses must have co-signed.",
)
@click.option("--log", "others", multiple=True, metavar="VKEY", help="A further log to trust: the one before this one.")
@config_option
def policy(out: Path | None, quorum: str, others: tuple[str, ...], config_file: Path | None) -> None:
    """Write a tlog-policy that trusts this gateway's log and the nodes and witnesses of its configuration.

    A node counts by its stored key, or by its seen key where it has no other; a witness by its key. Whoever verifies a
    receipt should get the policy from someone whom they trust, not with the receipt.

    \b
    Examples:
      fieldgate policy -o henhouse.policy
      fieldgate policy --quorum 2 -o henhouse.policy

    Exit 0: written. 2: the quorum cannot be met.
    """
    settings = config.load(find_config(config_file))
    links = list(settings.cosigners.values())
    if not links and quorum != "none":
        say("no node and no witness is configured: the policy asks for no co-signature, so it proves no time")
        quorum = "none"
    elif quorum not in ("any", "all", "none") and not (quorum.isdecimal() and 1 <= int(quorum) <= len(links)):
        raise click.UsageError(f"--quorum is any, all, none, or a number from 1 to {len(links)}")
    try:
        logs = [asyncio.run(_log_key(settings)), *map(VerifierKey.parse, others)]
    except FormatError as exc:
        raise click.UsageError(f"--log: {exc}") from None
    keys = [VerifierKey.parse(link.keys[-1]) for link in links]
    data = make_policy(logs, keys, int(quorum) if quorum.isdecimal() else quorum)
    with output(out) as file:
        file.write(data)


async def _log_key(settings: Settings) -> VerifierKey:
    async with opened(settings.gateway.data_dir) as store:
        return store.vkey
