"""`fieldgate export`: a source's readings as SenML JSON or CSV, streamed."""

import asyncio
import base64
import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import click

from gateway import config
from gateway.cli import completion, say
from gateway.cli.common import config_option, find_config, format_time, moment, output
from gateway.cli.digests import tell_digests
from gateway.cli.reading import opened
from gateway.core import senml
from gateway.core.limits import NUMBER_MAX
from gateway.core.senml import Measured, Reading
from gateway.errors import FormatError
from gateway.store import Store

_HEADINGS = ("time", "received", "source", "name", "unit", "value", "quality")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@click.command()
@click.argument("source", shell_complete=completion.sources)
@click.option("--from", "from_ms", callback=moment, metavar="TIME", help="From then on: 2026-11-23T00:00:00Z, or Unix.")
@click.option("--to", "to_ms", callback=moment, metavar="TIME", help="Before then. Without it: all.")
@click.option("--format", "form", type=click.Choice(["senml", "csv"]), default="senml", show_default=True)
@click.option("--raw", is_flag=True, help="With the payloads as they arrived, where they are kept in the readings.")
@click.option("-o", "--output", "out", type=click.Path(path_type=Path), metavar="FILE", help="Without it: stdout.")
@config_option
def export(
    source: str,
    from_ms: int | None,
    to_ms: int | None,
    form: str,
    raw: bool,
    out: Path | None,
    config_file: Path | None,
) -> None:
    """Write SOURCE's readings in the order in which they were stored, sealed or not. The gateway may be running.

    senml is one JSON array by RFC 8428; "q" and "rt" are quality bits and time of receipt. csv has a line for each
    value, times in UTC; a text that a spreadsheet would run as a formula gets an apostrophe before it.

    \b
    Examples:
      fieldgate export climate --from 2026-11-01T00:00:00Z --format csv -o november.csv
      fieldgate export climate --from 2026-11-23T06:00:00Z --to 2026-11-23T07:00:00Z | jq .

    Exit 0: written. 3: there is no store.
    """
    try:
        senml.check_source(source)
    except FormatError as exc:
        raise click.UsageError(f"SOURCE: {exc}") from None
    settings = config.load(find_config(config_file))
    data_dir = Path(settings.gateway.data_dir)
    with output(out) as file:
        count = asyncio.run(_export(data_dir, source, (from_ms or 0, to_ms or NUMBER_MAX), form, raw=raw, file=file))
    if not count:
        say(f"there is no reading of {source} in that time")
    tell_digests(out, settings.gateway.digests)


async def _export(data_dir: Path, source: str, span: tuple[int, int], form: str, *, raw: bool, file: IO[bytes]) -> int:
    """Writes the readings and returns how many there were."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        async with opened(data_dir) as store:
            readings = _readings(store, source, span)
            count = await (_senml(readings, text, raw=raw) if form == "senml" else _csv(readings, text, raw=raw))
        text.flush()
    finally:
        with suppress(OSError):
            text.detach()
    return count


async def _readings(store: Store, source: str, span: tuple[int, int]) -> AsyncIterator[Reading]:
    async for pack in store.blocks.readings_between(source, *span):
        yield senml.resolve(pack)


async def _senml(readings: AsyncIterator[Reading], text: io.TextIOWrapper, *, raw: bool) -> int:
    count = 0
    text.write("[")
    async for reading in readings:
        for record in _records(reading, raw=raw):
            text.write("\n" if not count else ",\n")
            text.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")))
            count += 1
    text.write("\n]\n")
    return count


def _records(reading: Reading, *, raw: bool) -> list[dict[str, Any]]:
    """The pack's records with the JSON labels of RFC 8428, section 5. The first sets base name and base time anew."""
    records: list[dict[str, Any]] = []
    for measured in _measured(reading, raw=raw):
        record: dict[str, Any] = {"n": measured.name}
        if measured.unit is not None:
            record["u"] = measured.unit
        if measured.time_ms != reading.time_ms:
            record["t"] = (measured.time_ms - reading.time_ms) / 1000
        label, value = _labelled(measured.value)
        record[label] = value
        records.append(record)
    base: dict[str, Any] = {"bn": f"{reading.source}/", "bt": reading.time_ms / 1000}
    if reading.received_ms != reading.time_ms:
        base["rt"] = reading.received_ms
    if reading.quality:
        base["q"] = reading.quality
    return [{**base, **records[0]}, *records[1:]] if records else [base]


def _measured(reading: Reading, *, raw: bool) -> list[Measured]:
    """The values; with them, or where there is none, the payload or its digest."""
    records = list(reading.records)
    for name, data in ((senml.RAW, reading.raw), (senml.RAW_DIGEST, reading.raw_sha256)):
        if data is not None and (raw or not reading.records):
            records.append(Measured(name, None, data, reading.time_ms))
    return records


def _labelled(value: float | str | bool | bytes) -> tuple[str, Any]:
    if isinstance(value, bool):
        return "vb", value
    if isinstance(value, bytes):
        return "vd", base64.urlsafe_b64encode(value).rstrip(b"=").decode()
    return ("vs", value) if isinstance(value, str) else ("v", value)


async def _csv(readings: AsyncIterator[Reading], text: io.TextIOWrapper, *, raw: bool) -> int:
    count = 0
    writer = csv.writer(text)
    writer.writerow(_HEADINGS)
    async for reading in readings:
        received = format_time(reading.received_ms)
        for one in _measured(reading, raw=raw):
            cells = (one.name, one.unit or "", _cell(one.value), reading.quality)
            writer.writerow((format_time(one.time_ms), received, reading.source, *cells))
            count += 1
    return count


def _cell(value: float | str | bool | bytes) -> str | float:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.hex()
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
