"""One who reads a log at its node, and believes nothing that is not proved."""

import hashlib
import time
import zlib

import aiohttp
from fakes.field import Field

from gateway import httpsig, keys
from gateway.core import body, senml
from gateway.core.block import parse_entry
from gateway.core.note import parse_checkpoint, parse_note, verify_note
from gateway.core.tiles import decode_bundle, entries_path
from gateway.store import Store


def enrol(field: Field) -> keys.Signer:
    """A key that the node, which does not run yet, lets read the log."""
    signer = keys.parse_key(keys.generate("reader.example"), where="a test")
    enrolled = field.folder / "node" / "node.toml"
    before, key, after = enrolled.read_text().rpartition("consumers = [")
    enrolled.write_text(f'{before}{key}"{signer.vkey}", {after}')
    return signer


async def readings(field: Field, signer: keys.Signer) -> list[senml.Reading]:
    """Every reading that a consumer gets of the node, each block verified against the node's co-signed tree."""
    store = await Store.open(field.data, read_only=True)
    size, vkey = store.blocks.size, store.vkey
    await store.close()
    base = f"/v1/logs/{hashlib.sha256(vkey.name.encode()).hexdigest()}"
    found = []
    async with aiohttp.ClientSession(f"http://127.0.0.1:{field.node_port}", auto_decompress=False) as http:

        async def get(path: str) -> bytes:
            authority = f"127.0.0.1:{field.node_port}"
            signed = httpsig.sign_now(signer, "GET", authority, base + path, now=time.time())
            async with http.get(base + path, headers=signed) as response:
                assert response.status == 200, (path, response.status, await response.text())
                data = await response.read()
                return zlib.decompress(data) if response.headers.get("Content-Encoding") == "deflate" else data

        note = parse_note(await get("/checkpoint"))
        verify_note(note, vkey)
        assert parse_checkpoint(note.text).size == size
        entries: list[bytes] = []
        for n in range(0, size, 256):
            entries += decode_bundle(await get("/" + entries_path(n // 256, min(256, size - n))))
        for height, entry in enumerate(entries):
            whole = body.verify_body(parse_entry(entry).header, await get(f"/blocks/{height}"))
            assert isinstance(whole, body.WholeBody)
            found += [senml.resolve(pack) for pack, _ in whole.items]
    return found
