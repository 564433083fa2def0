"""The last act of `fieldgate demo`: a receipt verified by a process that has nothing else, then spoilt byte by byte."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gateway.cli.demo_site import Site
from gateway.core.note import Note, SignatureLine, parse_checkpoint
from gateway.core.receipt import Receipt, parse_receipt
from gateway.errors import FieldgateError

_STEP = re.compile(r"refused at step (\d+)")


async def verify_alone(site: Site, receipt: bytes, policy: Path) -> tuple[int, str]:
    """Exit code and words of `fieldgate verify` with an empty environment in a folder of receipt and policy alone."""
    with tempfile.TemporaryDirectory(prefix="fieldgate-") as folder:
        alone = Path(folder)
        (alone / "receipt").write_bytes(receipt)
        shutil.copyfile(policy, alone / "policy")
        code, out, err = await site.outcome("verify", "receipt", "--policy", "policy", "-v", cwd=alone, env={})
    return code, out + err


def spoilt(data: bytes) -> Iterator[tuple[str, int, bytes]]:
    """(section, the step that must refuse it, the receipt with one bit of that section flipped)."""
    receipt = parse_receipt(data)
    lines = receipt.note.lines
    text = receipt.note.text
    yield "first line", 1, _flip(data, 0)
    checkpoint = parse_checkpoint(text)
    false_text = replace(checkpoint, root=_flip(checkpoint.root, 0)).text()
    yield "checkpoint", 2, _with_note(receipt, Note(false_text, lines))
    yield "log signature", 2, _with_note(receipt, Note(text, (_spoilt_line(lines[0]), *lines[1:])))
    yield "co-signature", 3, _with_note(receipt, Note(text, (lines[0], *map(_spoilt_line, lines[1:]))))
    yield "entry", 4, _encoded(replace(receipt, entry=_flip(receipt.entry, -1)))
    yield "log path", 4, _encoded(replace(receipt, log_path=_flip_first(receipt.log_path)))
    yield "leaf", 6, _encoded(replace(receipt, leaf=_flip(receipt.leaf, -1)))
    yield "place in the block", 6, _encoded(replace(receipt, index=receipt.index ^ 1))
    yield "block path", 6, _encoded(replace(receipt, path=_flip_first(receipt.path)))
    if receipt.payload:
        yield "payload", 7, _encoded(replace(receipt, payload=_flip(receipt.payload, 0)))


async def refuse_all(site: Site, data: bytes, policy: Path) -> list[tuple[str, int]]:
    """Every spoilt receipt, refused at its own step. FieldgateError where one is not."""
    seen: list[tuple[str, int]] = []
    for section, step, bad in spoilt(data):
        code, words = await verify_alone(site, bad, policy)
        found = _STEP.search(words)
        if code != 1 or found is None or int(found[1]) != step:
            what = f"a flipped byte in {section} was not refused at step {step} (exit {code})"
            raise FieldgateError(what, where="demo", cure=words.strip())
        seen.append((section, step))
    return seen


def _flip(data: bytes, at: int) -> bytes:
    out = bytearray(data)
    out[at] ^= 1
    return bytes(out)


def _flip_first(path: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return (_flip(path[0], 0), *path[1:])


def _spoilt_line(line: SignatureLine) -> SignatureLine:
    return replace(line, body=_flip(line.body, -1))


def _with_note(receipt: Receipt, note: Note) -> bytes:
    return _encoded(replace(receipt, note=note))


def _encoded(receipt: Receipt) -> bytes:
    return receipt.encode().encode()
