"""A log's part of a node's anchor: kept when it proves what it says, refused with the reason and counted when not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from aiohttp import web
from fakes import evm_blocks, status_sample
from fakes.bad_node import BadNode
from fakes.collector import until
from fakes.filled_store import make_store, publish
from fakes.log_maker import START_MS, LogMaker

from gateway.clock import SystemClock
from gateway.core import cbor, limits
from gateway.core.anchor import Anchored, Statement, parse_pins
from gateway.core.anchor_fleet import Fleet, Tree
from gateway.core.anchor_row import ANCHORED, AnchorRow
from gateway.core.policy import make_policy
from gateway.errors import FormatError
from gateway.settings import NodeLink
from gateway.store import Store
from gateway.store.receipts import build_receipt
from gateway.upstream import Upstream, fleet
from gateway.verify import verify_receipt

CLOCK = SystemClock()
NODE, NUMBER, SIZE = "node.example", 1_795_000_000, 3


class Soon:
    """Jitter that hardly waits."""

    def random(self) -> float:
        return 0.02


@pytest.fixture
def log() -> LogMaker:
    return LogMaker().add(5, readings=2)


@pytest.fixture
async def store(tmp_path: Path, log: LogMaker) -> AsyncIterator[Store]:
    store = await make_store(tmp_path / "gateway", log)
    yield store
    await store.close()


def own(log: LogMaker, size: int = SIZE) -> Statement:
    return Statement.of(log.origin, size, log.root(size))


def told(of: Statement, *, in_place_of: Statement | None = None, chain: Statement | None = None) -> Fleet:
    """The fleet of a statement and seven others; in_place_of: whose leaf it takes the way of."""
    others = [Statement.of(f"barn-{n}.example/1", n, sha256(b"%d" % n).digest()) for n in range(1, 8)]
    tree = Tree([in_place_of or of, *others])
    index = tree.index((in_place_of or of).log)
    assert index is not None
    on_chain = chain or tree.statement(NODE, NUMBER)
    return tree.fleet(NODE, NUMBER, index, "evm", evm_blocks.evidence(on_chain))


def part(of: Statement, given: Fleet) -> cbor.Value:
    return [of.size, of.root, given.encode()]


async def refused(store: Store, what: cbor.Value) -> str:
    with pytest.raises(FormatError) as caught:
        await fleet.take(store, "coop", what, 0)
    assert await store.anchors.listed(9) == []
    return caught.value.what


async def test_what_is_of_this_log_is_kept_once(store: Store, log: LogMaker) -> None:
    good = part(own(log), told(own(log)))
    row = await fleet.take(store, "coop", good, 5)
    assert row is not None
    assert (row.name, row.kind, row.chain, row.size, row.number) == (
        "by node coop, 9090",
        "fleet",
        "evm 9090",
        3,
        1_000,
    )
    assert await store.anchors.covering(SIZE - 1) == [row]
    assert await store.anchors.covering(SIZE) == []
    assert await fleet.take(store, "coop", good, 6) is None
    assert await fleet.take(store, "coop", part(own(log, 2), told(own(log, 2))), 7) is None
    later = await fleet.take(store, "coop", part(own(log, 5), told(own(log, 5))), 8)
    assert later is not None and later.size == 5


async def test_a_node_cannot_fill_the_store_or_displace_what_is_the_gateways_own(store: Store, log: LogMaker) -> None:
    """A kind that believes whatever it is told is as bad as one whose chain anybody can make."""
    mine = own(log)

    def check(_: Statement, evidence: cbor.Value, __: object) -> Anchored:
        return Anchored("any", str(evidence), 1, bytes(32), 1, "")

    own_row = AnchorRow("spartan", SIZE, mine.root, "evm", "9090", 0, ANCHORED, over=True, evidence=b"", time_s=9)
    await store.anchors.save(own_row)
    for chain in range(limits.FLEET_CHAINS):
        given = replace(told(mine), kind="any", evidence=f"chain-{chain}")
        assert await fleet.take(store, "coop", part(mine, given), 0, {"any": check})
    with pytest.raises(FormatError, match="a further chain"):
        await fleet.take(store, "coop", part(mine, replace(told(mine), kind="any", evidence="more")), 0, {"any": check})
    assert await fleet.take(store, "quay", part(mine, replace(told(mine), kind="any", evidence="x")), 0, {"any": check})
    first, *others = await store.anchors.covering(0)
    assert first == own_row
    assert len(others) == limits.FLEET_CHAINS + 1
    assert len(await store.anchors.newest_of(fleet.prefix("coop"))) == limits.FLEET_CHAINS


async def test_lies_are_refused_with_the_reason(store: Store, log: LogMaker) -> None:
    mine, foreign = own(log), Statement.of("barn.example/1", SIZE, log.root(SIZE))
    good = told(mine)
    wrong_root = mine._replace(root=bytes(32))
    assert "this log has 5" in await refused(store, part(mine._replace(size=6), good))
    assert "this log has 5" in await refused(store, part(mine._replace(size=0), good))
    assert "another log" in await refused(store, part(own(log, 2)._replace(root=mine.root), good))
    assert "another log" in await refused(store, part(wrong_root, told(wrong_root)))
    assert await refused(store, part(mine, told(foreign)))
    assert await refused(store, part(mine, told(mine, in_place_of=foreign)))
    assert await refused(store, part(mine, told(mine, chain=mine)))
    assert await refused(store, part(mine, replace(good, path=good.path[::-1])))
    assert await refused(store, part(mine, replace(good, path=good.path[1:])))
    assert await refused(store, part(mine, replace(good, count=9)))
    assert await refused(store, part(mine, replace(good, number=NUMBER + 1)))
    assert await refused(store, part(mine, replace(good, node="else.example")))
    assert "not known here" in await refused(store, part(mine, replace(good, kind="unheard")))
    assert "more than receipts carry" in await refused(store, part(mine, replace(good, evidence=bytes(60_000))))
    for other in (None, 7, [], [SIZE, mine.root], [True, mine.root, []], [SIZE, b"short", []], [SIZE, mine.root, 0]):
        assert await refused(store, other)  # type: ignore[arg-type]


async def test_no_byte_of_it_can_be_changed(store: Store, log: LogMaker) -> None:
    """One bit of each byte of the fleet's own part, through the decoder that an answer takes."""
    data = cbor.encode([part(own(log), told(own(log)))])  # type: ignore[arg-type]
    end = data.index(b"cevm")
    for at in range(end):
        changed = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
        try:
            (one,) = fleet.decode_parts(changed)
        except (FormatError, ValueError):
            continue
        await refused(store, one)


# -- the client -------------------------------------------------------------------------------------------------------


class Telling:
    """A node that has anchors: `numbers` in each answer, and what `parts` gives behind them."""

    def __init__(self, log: LogMaker, parts: Callable[[], web.Response]) -> None:
        self.node, self.parts, self.numbers, self.asked = BadNode(log, misbehave=self._answer), parts, [NUMBER], 0

    async def _answer(self, node: BadNode, request: web.Request, body: bytes) -> web.StreamResponse:
        if request.path.endswith("/fleet"):
            self.asked += 1
            return self.parts()
        response = node.honest(request, body)
        if not request.path.endswith("/sync") or response.status != 200:
            return response
        assert isinstance(response.body, bytes)
        fields = cbor.decode(response.body)
        assert isinstance(fields, dict)
        return cbor_of({**fields, 6: self.numbers})


@contextlib.asynccontextmanager
async def following(
    log: LogMaker, store: Store, parts: Callable[[], web.Response]
) -> AsyncIterator[tuple[Telling, Upstream]]:
    telling = Telling(log, parts)
    async with telling.node as node:
        link = NodeLink(url=node.url, seen_key=str(node.seen.vkey), stored_key=str(node.stored.vkey))
        up = Upstream("coop", link, store.vkey, store, CLOCK, Soon(), on_fork=lambda _: None)
        task = asyncio.create_task(up.run())
        try:
            yield telling, up
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def cbor_of(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=cbor.encode(value), content_type="application/cbor")  # type: ignore[arg-type]


async def test_a_receipt_carries_the_nodes_anchor_and_verifies_with_a_pin(store: Store, log: LogMaker) -> None:
    given = told(own(log))
    async with following(log, store, lambda: cbor_of([part(own(log), given)])) as (telling, up):
        await until(lambda: up.status()["stored"] == 5 and telling.asked == 1)
        await publish(store, log.add())
        await until(lambda: up.status()["seen"] == 6)
        assert telling.asked == 1  # the numbers are the same
        telling.numbers = [NUMBER, NUMBER + 9]
        await publish(store, log.add())
        await until(lambda: telling.asked == 2)
        await until(lambda: up.status()["ok"])
        assert up.status()["anchors_refused"] == 0
        (shown,) = up.anchors().values()
        assert (shown["state"], shown["anchored"], shown["anchored_block"]) == ("claimed", 0, None)
        assert shown["size"] == SIZE
        assert shown.keys() == status_sample.anchor().keys()
        policy = make_policy([store.vkey], [telling.node.seen.vkey])
    pins = parse_pins(evm_blocks.pin(evm_blocks.headers(given.statement(own(log)))[0]).encode())
    receipt = (await build_receipt(store, "s-0", START_MS)).encode()
    ((anchor, found),) = (await asyncio.to_thread(verify_receipt, receipt, policy, pins)).anchors
    assert found is not None
    assert (anchor.size, found.node, found.logs, found.by) == (SIZE, NODE, 8, "the pinned block 1000")


async def test_lies_are_counted_and_stop_nothing(store: Store, log: LogMaker) -> None:
    good = [part(own(log), told(own(log)))]
    lies = iter([[part(own(log), told(own(log, 2)))], [7, part(own(log)._replace(size=99), told(own(log)))], 5])
    async with following(log, store, lambda: cbor_of(next(lies, good))) as (telling, up):
        for count, number in ((1, NUMBER), (3, NUMBER + 1), (4, NUMBER + 2)):
            telling.numbers = [number]
            await publish(store, log.add())
            await until(lambda count=count: up.status()["anchors_refused"] == count)  # type: ignore[misc]
            size = store.blocks.size
            await until(lambda size=size: up.status()["seen"] == size and up.status()["ok"])  # type: ignore[misc]
            assert f"refused ({count} so far)" in up.status()["detail"]
            assert (up.status()["condition"], up.status()["cure"]) == ("node-anchor", "Ask the node's operator")
            assert up.status()["values"]["detail"] in up.status()["detail"]
        assert await store.anchors.listed(9) == []
        telling.numbers = [NUMBER + 3]
        await publish(store, log.add())
        await until(lambda: not up.status()["condition"] and bool(up.anchors()))


async def test_a_node_that_cannot_give_them_is_asked_again(store: Store, log: LogMaker) -> None:
    answers = iter([cbor_of([], 503), cbor_of([part(own(log), told(own(log)))])])
    async with following(log, store, lambda: next(answers)) as (telling, up):
        await until(lambda: telling.asked == 1)
        await publish(store, log.add())
        await until(lambda: telling.asked == 2)
        async with asyncio.timeout(20):
            while not await store.anchors.listed(9):
                await asyncio.sleep(0.01)
        assert up.status()["ok"]
    (row,) = await store.anchors.listed(9)
    assert row.size == SIZE
