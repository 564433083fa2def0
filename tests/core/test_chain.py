"""A whole log and a whole body: what follows is accepted, what does not is refused where it stands."""

from dataclasses import replace

import pytest
from fakes import proofs
from hypothesis import given
from hypothesis import strategies as st

from gateway import keys
from gateway.core import block, merkle, note
from gateway.core.chain import BlockCheck, Chain, check_entry
from gateway.core.note import COSIGNATURE, Checkpoint, VerifierKey
from gateway.errors import FormatError

LOG = proofs.Log([5, 0, 9, 1, 3])
KEY = proofs.LOG.vkey


def sign(header: block.Header) -> bytes:
    return keys.sign_entry(proofs.LOG, header.encode())


@given(st.lists(st.integers(0, 5), max_size=4))
def test_a_log_is_accepted_in_any_portions(portions: list[int]) -> None:
    chain, taken, at = Chain(KEY), [], 0
    for portion in [*portions, len(LOG.entries)]:
        chain, accepted = chain.extend(LOG.entries[at : at + portion])
        at += len(accepted)
        taken += accepted
    assert [entry.raw for entry in taken] == LOG.entries
    assert [entry.header for entry in taken] == LOG.headers
    assert chain.size == len(LOG.entries)
    assert chain.root() == merkle.root(LOG.entry_hashes())
    assert chain.check_note(LOG.note()).size == 5


@given(st.integers(0, 4), st.data())
def test_no_byte_of_an_entry_can_change(height: int, data: st.DataObject) -> None:
    entries = list(LOG.entries)
    changed = bytearray(entries[height])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    entries[height] = bytes(changed)
    with pytest.raises(FormatError):
        Chain(KEY).extend(entries)


@given(st.permutations(range(5)))
def test_the_order_is_the_logs(order: list[int]) -> None:
    entries = [LOG.entries[height] for height in order]
    if order == sorted(order):
        Chain(KEY).extend(entries)
    else:
        with pytest.raises(FormatError, match="height"):
            Chain(KEY).extend(entries)


def test_a_refused_entry_leaves_the_chain_as_it_was() -> None:
    chain, _ = Chain(KEY).extend(LOG.entries[:3])
    with pytest.raises(FormatError):
        chain.extend([LOG.entries[3], LOG.entries[3]])
    assert chain.extend(LOG.entries[3:])[0].size == 5


def test_another_history_does_not_follow() -> None:
    other = proofs.Log([5, 1, 9])
    chain, _ = Chain(KEY).extend(LOG.entries[:2])
    with pytest.raises(FormatError, match="does not name the entry before it"):
        chain.extend([other.entries[2]])


def test_an_entry_belongs_to_its_key() -> None:
    other = VerifierKey.make(proofs.ORIGIN, note.ED25519, proofs.OTHER.vkey.public)
    with pytest.raises(FormatError, match="another key"):
        check_entry(LOG.entries[0], other, 0)
    cosigner = VerifierKey.make(proofs.ORIGIN, COSIGNATURE, KEY.public)
    with pytest.raises(FormatError, match="another key"):
        check_entry(LOG.entries[0], cosigner, 0)
    forged = replace(KEY, public=proofs.OTHER.vkey.public)  # the id is right, the key is not
    with pytest.raises(FormatError, match="signature"):
        check_entry(LOG.entries[0], forged, 0)
    elsewhere = VerifierKey.make("another/1", note.ED25519, KEY.public)
    with pytest.raises(FormatError, match="is of"):
        check_entry(LOG.entries[0], elsewhere, 0)
    with pytest.raises(FormatError, match="height"):
        check_entry(LOG.entries[1], KEY, 0)
    assert check_entry(LOG.entries[1], KEY, 1).header.height == 1


def test_nothing_follows_a_closed_log() -> None:
    closed = proofs.Log([2, 1], closed=True)
    chain, entries = Chain(KEY).extend(closed.entries)
    assert chain.closed
    after = replace(entries[1].header, height=2, prev=chain.prev, reason=block.REASON_AGE)
    with pytest.raises(FormatError, match="closed"):
        chain.extend([sign(after)])
    resumed = Chain.resume(KEY, chain.frontier, closed.entries[-1])
    assert resumed == chain
    with pytest.raises(FormatError, match="closed"):
        resumed.extend([sign(after)])


def test_a_chain_resumes_from_what_was_kept() -> None:
    assert Chain.resume(KEY, merkle.Frontier(), None) == Chain(KEY)
    for size in range(1, 5):
        chain, _ = Chain(KEY).extend(LOG.entries[:size])
        assert Chain.resume(KEY, chain.frontier, LOG.entries[size - 1]) == chain


def test_a_checkpoint_is_of_this_log_at_this_size() -> None:
    chain, _ = Chain(KEY).extend(LOG.entries[:3])
    assert chain.check_note(LOG.note(3)) == Checkpoint(proofs.ORIGIN, 3, chain.root())
    with pytest.raises(FormatError, match="at size 4"):
        chain.check_note(LOG.note(4))
    false = keys.sign_checkpoint(proofs.LOG, Checkpoint(proofs.ORIGIN, 3, bytes(32)))
    with pytest.raises(FormatError, match="another root"):
        chain.check_note(false)
    with pytest.raises(FormatError, match="no signature"):
        chain.check_note(keys.sign_checkpoint(proofs.OTHER, chain.check_note(LOG.note(3))))


# Bodies


def take_all(log: proofs.Log, height: int, readings: range | None = None) -> None:
    check = BlockCheck(log.headers[height], proofs.secret(height))
    for index in readings or range(log.counts[height]):
        check.take(log.pack(height, index), proofs.payload(height, index))
    check.finish()


@pytest.mark.parametrize("height", range(5))
def test_a_whole_body_is_its_headers(height: int) -> None:
    take_all(LOG, height)


def test_a_body_with_too_few_or_too_many_readings_is_refused() -> None:
    with pytest.raises(FormatError, match="8 of 9"):
        take_all(LOG, 2, range(8))
    with pytest.raises(FormatError, match="counts 9"):
        take_all(LOG, 2, range(10))


def test_a_body_in_another_order_or_with_another_secret_is_refused() -> None:
    check = BlockCheck(LOG.headers[0], proofs.secret(0))
    for index in (1, 0, 3, 4):
        check.take(LOG.pack(0, index), None)
    check.take(LOG.pack(0, 2), None)
    with pytest.raises(FormatError, match="root"):
        check.finish()
    check = BlockCheck(LOG.headers[3], proofs.secret(0))
    check.take(LOG.pack(3, 0), None)
    with pytest.raises(FormatError, match="root"):
        check.finish()


def test_a_pack_or_a_payload_that_does_not_hold_is_refused() -> None:
    check = BlockCheck(LOG.headers[2], proofs.secret(2))
    with pytest.raises(FormatError, match="reading 0"):
        check.take(b"\xa0", None)
    with pytest.raises(FormatError, match="payload"):
        check.take(LOG.pack(2, 0), b"beside a pack that names none")
    check.take(LOG.pack(2, 0), None)
    check.take(LOG.pack(2, 1), None)
    with pytest.raises(FormatError, match="payload"):
        check.take(LOG.pack(2, 2), b"another payload")
    reading = check.take(LOG.pack(2, 2), proofs.payload(2, 2))
    assert reading.source == "henhouse-3"
