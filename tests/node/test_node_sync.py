"""Sync and bodies over real HTTP (docs/format.md, sections 6 to 8)."""

import asyncio
import json
import logging
import time
import zlib
from pathlib import Path

import pytest
from fakes.log_maker import LogMaker, signer
from fakes.nodes import READER, SEEN, STORED, Client, Reply, check_lines, enrolled, running

from gateway.core import block, body, limits, senml
from gateway.node.store import Form


@pytest.fixture
def maker() -> LogMaker:
    """A log of six blocks."""
    return LogMaker().add(6)


async def test_entries_are_taken_and_co_signed(tmp_path: Path, maker: LogMaker) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        before = int(time.time())
        fields = (await client.sync(maker, 0, 4)).fields
        assert set(fields) == {1, 2, 3}
        assert (fields[2], fields[3]) == (4, [[0, 4]])
        assert before <= check_lines(maker, 4, fields[1], SEEN) <= time.time()
        fields = (await client.sync(maker, 4)).fields
        assert (fields[2], fields[3]) == (6, [[0, 6]])
        again = (await client.sync(maker, 6)).fields  # nothing new: a fresh signature
        assert check_lines(maker, 6, again[1], SEEN) >= check_lines(maker, 6, fields[1], SEEN)


async def test_what_was_taken_is_there_after_a_restart(tmp_path: Path, maker: LogMaker) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0, 4)
        await client.put(maker, 2)
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        conflict = await client.sync(maker, 0, 4)
        assert (conflict.status, conflict.data) == (409, b"4\n")
        fields = (await client.sync(maker, 4)).fields
        assert (fields[2], fields[3]) == (6, [[0, 2], [3, 6]])


async def test_a_conflict_says_where_to_begin(tmp_path: Path, maker: LogMaker) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        reply = await client.sync(maker, 3, 5)
        assert (reply.status, reply.data) == (409, b"0\n")
        assert reply.headers["Content-Type"] == "text/x.tlog.size"


async def test_statuses(tmp_path: Path, maker: LogMaker) -> None:
    other = LogMaker("barn.example/1").add(2)
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        unsigned = maker.note(6).text + "\n— stranger.example AAAAAAAAAAAA\n"
        expected = {
            404: await client.sync(other, 0),
            403: await client.sync(maker, 0, note=unsigned),
            400: await client.post_sync(maker.id, b"\x00"),
            415: await client.post_sync(maker.id, b"\x00", **{"Content-Type": "text/plain"}),
            413: await client.post_sync(maker.id, bytes(limits.SYNC_REQUEST_BYTES + 1)),
            405: await client.ask("GET", f"/v1/logs/{maker.id}/sync", headers={}),
        }
        del expected[405]  # a GET there is a read, and unsigned
        for status, reply in expected.items():
            assert reply.status == status
            assert reply.data
            assert len(reply.data) < 200
            assert b"Traceback" not in reply.data
        assert (await client.post_sync(maker.id, bytes(limits.SYNC_REQUEST_BYTES))).status == 400
        assert (await client.post_sync("A" * 64, b"")).status == 404
        assert (await client.ask("DELETE", "/add-checkpoint")).status == 405
        gzipped = await client.post_sync(maker.id, b"\x00", **{"Content-Encoding": "gzip"})
        assert gzipped.status == 415


async def test_a_fork_freezes_its_log_and_no_other(
    tmp_path: Path, maker: LogMaker, caplog: pytest.LogCaptureFixture
) -> None:
    other = LogMaker("barn.example/1").add(3)
    fork = maker.fork(3, 3)
    async with running(tmp_path, {"a": enrolled(maker), "b": enrolled(other)}) as client:
        await client.sync(maker, 0, 5)
        with caplog.at_level(logging.CRITICAL):
            assert (await client.sync(fork, 2, 4)).status == 422
        assert "fork: two entries of height 3" in caplog.text
        assert maker.origin in caplog.text
        (evidence,) = await client.node.store.evidence(maker.id)
        assert (evidence.kind, evidence.number) == ("entry", 3)
        assert (evidence.held, evidence.sent) == (maker.entries[3], fork.entries[3])
        for sent in (await client.sync(maker, 5), await client.sync(fork, 5), await client.put(maker, 0)):
            assert sent.status == 422
            assert b"frozen" in sent.data
        assert (await client.read(READER, maker.id, "checkpoint")).status == 200
        assert (await client.sync(other, 0)).fields[2] == 3
    with caplog.at_level(logging.CRITICAL):
        caplog.clear()
        async with running(tmp_path, {"a": enrolled(maker)}) as client:
            assert "frozen" in caplog.text
            assert (await client.sync(maker, 5)).status == 422


async def test_every_view_of_a_fork_is_refused(tmp_path: Path, maker: LogMaker) -> None:
    fork = maker.fork(3, 4)
    attempts = {"entry": (0, 4), "prev": (5, 7), "root": (5, 5)}
    for number, (kind, (old, new)) in enumerate(attempts.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with running(folder, {"a": enrolled(maker)}) as client:
            await client.sync(maker, 0, 5)
            assert (await client.sync(fork, old, new)).status == 422
            (evidence,) = await client.node.store.evidence(maker.id)
            assert evidence.kind == kind


# Bodies


async def test_whole_bodies_fill_wants_and_are_signed_as_stored(tmp_path: Path, maker: LogMaker) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0, 4)
        for height in (0, 1, 3):
            assert (await client.put(maker, height)).status == 204
        fields = (await client.sync(maker, 4)).fields
        assert fields[3] == [[2, 3], [4, 6]]
        assert 4 not in fields  # size 2 was never signed as seen
        assert (await client.put(maker, 2)).status == 204
        fields = (await client.sync(maker, 6)).fields
        assert fields[3] == [[4, 6]]
        assert fields[4] == 4
        check_lines(maker, 4, fields[5], STORED)
        for height in (4, 5):
            await client.put(maker, height, maker.blocks[height].body, coding="")
        fields = (await client.sync(maker, 6)).fields
        assert 3 not in fields
        assert fields[4] == 6
        check_lines(maker, 6, fields[5], STORED)


async def test_stored_begins_where_the_log_was_enrolled(tmp_path: Path, maker: LogMaker) -> None:
    async with running(tmp_path, {"a": enrolled(maker, stored_from=2)}) as client:
        assert (await client.sync(maker, 0, 2)).fields.keys() == {1, 2}
        fields = (await client.sync(maker, 2, 4)).fields
        assert fields[3] == [[2, 4]]
        assert (await client.put(maker, 1)).status == 409
        await client.put(maker, 2)
        await client.put(maker, 3)
        fields = (await client.sync(maker, 4)).fields
        assert (fields[3], fields[4]) == ([[4, 6]], 4)
        told = json.loads((await client.read(READER, maker.id, "stored")).data)
        assert told == {"from": 2, "size": 4, "gone": []}


async def test_a_body_already_held_is_not_read_again(tmp_path: Path, maker: LogMaker) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
        assert (await client.put(maker, 0)).status == 204
        assert (await client.put(maker, 0, b"anything")).status == 204
        assert (await client.put(maker, 6, b"x")).status == 404
        assert (await client.put(LogMaker("barn.example/1").add(1), 0)).status == 404
        for name in ("00", "-1", "x", "1/2", "9" * 20):
            reply = await client.ask("PUT", f"/v1/logs/{maker.id}/blocks/{name}", data=b"")
            assert reply.status in (400, 404, 405)


async def test_a_cut_body_is_kept_and_never_fills_a_want(tmp_path: Path, maker: LogMaker) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
        cut = zlib.compress(maker.blocks[0].cut("s-0"))
        assert (await client.put(maker, 0, cut)).status == 202
        assert (await client.sync(maker, 6)).fields[3] == [[0, 6]]
        held = await client.node.store.body(maker.id, 0)
        assert held is not None
        assert held.form is Form.CUT
        at = body_time(maker, 0, 0)
        assert (await client.read(READER, maker.id, "receipts/s-0", f"at={at}")).status == 200
        assert (await client.read(READER, maker.id, "receipts/s-1", f"at={at}")).status == 404
        assert (await client.put(maker, 0)).status == 204
        assert (await client.put(maker, 0, cut)).status == 204
        held = await client.node.store.body(maker.id, 0)
        assert held is not None
        assert held.form is Form.WHOLE
        assert (await client.sync(maker, 6)).fields[3] == [[1, 6]]


async def test_a_body_with_every_reading_disclosed_by_itself_is_whole_enough(tmp_path: Path, maker: LogMaker) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
        assert (await client.put(maker, 0, zlib.compress(maker.blocks[0].cut("s-0", "s-1")))).status == 204
        assert (await client.sync(maker, 6)).fields[3] == [[1, 6]]


def with_payload(maker: LogMaker) -> tuple[bytes, bytes]:
    """Adds a block with one reading whose payload travels apart; the body with it, and without it."""
    payload = b"as it arrived" * 1_000
    draft = maker.append([(b"\x80", None)])  # its secret depends on the height alone
    maker.blocks.pop()
    digest = block.payload_digest(block.raw_salt(draft.secret, 0), payload)
    pack = senml.with_digest("cam", [("n", None, 1)], bt_ms=draft.header.first, raw_sha256=digest)
    made = maker.append([(pack, payload)])
    stripped = body.whole_body_head(made.header.height, made.secret, 1) + body.item(pack, None)
    return made.body, stripped


async def test_a_body_without_a_payload_that_its_reading_names_does_not_fill_a_want(
    tmp_path: Path, maker: LogMaker
) -> None:
    whole, stripped = with_payload(maker)
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
        assert (await client.put(maker, 6, zlib.compress(stripped))).status == 202
        assert (await client.put(maker, 6, zlib.compress(whole[:-1] + b"x"))).status == 400
        assert (await client.put(maker, 6, zlib.compress(whole))).status == 204
        assert (await client.sync(maker, 7)).fields[3] == [[0, 6]]


async def test_bodies_that_do_not_belong_are_400_and_change_nothing(tmp_path: Path, maker: LogMaker) -> None:
    whole = maker.blocks[0].body
    wrong = {
        "another block's": maker.blocks[1].body,
        "a bit flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
        "cut short": whole[:-1],
        "more after it": whole + b"\0",
        "not CBOR": b"hello",
        "empty": b"",
        "a cut one of another block": maker.blocks[1].cut("s-0"),
    }
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
        for what, data in wrong.items():
            assert (await client.put(maker, 0, zlib.compress(data))).status == 400, what
            assert (await client.put(maker, 0, data, coding="")).status == 400, what
        good = maker.blocks[0].compressed
        for data in (good[:-1], good[:-4], good + b"\0", good[2:], b"", whole):
            assert (await client.put(maker, 0, data)).status == 400
        for coding in ("gzip", "br", "deflate, deflate", "x"):
            assert (await client.put(maker, 0, good, coding=coding)).status == 415
        assert (await client.sync(maker, 6)).fields[3] == [[0, 6]]
        assert client.node.server.budget.left == limits.NODE_UPLOAD_BYTES


async def test_a_bomb_is_stopped_at_the_bound(tmp_path: Path, maker: LogMaker) -> None:
    packer = zlib.compressobj(9)
    step = bytes(1024 * 1024)
    bomb = b"".join(packer.compress(step) for _ in range(limits.BODY_BYTES // len(step) + 1)) + packer.flush()
    assert len(bomb) < 100_000
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
        reply = await client.put(maker, 0, bomb)
        assert reply.status == 413
        assert client.node.server.budget.left == limits.NODE_UPLOAD_BYTES
        assert (await client.put(maker, 0)).status == 204


async def test_uploads_beyond_their_places_wait_for_another_time(
    tmp_path: Path, maker: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "NODE_UPLOADS_OF_LOG", 1)
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        head = f"PUT /v1/logs/{maker.id}/blocks/0 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
        writer.write(head.encode() + b"x")
        await writer.drain()
        await until(lambda: client.node.server._uploads.total() == 1)
        reply = await client.put(maker, 1)
        assert (reply.status, reply.headers["Retry-After"]) == (503, "5")
        writer.close()
        await writer.wait_closed()
        await until(lambda: client.node.server._uploads.total() == 0)
        assert (await client.put(maker, 1)).status == 204
        assert client.node.server.budget.left == limits.NODE_UPLOAD_BYTES
        del reader


async def until(condition: object) -> None:
    """Waits for a condition, at most ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)


async def test_without_room_nothing_is_wanted(tmp_path: Path, maker: LogMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        monkeypatch.setattr(limits, "NODE_FREE_BYTES", 2**63)
        fields = (await client.sync(maker, 0)).fields
        assert set(fields) == {1, 2}
        assert (await client.put(maker, 0)).status == 503


# Gone


def gone_event(low: int, high: int, source: str = "gateway") -> bytes:
    """The gateway's own reading that blocks are gone."""
    records: list[senml.Record] = [("event", None, "gone"), ("from", None, low), ("to", None, high)]
    return senml.build(source, records, bt_ms=1_750_000_000_000)


async def test_a_loss_counts_only_when_the_log_itself_tells_it(tmp_path: Path) -> None:
    maker = LogMaker().add(3)
    maker.append([(gone_event(1, 2), None)])
    maker.append([(gone_event(2, 3, "liar"), None)])
    gone = {height: zlib.compress(body.gone_body(height, "erased", 3)) for height in (0, 1, 2)}
    lie = zlib.compress(body.gone_body(2, "erased", 4))
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
        assert (await client.put(maker, 1, gone[1])).status == 409  # block 3 is not here yet
        await client.put(maker, 3)
        await client.put(maker, 4)
        for height in (0, 2):
            assert (await client.put(maker, height, gone[height])).status == 409
        assert (await client.put(maker, 2, lie)).status == 409
        assert (await client.put(maker, 1, gone[2])).status == 400
        assert (await client.put(maker, 1, gone[1])).status == 204
        assert (await client.sync(maker, 5)).fields[3] == [[0, 1], [2, 3]]
        await client.put(maker, 0)
        await client.put(maker, 2)
        fields = (await client.sync(maker, 5)).fields
        assert fields[4] == 5
        told = json.loads((await client.read(READER, maker.id, "stored")).data)
        assert told == {"from": 0, "size": 5, "gone": [1]}


async def test_a_loss_does_not_replace_what_is_held(tmp_path: Path) -> None:
    maker = LogMaker().add(2)
    maker.append([(gone_event(0, 2), None)])
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
        await client.put(maker, 2)
        await client.put(maker, 0, zlib.compress(maker.blocks[0].cut("s-0")))
        assert (await client.put(maker, 0, zlib.compress(body.gone_body(0, "erased", 2)))).status == 409


async def test_a_damaged_body_lowers_the_stored_size_with_an_alarm(
    tmp_path: Path, maker: LogMaker, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0, 2)
        await client.sync(maker, 2)
        for height in range(6):
            await client.put(maker, height)
        assert (await client.sync(maker, 6)).fields[4] == 6
        store = client.node.store
        await store._writer.execute("UPDATE body SET data = x'00' WHERE height = 3")  # type: ignore[attr-defined]
        with caplog.at_level(logging.CRITICAL):
            assert (await client.read(READER, maker.id, "blocks/3")).status == 404
        assert "the body of block 3 is damaged; the stored size is 2 now" in caplog.text
        fields = (await client.sync(maker, 6)).fields
        assert fields[3] == [[3, 4]]
        assert fields[4] == 2
    with caplog.at_level(logging.CRITICAL):
        caplog.clear()
        async with running(tmp_path, {"a": enrolled(maker)}) as client:
            assert "the stored size fell from 6 to 3" in caplog.text
            await client.put(maker, 3)
            assert (await client.sync(maker, 6)).fields[4] == 6


def body_time(maker: LogMaker, height: int, index: int) -> int:
    """The observation time of a reading that `LogMaker.add` made."""
    return senml.resolve(maker.blocks[height].items[index][0]).time_ms


def statuses(*replies: Reply) -> list[int]:
    """The statuses of several replies."""
    return [reply.status for reply in replies]


async def test_many_at_once_end_in_one_order(tmp_path: Path) -> None:
    maker = LogMaker().add(30)
    async with running(tmp_path, {"a": enrolled(maker)}) as client:

        async def push() -> None:
            old = 0
            while old < maker.size:
                reply = await client.sync(maker, old, min(old + 3, maker.size))
                assert reply.status in (200, 409)
                old = int(reply.data) if reply.status == 409 else reply.fields[2]

        await asyncio.gather(*(push() for _ in range(4)), push_bodies(client, maker))
        fields = (await client.sync(maker, 30)).fields
        assert (fields[2], fields.get(3), fields[4]) == (30, None, 30)


async def push_bodies(client: Client, maker: LogMaker) -> None:
    """Uploads every body as soon as it is taken."""
    for height in range(maker.size):
        while (await client.put(maker, height)).status != 204:
            await asyncio.sleep(0.01)


async def test_an_enrolled_log_keeps_its_key_and_start(tmp_path: Path, maker: LogMaker) -> None:
    other = LogMaker(maker.origin)
    other.signer = signer(maker.origin, seed=bytes(32))
    async with running(tmp_path, {"a": enrolled(maker)}):
        pass
    for table in (enrolled(other), enrolled(maker, stored_from=1)):
        with pytest.raises(Exception, match="is enrolled with the key"):
            async with running(tmp_path, {"a": table}):
                pass
