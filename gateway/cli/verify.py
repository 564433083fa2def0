"""`fieldgate verify`: a receipt against a policy, offline; or the whole chain of a store."""

from importlib import import_module
from pathlib import Path

import click

from gateway import verify as verifier
from gateway.cli.common import CLOCKS, QUALITY, format_time, read_file
from gateway.cli.digests import digests_of
from gateway.core.anchor import STAMPED, Anchored, parse_pins
from gateway.core.limits import PINS_BYTES, POLICY_BYTES, RECEIPT_BYTES
from gateway.core.receipt import Anchor
from gateway.core.text import plain
from gateway.errors import VerifyError
from gateway.verify import Verified


@click.command()
@click.argument("receipt", required=False, type=click.Path(path_type=Path), metavar="[RECEIPT]")
@click.option("--policy", type=click.Path(path_type=Path), metavar="FILE", help="Whom you trust: a tlog-policy file.")
@click.option(
    "--pins",
    "pins_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What you know of chains, for anchors; a line `sm2 ORIGIN key VKEY` asks for that SM2 signature.",
)
@click.option("--store", type=click.Path(path_type=Path), metavar="DIR", help="Check a gateway's data_dir instead.")
@click.option("--sums", type=click.Path(path_type=Path), metavar="FILE", help="Check a release's files by SHA256SUMS.")
@click.option("--key", metavar="VKEY", help="The key that signs the releases: name+id+base64.")
@click.option(
    "--successor-of",
    "before",
    type=click.Path(path_type=Path),
    metavar="RECEIPT",
    help="RECEIPT is of a log's first reading: check that it goes on for the log that this one closes.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show each numbered step.")
def verify(
    receipt: Path | None,
    policy: Path | None,
    pins_file: Path | None,
    store: Path | None,
    sums: Path | None,
    key: str | None,
    before: Path | None,
    verbose: bool,
) -> int | None:
    """Verify RECEIPT against a policy: offline, and with trust in nobody that the policy does not name.

    With --store, verify the whole chain of a store: every entry, signature, body, checkpoint and co-signature. Its log
    key and its co-signatures are checked against --policy where one is given, SM2 signatures of checkpoints against
    the lines `sm2` of --pins.

    With --pins, one of its anchors must be proven by these lines about blocks of chains, which you looked up yourself
    (docs/anchors.md). Without, anchors are shown as what they claim.

    With --sums and --key, verify the files of a release that lie beside its signed list.

    \b
    Examples:
      fieldgate verify climate.tlog-proof --policy henhouse.policy
      fieldgate verify climate.tlog-proof --policy henhouse.policy -v
      fieldgate verify climate.tlog-proof --policy henhouse.policy --pins chains.pins
      fieldgate verify first.tlog-proof --successor-of last.tlog-proof --policy both.policy
      fieldgate verify --store /var/lib/fieldgate --policy henhouse.policy
      fieldgate verify --sums SHA256SUMS --key releases.example+...

    Exit 0: verified. 1: refused. 3: a file is not there.
    """
    if (sums is None) != (key is None) or (sums and (receipt or store or before)):
        raise click.UsageError("--sums FILE and --key VKEY belong together, and go with nothing else")
    if sums is not None:
        import_module("gateway.cli.verify_sums").verify_sums(sums, key)
        return None
    if pins_file is not None and before is not None:
        raise click.UsageError("--pins FILE goes with one RECEIPT or with --store")
    if store is not None and receipt is None and before is None:
        trusted = read_file(policy, POLICY_BYTES, "a policy") if policy else None
        of_keys = parse_pins(read_file(pins_file, PINS_BYTES, "a file of pins")) if pins_file else None
        code: int = import_module("gateway.cli.verify_store").verify_store(store, trusted, of_keys, verbose=verbose)
        return code
    if receipt is None or store is not None:
        raise click.UsageError("name a RECEIPT, or --store DIR, and not both")
    if policy is None:
        raise click.UsageError("--policy FILE is needed: it says whose signatures you trust")
    data = read_file(receipt, RECEIPT_BYTES, "a receipt")
    if before is not None:
        _show_succession(before, data, read_file(policy, POLICY_BYTES, "a policy"), verbose=verbose)
        return None
    pins = parse_pins(read_file(pins_file, PINS_BYTES, "a file of pins")) if pins_file else ()
    try:
        verified = verifier.verify_receipt(data, read_file(policy, POLICY_BYTES, "a policy"), pins)
    except VerifyError as exc:
        if verbose:
            _show_passed(exc.step)
        exc.where = f"{receipt}: refused at {exc.where}"
        raise
    _show(verified, verbose=verbose)
    if not verified.sm2 and any(pin.kind == verifier.SM2_KEY for pin in pins):
        click.echo(f"SM2 with SM3    not asked for: no pin is of {verified.log.name}")
    if verbose:
        for label, text in digests_of(receipt).items():
            click.echo(f"file's {label:<8} {text}")
    return None


def _show_succession(before: Path, first: bytes, policy: bytes, *, verbose: bool) -> None:
    found = verifier.verify_succession(read_file(before, RECEIPT_BYTES, "a receipt"), first, policy)
    if verbose:
        for which, one in (("old", found.old), ("new", found.new)):
            for step in one.steps:
                click.echo(f"{which} {step.number}. {step.title}: {plain(step.found)}  [{step.clause}]")
        click.echo(f"{found.step.number}. {found.step.title}: {plain(found.step.found)}  [{found.step.clause}]")
    old, new = found.old, found.new
    click.echo("verified: a planned change of the log's key")
    click.echo(f"old log         {old.log}")
    click.echo(f"closed          with block {old.header.height}, not later than {_not_later(old)}")
    click.echo(f"new log         {new.log}")
    click.echo(f"begun           not later than {_not_later(new)}")


def _show_passed(step: int) -> None:
    for number, rule in enumerate(verifier.RULES[: step - 1], 1):
        if number == verifier.SUCCESSION:
            continue
        click.echo(f"{number}. {rule.title}: good  [{rule.clause}]")
    rule = verifier.RULES[step - 1]
    click.echo(f"{step}. {rule.title}: REFUSED  [{rule.clause}]")


def _show(verified: Verified, *, verbose: bool) -> None:
    if verbose:
        for step in verified.steps:
            click.echo(f"{step.number}. {step.title}: {plain(step.found)}  [{step.clause}]")
    reading, header = verified.reading, verified.header
    click.echo("verified")
    click.echo(f"source          {reading.source}")
    click.echo(f"observed        {format_time(reading.time_ms)} (claimed; {_clock(header.clock)})")
    click.echo(f"received        {format_time(reading.received_ms)} (claimed)")
    click.echo(f"not later than  {_not_later(verified)}")
    for signed in verified.sm2:
        click.echo(f"SM2 with SM3    signed by {plain(signed.name)} as well")
    click.echo(f"reading         {verified.index + 1} of {header.count} in block {header.height} of {header.origin}")
    if reading.quality:
        words = [text for bit, text in QUALITY.items() if reading.quality & bit]
        click.echo(f"quality         {', '.join(words) or reading.quality}")
    for record in reading.records:
        value = _value(record.value) + _unit(record.unit) + _later(record.time_ms - reading.time_ms)
        click.echo(f"  {plain(record.name)} = {value}")
    if not reading.records:
        click.echo("  (no values)")
    if verified.payload is not None:
        click.echo(f"payload         {plain(verified.payload.decode('utf-8', 'backslashreplace'))}")
    for anchor, found in verified.anchors:
        click.echo(f"anchor          {_anchor(anchor, found)}")


def _anchor(anchor: Anchor, found: Anchored | None) -> str:
    if found is None:
        return f"{plain(str(anchor.kind))}: not checked here"
    if found.kind == STAMPED:
        place, shown = f"time stamp of {plain(found.chain)}", "no pin names its root"
    else:
        place = f"block {found.number} of {plain(found.kind)} {plain(found.chain)}"
        shown = f"no pin shows that block, whose hash is 0x{found.hash.hex()}"
    if found.node:
        place += f", with {found.logs} logs by the node {plain(found.node)}"
    moment = format_time(found.time_s * 1000).replace(".000Z", "Z")
    moment = f"not later than {moment}" if found.bound else f"dated {moment} by whoever made the transaction"
    if found.by:
        return f"{place}, {moment} (proven by {found.by})"
    return f"{place}, {moment} (a claim: {shown})"


def _clock(code: int) -> str:
    return CLOCKS[code] if code < len(CLOCKS) else f"clock {code}"


def _not_later(verified: Verified) -> str:
    if verified.earliest is None:
        return "unknown: the policy asks for no co-signature, and nobody co-signed"
    names = ", ".join(plain(witness.name) for witness in verified.witnesses)
    first = ", ".join(plain(witness.name) for witness in verified.witnesses if witness.time == verified.earliest)
    moment = format_time(verified.earliest * 1000).replace(".000Z", "Z")
    word = "" if first == names else f", by the word of {first}"
    return f"{moment} (to the second{word}; co-signed by {names})"


def _value(value: float | str | bool | bytes) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.hex()
    return f'"{plain(value)}"' if isinstance(value, str) else str(value)


def _unit(unit: str | None) -> str:
    return f" {plain(unit)}" if unit else ""


def _later(ms: int) -> str:
    return f" ({ms / 1000:+} s)" if ms else ""
