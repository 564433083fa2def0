"""SM2 beside the log's own signature: from `key sm2` to receipts that are refused without it."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.command import fieldgate
from fakes.field import Field

from gateway.core.note import SM2, Note, VerifierKey, format_line, parse_note
from gateway.core.receipt import parse_receipt
from gateway.store import Store

SOURCES = """
[seal]
max_age_s = 0.3
[source.box]
driver = "system"
every_s = 1
"""


async def run_until(field: Field, blocks: int) -> dict[str, Any]:
    """The gateway runs until the node has so many blocks; its status then."""
    async with field.started():
        await field.up()
        status = await field.status()
        while status["nodes"]["node"]["stored"] < blocks:
            status = await field.status()
        assert await field.gateway.end() == 0
    return status


def receipt(field: Field, name: str) -> Path:
    path = field.home / name
    done = fieldgate("receipt", "box", "--at", "now", "-o", path, cwd=field.home)
    assert done.code == 0, done.err
    return path


@pytest.mark.nightly
@pytest.mark.timeout(120)
async def test_a_checkpoint_is_signed_twice_and_sealing_waits_for_neither_key_nor_engine(tmp_path: Path) -> None:
    field = Field(tmp_path, SOURCES)
    await field.make()
    made = fieldgate("key", "sm2", cwd=field.home)
    assert made.code == 0, made.err
    told = dict(line.split(None, 1) for line in made.out.splitlines() if line.startswith(("SM2", "its", "use")))
    vkey = VerifierKey.parse(made.out.split()[2])
    assert (vkey.algorithm, vkey.name) == (SM2, "field.example/sm2")
    config = field.home / "fieldgate.toml"
    config.write_text(config.read_text().replace("\nkey = ", f'\nsm2_key = "file:{field.home}/sm2.key"\nkey = ', 1))
    assert str(vkey) in fieldgate("key", "show", cwd=field.home).out
    pins = tmp_path / "pins"
    pins.write_text(told["its"].split(None, 1)[1] + "\n")
    fieldgate("policy", "-o", "policy", cwd=field.home)

    status = await run_until(field, 3)
    assert [one["condition"] for one in status["problems"] if one["condition"].startswith("sm2")] == []
    path = receipt(field, "twice")
    verify = ("verify", path, "--policy", "policy")
    good = fieldgate(*verify, "--pins", pins, "-v", cwd=field.home)
    assert good.code == 0 and "by SM2 with SM3 as well" in good.out, good.out + good.err
    assert fieldgate(*verify, cwd=field.home).code == 0

    (line,) = (line for line in parse_receipt(path.read_bytes()).note.lines if line.is_by(vkey))
    broken = replace(line, body=bytes([line.body[0] ^ 1]) + line.body[1:])
    path.write_text(path.read_text().replace(format_line(line), format_line(broken)))
    refused = fieldgate(*verify, "--pins", pins, "-v", cwd=field.home)
    assert refused.code == 1 and "SM2 signature" in refused.err and "2. the log's signature: REFUSED" in refused.out
    assert fieldgate(*verify, cwd=field.home).code == 0, "a line of a key that nobody names is ignored"

    assert any(line.is_by(vkey) for line in kept_by_node(field).lines), "the node keeps the line that it does not know"

    (field.home / "sm2.key").unlink()
    store = await Store.open(field.data, read_only=True)
    size = store.blocks.size
    await store.close()
    status = await run_until(field, size + 3)
    assert "sm2-unsigned" in [one["condition"] for one in status["problems"]]
    later = receipt(field, "once")
    missing = fieldgate("verify", later, "--policy", "policy", "--pins", pins, cwd=field.home)
    assert missing.code == 1 and "no signature of field.example/sm2" in missing.err
    assert fieldgate("verify", later, "--policy", "policy", cwd=field.home).code == 0


def kept_by_node(field: Field) -> Note:
    """The newest checkpoint in the node's store."""
    with closing(sqlite3.connect(field.folder / "node" / "data" / "node.sqlite")) as con:
        return parse_note(con.execute("SELECT note FROM note ORDER BY size DESC LIMIT 1").fetchone()[0])
