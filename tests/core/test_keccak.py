"""Keccak-256 by published answers, and its sponge by hashlib's SHA3-256, which differs in the padding alone."""

from hashlib import sha3_256

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.keccak import keccak256, sponge

KNOWN = {
    b"": "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470",
    b"abc": "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45",
    b"transfer(address,uint256)": "a9059cbb2ab09eb219583f4a59a5d0623ade346d962bcd4e46b11da047c9049b",
    b"Transfer(address,address,uint256)": "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
    b"\x80": "56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",  # the empty Merkle-Patricia tree
    b"\xc0": "1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",  # no uncles
}


def test_published_answers():
    for data, digest in KNOWN.items():
        assert keccak256(data).hex() == digest


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=600))
@example(bytes(135))
@example(bytes(136))
@example(bytes(137))
def test_the_sponge_is_that_of_sha3(data):
    assert sponge(data, 0x06) == sha3_256(data).digest()
