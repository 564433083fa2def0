"""A log key that remembers what it signed, and fails a test when it signs two things for one height or one size."""

from collections.abc import Callable

from gateway.core import block, cbor
from gateway.core.note import VerifierKey, parse_checkpoint
from gateway.keys import Signer

_ENTRY = b"\x84\x6aSignature1"


class Recorder:
    """A gateway.keys.Signer. `headers` by height, `roots` by size; `told` hears of each header before it is signed."""

    def __init__(self, signer: Signer, told: Callable[[int, bytes], None] = lambda height, header: None) -> None:
        self._signer = signer
        self._told = told
        self.headers: dict[int, bytes] = {}
        self.roots: dict[int, bytes] = {}

    @property
    def vkey(self) -> VerifierKey:
        return self._signer.vkey

    def sign(self, message: bytes) -> bytes:
        if message.startswith(_ENTRY):
            parts = cbor.decode(message)
            assert isinstance(parts, list)
            header = parts[3]
            assert isinstance(header, bytes)
            height = block.decode_header(header).height
            assert self.headers.setdefault(height, header) == header, f"two headers for height {height}"
            self._told(height, header)
        else:
            checkpoint = parse_checkpoint(message.decode())
            root = self.roots.setdefault(checkpoint.size, checkpoint.root)
            assert root == checkpoint.root, f"two roots for size {checkpoint.size}"
        return self._signer.sign(message)
