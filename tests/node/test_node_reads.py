"""Section 9's paths at the node: who may read, what is served, and receipts that verify offline."""

import time
import zlib
from hashlib import sha256
from pathlib import Path

import pytest
from fakes.log_maker import START_MS, LogMaker, signer
from fakes.nodes import READER, SEEN, STORED, Client, enrolled, running

from gateway import httpsig
from gateway.core import block, body, limits, merkle, senml, tiles
from gateway.core.note import b64encode, parse_note, verify_cosignature, verify_note
from gateway.core.policy import make_policy
from gateway.core.receipt import parse_receipt
from gateway.verify import verify_receipt


@pytest.fixture
def maker() -> LogMaker:
    """A log of six blocks of three readings of two sources, a second apart."""
    return LogMaker().add(6)


async def filled(client: Client, maker: LogMaker) -> None:
    """Sends everything in two steps."""
    await client.sync(maker, 0, 4)
    await client.sync(maker, 4)
    for height in range(maker.size):
        assert (await client.put(maker, height)).status == 204
    await client.sync(maker, maker.size)


async def test_only_keys_that_are_named_may_read(tmp_path: Path, maker: LogMaker) -> None:
    other = LogMaker("barn.example/1").add(1)
    logs = {"a": enrolled(maker, consumers=(str(READER.vkey),)), "b": enrolled(other, consumers=())}
    async with running(tmp_path, logs) as client:
        await filled(client, maker)
        await client.sync(other, 0)
        assert (await client.read(READER, maker.id, "checkpoint")).status == 200
        denied = [
            await client.read(maker.signer, maker.id, "checkpoint"),  # the log key signs the log and nothing else
            await client.read(READER, other.id, "checkpoint"),
            await client.read(signer("stranger.example"), maker.id, "checkpoint"),
            await client.read(READER, "0" * 64, "checkpoint"),
            await client.ask("GET", f"/v1/logs/{maker.id}/checkpoint"),
            await client.ask("GET", f"/v1/logs/{maker.id}/nothing"),
        ]
        for reply in denied:
            assert (reply.status, reply.data) == (401, b"")
            assert reply.headers["Server"] == "fieldgate"


async def test_a_signature_is_for_one_request(tmp_path: Path, maker: LogMaker) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await filled(client, maker)
        authority = f"127.0.0.1:{client.port}"
        path = f"/v1/logs/{maker.id}/checkpoint"
        now = time.time()
        signed = httpsig.sign_now(READER, "GET", authority, path, now=now)
        assert (await client.ask("GET", path, headers=signed)).status == 200
        assert (await client.ask("GET", path, headers=signed)).status == 401  # the nonce was used
        wrong = [
            httpsig.sign_now(READER, "GET", "node.elsewhere:8441", path, now=now),
            httpsig.sign_now(READER, "GET", authority, path + "x", now=now),
            httpsig.sign_now(READER, "GET", authority, path, "at=1", now=now),
            httpsig.sign_now(READER, "PUT", authority, path, now=now),
            httpsig.sign_now(READER, "GET", authority, path, now=now - 2 * limits.SIGNATURE_AGE_S),
        ]
        for headers in wrong:
            assert (await client.ask("GET", path, headers=headers)).status == 401
        for method in ("POST", "DELETE", "HEAD", "PUT"):
            signed = httpsig.sign_now(READER, method, authority, path, now=now)
            assert (await client.ask(method, path, headers=signed)).status == 405
        signed = httpsig.sign_now(READER, "GET", authority, path, now=now)
        assert (await client.ask("GET", path, headers=signed, data=b"a body")).status == 400


async def test_further_names_of_the_node_are_configured(tmp_path: Path, maker: LogMaker) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}, authority=("node.coop.example:8441",)) as client:
        await client.sync(maker, 0)
        path = f"/v1/logs/{maker.id}/checkpoint"
        signed = httpsig.sign_now(READER, "GET", "node.coop.example:8441", path, now=time.time())
        reply = await client.ask("GET", path, headers={**signed, "Host": "Node.Coop.example:8441"})
        assert reply.status == 200


async def test_the_log_can_be_recovered_whole(tmp_path: Path) -> None:
    maker = LogMaker().add(300, readings=1)
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
        for height in (0, 299):
            await client.put(maker, height)

        async def get(path: str) -> bytes:
            reply = await client.read(READER, maker.id, path)
            assert reply.status == 200, (path, reply.status, reply.data)
            return reply.data

        note = parse_note(await get("checkpoint"))
        verify_note(note, maker.signer.vkey)
        assert note.text == maker.note().text
        entries = [entry for path in tiles.bundles(300) for entry in tiles.decode_bundle(await get(str(path)))]
        assert entries == maker.entries
        leaves = [merkle.leaf_hash(entry) for entry in entries]
        assert await get("tile/0/000") == b"".join(leaves[:256])
        assert await get("tile/0/001.p/44") == b"".join(leaves[256:])
        assert await get("tile/0/001.p/7") == b"".join(leaves[256:263])
        assert await get("tile/1/000.p/1") == merkle.root(leaves[:256])
        assert zlib.decompress(await get_deflated(client, maker, 299)) == maker.blocks[299].body
        assert await get("blocks/0") == maker.blocks[0].body
        missing = [
            "tile/0/001",
            "tile/0/001.p/45",
            "tile/entries/002.p/1",
            "tile/1/000.p/2",
            "tile/2/000.p/1",
            "blocks/1",
        ]
        for path in missing:
            assert (await client.read(READER, maker.id, path)).status == 404, path
        malformed = [
            "tile/0/1",
            "tile/64/000",
            "tile/0/001.p/0",
            "tile/0/001.p/256",
            "blocks/00",
            "blocks/",
            "x",
            "tile",
        ]
        for path in malformed:
            assert (await client.read(READER, maker.id, path)).status == 400, path
        assert (await client.read(READER, maker.id, "checkpoint", "x=1")).status == 400


async def get_deflated(client: Client, maker: LogMaker, height: int) -> bytes:
    """A body, compressed, whose ETag spares the second transfer."""
    headers = {"Accept-Encoding": "gzip, deflate"}
    reply = await client.read(READER, maker.id, f"blocks/{height}", **headers)
    assert reply.headers["Content-Encoding"] == "deflate"
    assert reply.headers["Cache-Control"] == "private, no-cache"
    assert reply.headers["ETag"] == f'"{sha256(reply.data).hexdigest()}"'
    again = {**headers, "If-None-Match": reply.headers["ETag"]}
    same = await client.read(READER, maker.id, f"blocks/{height}", **again)
    assert (same.status, same.data) == (304, b"")
    return reply.data


async def test_what_is_cached_for_how_long(tmp_path: Path) -> None:
    maker = LogMaker().add(256, readings=1)
    expected = {
        "checkpoint": "no-cache",
        "tile/0/000": "private, max-age=31536000, immutable",
        "tile/entries/000": "private, max-age=31536000, immutable",
        "tile/0/000.p/3": "no-cache",
        "stored": "no-cache",
    }
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
        for path, cache in expected.items():
            assert (await client.read(READER, maker.id, path)).headers["Cache-Control"] == cache


async def test_a_checkpoint_for_readers_never_goes_past_the_entries(tmp_path: Path, maker: LogMaker) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        assert (await client.read(READER, maker.id, "checkpoint")).status == 404
        await client.sync(maker, 0, 3)
        proof = "".join(f"{line}\n" for line in map(b64encode, maker.proof(3, 6)))
        await client.add_checkpoint(f"old 3\n{proof}\n{maker.note(6).encode()}".encode())
        note = parse_note((await client.read(READER, maker.id, "checkpoint")).data)
        assert note.text == maker.note(3).text


# Receipts


async def receipt(client: Client, maker: LogMaker, source: str, at_ms: int) -> bytes:
    """The receipt of the source's last reading at or before a time."""
    reply = await client.read(READER, maker.id, f"receipts/{source}", f"at={at_ms}")
    assert reply.status == 200, (reply.status, reply.data)
    return reply.data


async def test_a_receipt_verifies_with_nothing_but_the_policy(tmp_path: Path, maker: LogMaker) -> None:
    policy = make_policy([maker.signer.vkey], [SEEN, STORED])
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await filled(client, maker)
        for height in range(6):
            for index in range(3):
                at = START_MS + (height * 3 + index) * 1000
                data = await receipt(client, maker, f"s-{index % 2}", at)
                verified = verify_receipt(data, policy)
                assert verified.reading.time_ms == at
                parsed = parse_receipt(data)
                assert (parsed.log_index, parsed.index) == (height, index)
                size = 4 if height < 4 else 6  # the smallest co-signed size above it
                assert parsed.note.text == maker.note(size).text


async def test_the_last_reading_at_or_before_a_time(tmp_path: Path) -> None:
    maker = LogMaker()

    def reading(at: int, value: int) -> body.Item:
        return senml.build("pig", [("n", None, value)], bt_ms=START_MS + at), None

    maker.append([reading(1000, 0), reading(5000, 1), reading(3000, 2)])
    maker.append([reading(4000, 3), reading(2000, 4)])
    maker.append([reading(5000, 5)])
    maker.append([(b"\x80", None), (b"not a pack", None)])
    expected = {1000: 0, 1999: 0, 2000: 4, 2999: 4, 3000: 2, 4000: 3, 4999: 3, 5000: 5, 9999: 5}
    policy = make_policy([maker.signer.vkey], [SEEN])
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
        for height in range(4):
            assert (await client.put(maker, height)).status == 204
        for at, value in expected.items():
            verified = verify_receipt(await receipt(client, maker, "pig", START_MS + at), policy)
            assert verified.reading.records[0].value == value, at
        for source, at in (("pig", START_MS + 999), ("hen", START_MS), ("gateway", START_MS)):
            assert (await client.read(READER, maker.id, f"receipts/{source}", f"at={at}")).status == 404
        for path, query in (
            ("receipts/pig", ""),
            ("receipts/pig", "at="),
            ("receipts/pig", "at=-1"),
            ("receipts/pig", "at=01"),
            ("receipts/pig", "at=1&at=2"),
            ("receipts/Pig", "at=1"),
            ("receipts/", "at=1"),
            ("receipts", "at=1"),
            ("receipts/pig/", "at=1"),
        ):
            assert (await client.read(READER, maker.id, path, query)).status == 400, (path, query)


async def test_a_reading_under_no_co_signature_has_no_receipt_yet(tmp_path: Path, maker: LogMaker) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
        await client.put(maker, 5)
        store = client.node.store
        await store._writer.execute("UPDATE note SET seen = ''")  # type: ignore[attr-defined]
        at = START_MS + 5 * 3000
        assert (await client.read(READER, maker.id, "receipts/s-0", f"at={at}")).status == 404


@pytest.mark.parametrize("size", [1_000, 200_000])
async def test_a_payload_apart_goes_with_its_receipt_while_there_is_room(tmp_path: Path, size: int) -> None:
    maker = LogMaker()
    draft = maker.append([(b"\x80", None)])
    maker.blocks.pop()
    salt = block.raw_salt(draft.secret, 0)
    payload = bytes(range(256)) * (size // 256)
    pack = senml.with_digest("cam", [("n", None, 1)], bt_ms=START_MS, raw_sha256=block.payload_digest(salt, payload))
    maker.append([(pack, payload)])
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
        assert (await client.put(maker, 0)).status == 204
        data = await receipt(client, maker, "cam", START_MS)
        verify_receipt(data, make_policy([maker.signer.vkey], [SEEN]))
        parsed = parse_receipt(data)
        assert (parsed.payload, parsed.raw_salt) == (
            (payload, salt) if size < limits.RECEIPT_BYTES // 2 else (None, None)
        )


async def test_checkpoints_carry_both_lines_of_this_node(tmp_path: Path, maker: LogMaker) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await filled(client, maker)
        note = parse_note((await client.read(READER, maker.id, "checkpoint")).data)
        for key in (SEEN, STORED):
            (line,) = [line for line in note.lines if line.is_by(key)]
            assert verify_cosignature(note.text, line, key)
