"""One node of the configuration as a reader of it: what it has seen of the log, and what it can give back."""

import asyncio
import time
from hashlib import sha256

from gateway.core import block as cose
from gateway.core import body, limits, merkle, note, tiles
from gateway.core.body import WholeBody
from gateway.core.note import Note, VerifierKey
from gateway.errors import FormatError
from gateway.keys import Signer
from gateway.node.bodies import Budget
from gateway.node.pull import Remote
from gateway.settings import NodeLink
from gateway.store.cosigned import SEEN, STORED


class NodeReader:
    """One node of the configuration, as a reader sees it. `read_key`: None for what needs no key."""

    def __init__(self, name: str, link: NodeLink, vkey: VerifierKey, read_key: Signer | None) -> None:
        self.name = name
        self.link = link
        self._vkey = vkey
        log = sha256(vkey.name.encode()).hexdigest()
        budget = Budget(4 * limits.BODY_BYTES)
        enrol = f'Its operator adds "{read_key.vkey if read_key else ""}" to `consumers` of this log in node.toml'
        base = link.url.rstrip("/")
        self._open = Remote(base, None, time.time, budget, link.ca_file)
        self._log = Remote(f"{base}/v1/logs/{log}", read_key, time.time, budget, link.ca_file, enrol=enrol)
        self._id = log
        self._bundle: tuple[int, list[bytes]] = (-1, [])
        self.size = 0
        self.root = merkle.EMPTY_ROOT
        self.note: Note | None = None

    async def close(self) -> None:
        """Ends the connections."""
        await self._open.close()
        await self._log.close()

    async def witnessed(self) -> Note | None:
        """The largest checkpoint that it has co-signed, under the log's key; None where it has none. No key needed."""
        fetched = await self._open.get(f"{self._id}/checkpoint", limits.NOTE_BYTES)
        return self._checked(fetched.data) if fetched.status == 200 else None

    async def look(self) -> None:
        """Learns how far it can give the log back."""
        fetched = await self._log.get("checkpoint", limits.NOTE_BYTES)
        if fetched.status != 200:
            return
        self.note = self._checked(fetched.data)
        checkpoint = note.parse_checkpoint(self.note.text)
        self.size, self.root = checkpoint.size, checkpoint.root

    def _checked(self, data: bytes) -> Note:
        shown = note.parse_note(data)
        note.verify_note(shown, self._vkey)
        return shown

    async def entry(self, height: int) -> bytes | None:
        """The entry that it holds; not checked."""
        if height >= self.size:
            return None
        n, at = divmod(height, tiles.WIDTH)
        if self._bundle[0] != n:
            path = tiles.entries_path(n, tiles.width_at(self.size, 0, n))
            fetched = await self._log.get(path, limits.PULL_BUNDLE_BYTES)
            self._bundle = n, tiles.decode_bundle(fetched.data)
        return self._bundle[1][at] if at < len(self._bundle[1]) else None

    async def body(self, header: cose.Header) -> WholeBody | None:
        """The readings of a block as it holds them, whole and checked against the header; None where it has none."""
        if header.height >= self.size:
            return None
        fetched = await self._log.get(f"blocks/{header.height}", limits.BODY_BYTES, whole_s=limits.NODE_UPLOAD_S)
        if fetched.status != 200:
            return None
        try:
            found = await asyncio.to_thread(body.verify_body, header, fetched.data)
        except FormatError:
            return None
        return found if isinstance(found, WholeBody) else None

    def lines(self) -> list[tuple[str, str]]:
        """(kind, line) of its own co-signatures over the checkpoint that `look` has learnt, verified."""
        if self.note is None:
            return []
        found = []
        for kind, text in ((SEEN, self.link.seen_key), (STORED, self.link.stored_key)):
            key = VerifierKey.parse(text) if text else None
            for line in self.note.lines:
                if key is not None and line.is_by(key):
                    note.verify_cosignature(self.note.text, line, key)
                    found.append((kind, note.format_line(line)))
        return found
