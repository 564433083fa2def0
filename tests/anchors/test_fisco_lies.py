"""FISCO BCOS 2 and 3: a node that lies, a city node that refuses; each is told as what it is, nothing is believed."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from fakes.bsn_gateway import FiscoCityNode
from fakes.bsn_grounds import KEY, fisco_options, one_line, opened_fisco
from fakes.fisco_chain import FiscoChain, same

from gateway.anchors import fisco
from gateway.anchors.api import Chain, LieError, RefusedError, ShutError, Submission
from gateway.anchors.fisco import Node
from gateway.core import anchor_fisco, limits
from gateway.core.anchor import Statement, parse_pins
from gateway.core.anchor_fabric import written
from gateway.errors import UnreachableError

STATEMENT = Statement.of("quay.example/1", 7, bytes(range(32)))
CASES = {"2": (2, False), "2 sm": (2, True), "3": (3, False), "3 sm": (3, True)}


@pytest.fixture(params=["2", "3 sm", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("2 sm", "3"))])
async def node(request: pytest.FixtureRequest) -> AsyncIterator[FiscoCityNode]:
    made = FiscoCityNode(chain=FiscoChain(*CASES[request.param]))
    async with made.chain.serve(), made.serve():
        yield made


@pytest.fixture
async def chain(node: FiscoCityNode) -> AsyncIterator[Chain]:
    async with opened_fisco(node) as made:
        yield made


async def standing(node: FiscoCityNode, chain: Chain) -> Submission:
    """A statement in block 1 beside another transaction, and two blocks after it."""
    submission = Submission(STATEMENT, await chain.make(STATEMENT, None))
    node.chain.send(b"other")
    submission = submission.with_ticket(await chain.send(submission))
    node.chain.seal(3)
    return submission


def answering(method: str, change: Callable[[Any], Any]) -> Callable[[str, Any], Any]:
    """Changes what a method answers."""
    return lambda asked, answer: change(answer) if asked == method else answer


def header(change: Callable[[dict[str, Any]], object]) -> Callable[[str, Any], Any]:
    """Changes every header."""

    def spoil(method: str, answer: Any) -> Any:
        if "sealerList" in (answer if isinstance(answer, dict) else {}):
            change(answer)
        return answer

    return spoil


def transaction(change: Callable[[dict[str, Any]], object]) -> Callable[[str, Any], Any]:
    """Changes the transaction with its proof, of either version."""

    def spoil(method: str, answer: Any) -> Any:
        if isinstance(answer, dict) and ("txProof" in answer or "transactionProof" in answer):
            change(answer)
        return answer

    return spoil


def of(answer: dict[str, Any]) -> dict[str, Any]:
    return answer.get("transaction", answer)


def block(number: int) -> Callable[[str, Any], Any]:
    """Says that the transaction stands in another block."""

    def spoil(method: str, answer: Any) -> Any:
        if method == "getTransactionReceipt":
            answer["blockNumber"] = number
        elif method == "getTransactionByHashWithProof":
            answer["transaction"]["blockNumber"] = hex(number)
        return answer

    return spoil


def proof(answer: dict[str, Any]) -> str:
    return "txProof" if "txProof" in answer else "transactionProof"


NONE, MUCH = "0x" + "00" * 32, "0x" + "77" * 3_000_000
ROOTS = {"txsRoot": NONE, "transactionsRoot": NONE}
LIES: dict[str, tuple[Callable[[str, Any], Any], str]] = {
    "a height that falls": (answering("getBlockNumber", lambda a: type(a)("0x2" if a == "0x3" else 2)), "height fell"),
    "a height that is none": (answering("getBlockNumber", lambda _: {}), "not believed: a number"),
    "another hash": (header(lambda h: h.update(hash=NONE)), "not that which its hash is of"),
    "another root": (header(lambda h: h.update(ROOTS)), "its hash is of"),
    "another parent": (header(lambda h: h.update(parentHash=NONE, parentInfo=[])), "not believed|its hash is of"),
    "no hash": (header(lambda h: h.pop("hash")), "its hash is of"),
    "a header without a field": (header(lambda h: h.pop("sealer")), "not believed"),
    "too few seals": (header(lambda h: h["signatureList"].pop()), "2 of the 4 sealers signed"),
    "one seal for all": (header(lambda h: h.update(signatureList=h["signatureList"][:1] * 3)), "1 of the 4"),
    "seals of others": (
        header(lambda h: [one.update(signature="0x" + "11" * 65) for one in h["signatureList"]]),
        "0 of the 4",
    ),
    "seals that are none": (header(lambda h: h.update(signatureList=[7])), "not believed"),
    "another block": (block(2), "does not stand in the block"),
    "a block to come": (block(9), "in block 9, and the newest is 3"),
    "block 0": (block(0), "in block 0"),
    "other data": (transaction(lambda a: of(a).update(input="0x77")), "not those that its hash is of"),
    "another transaction": (transaction(lambda a: of(a).update(hash=NONE)), "not those that its hash is of"),
    "no proof": (transaction(lambda a: a.update({proof(a): []})), "does not stand in the block"),
    "a proof that is none": (transaction(lambda a: a.update({proof(a): 7})), "no list"),
    "a transaction as long as an answer": (
        transaction(lambda a: of(a).update(input=MUCH)),
        "the transaction has .* bytes, more than",
    ),
    "a header as long as an answer": (
        header(lambda h: h.update(extraData=[MUCH] if isinstance(h["extraData"], list) else MUCH)),
        "the header has .* bytes, more than",
    ),
    "no object": (header(lambda h: h.clear()), "not believed"),
}


async def test_lies(node: FiscoCityNode, chain: Chain) -> None:
    """All of them over one chain: what is refused leaves nothing behind."""
    submission = await standing(node, chain)
    place = (await chain.look(submission)).place
    assert place is not None
    for name, (lie, why) in LIES.items():
        node.chain.spoil = lie
        with pytest.raises(LieError) as caught:
            await chain.look(submission)
        assert re.search(why, str(caught.value)), (name, str(caught.value))
    node.chain.spoil = same
    assert (await chain.look(submission)).place == place
    evidence = await chain.prove(submission, place, 1)
    pins = f"fisco {'/'.join(node.chain.chain)} sealers {' '.join(node.chain.keys)}"
    assert anchor_fisco.check(STATEMENT, evidence, parse_pins(pins.encode())).by


async def test_another_history(node: FiscoCityNode, chain: Chain) -> None:
    submission = await standing(node, chain)
    await chain.look(submission)
    node.chain.seal(3)
    await chain.look(submission)
    node.chain.fork(2)
    node.chain.seal()
    with pytest.raises(LieError, match="another than it was"):
        await chain.look(submission)


async def test_what_stands_there_already_is_not_sent_again(node: FiscoCityNode, chain: Chain) -> None:
    submission = await standing(node, chain)
    sent = len(node.asked)
    assert await chain.send(submission) == submission.ticket
    assert "node/reqChainCode" not in node.asked[sent:]
    async with opened_fisco(node) as other:
        assert await other.send(submission) == submission.ticket


class FewBlocks:
    """A node that is so slow that a call's time is over after a few blocks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read, self.left = 0, 0
        whole = Node.transactions

        async def transactions(node: Node, number: int) -> list[Any]:
            if not self.left:
                raise TimeoutError
            self.left, self.read = self.left - 1, self.read + 1
            return await whole(node, number)

        monkeypatch.setattr(Node, "transactions", transactions)


async def test_a_search_in_slow_blocks_comes_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call has time for a few of them, and the chain grows faster than they are read."""
    node, slow = FiscoCityNode(chain=FiscoChain(2)), FewBlocks(monkeypatch)
    async with node.chain.serve(), node.serve(), opened_fisco(node) as chain:
        submission = Submission(STATEMENT, await chain.make(STATEMENT, None))
        node.chain.seal(30)
        sent = b""
        while not sent:
            assert slow.read <= limits.CHAIN_SEARCHED, "it reads the same blocks for ever"
            slow.left = 8
            try:
                sent = await chain.send(submission)
            except TimeoutError:
                node.chain.seal(12)
        slow.left = 1_000
        node.chain.seal()
        assert await chain.send(submission) == sent  # found in what was sealed since


def stands(node: FiscoCityNode) -> list[int]:
    """The blocks with the statement."""
    wanted, blocks = written(STATEMENT).hex(), enumerate(node.chain.blocks)
    return [number for number, block in blocks for one in block.transactions if wanted in one.told["input"]]


def answers_are_lost(node: FiscoCityNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the next calls, and nobody hears of it."""
    called = node._reqChainCode

    def lost(body: Any) -> Any:
        found = called(body)
        node.cut_after = 3
        return found

    monkeypatch.setattr(node, "_reqChainCode", lost)


@pytest.mark.parametrize("version", [2, 3])
async def test_what_was_sent_late_and_again_stands_there_once(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The city node was away for long at first, and each answer is lost, with many blocks before the next try."""
    node = FiscoCityNode(chain=FiscoChain(version))
    async with node.chain.serve(), node.serve(), opened_fisco(node) as chain:
        submission = Submission(STATEMENT, await chain.make(STATEMENT, None))
        node.chain.seal(2 * limits.CHAIN_SEARCHED)
        answers_are_lost(node, monkeypatch)
        with pytest.raises(UnreachableError):
            await chain.send(submission)
        node.cut_after = None
        for _ in range(3):
            node.chain.seal(limits.CHAIN_SEARCHED)
            await chain.send(submission)
        assert len(stands(node)) == 1


async def test_a_node_that_has_old_blocks_no_more_refuses_for_good_and_is_not_kept_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def archived(node: Node, number: int) -> list[Any]:
        raise RefusedError(f"block {number} is archived", cure="Ask another")

    node = FiscoCityNode(chain=FiscoChain(3))
    async with node.chain.serve(), node.serve(), opened_fisco(node) as chain:
        submission = Submission(STATEMENT, await chain.make(STATEMENT, None))
        node.chain.seal(5)
        monkeypatch.setattr(Node, "transactions", archived)
        with pytest.raises(RefusedError, match="is archived") as caught:
            await chain.send(submission)
        assert not isinstance(caught.value, ShutError)


async def test_a_search_that_is_gone_on_with_sees_what_came_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    node, slow = FiscoCityNode(chain=FiscoChain(3)), FewBlocks(monkeypatch)
    async with node.chain.serve(), node.serve(), opened_fisco(node) as chain:
        submission = Submission(STATEMENT, await chain.make(STATEMENT, None))
        node.chain.seal(5)
        slow.left = 1_000
        answers_are_lost(node, monkeypatch)
        with pytest.raises(UnreachableError):
            await chain.send(submission)
        node.cut_after, held, node.chain.pool = None, node.chain.pool, []  # version 3 does not show what waits
        node.chain.seal(5)
        slow.left = 2
        with pytest.raises(TimeoutError):
            await chain.send(submission)
        node.chain.pool = held
        node.chain.seal(3)
        slow.left = 1_000
        await chain.send(submission)
        node.chain.seal()
        assert len(stands(node)) == 1


async def test_a_refusal_is_told_however_slow_the_blocks_are() -> None:
    """What was looked through before the call is not looked through again after it."""
    node = FiscoCityNode(chain=FiscoChain(2))
    async with node.chain.serve(), node.serve(), opened_fisco(node, contract="another") as chain:
        submission = Submission(STATEMENT, await chain.make(STATEMENT, None))
        node.chain.seal(6)
        with pytest.raises(RefusedError, match="合约不存在"):
            await chain.send(submission)
        assert node.chain.asked.count("getBlockByNumber") == 6


async def test_a_chain_that_was_away_for_long_is_followed_from_here_on(
    chain: Chain, node: FiscoCityNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CHAIN_FOLLOWED", 4)
    submission = await standing(node, chain)
    node.chain.seal(limits.CHAIN_FOLLOWED + 1)
    node.chain.asked.clear()
    assert (await chain.look(submission)).place is not None
    assert len(node.chain.asked) < 6


async def test_refusals(node: FiscoCityNode, chain: Chain) -> None:
    submission = Submission(STATEMENT, await chain.make(STATEMENT, None))
    node.constant = True
    with pytest.raises(RefusedError, match="changes nothing"):
        await chain.send(submission)
    node.constant, node.chain.pool = False, []
    node.spoil = lambda call, answer: answer | {"txId": "0x77"} if call == "node/reqChainCode" else answer
    with pytest.raises(LieError, match="no transaction's hash"):
        await chain.send(submission)
    node.spoil, node.chain.pool = lambda _, answer: answer, []
    async with opened_fisco(node, contract="another") as other:
        data = await other.make(STATEMENT, None)
        with pytest.raises(RefusedError, match="合约不存在"):
            await other.send(Submission(STATEMENT, data))
    assert (await chain.look(submission.with_ticket(b"0x" + b"00" * 32))).place is None
    async with opened_fisco(node, group="7") as other:
        with pytest.raises(RefusedError, match="Method not found"):
            await other.make(STATEMENT, None)
    node.info["appType"] = "fabric"
    async with opened_fisco(node) as other:
        with pytest.raises(RefusedError, match="appType"):
            await other.send(submission)


async def test_what_cannot_be_opened() -> None:
    node = FiscoCityNode(url="http://127.0.0.1:1", chain=FiscoChain(url="http://127.0.0.1:1"))
    key = node.chain.keys[0]
    cases: list[tuple[dict[str, object], str]] = [
        ({"keys": "uploaded"}, "uploaded keys are not made here"),
        ({"chain": "chain0"}, "numbers in version 2"),
        ({"sealers": [key, key]}, "sealers: "),
        ({"algorithm": "p256"}, "access_key: "),
    ]
    for changes, why in cases:
        with pytest.raises(RefusedError, match=why):
            async with fisco.opened(fisco_options(node, **changes), {KEY: one_line(node.app)}):
                pass
    for field, value in (("sealers", []), ("sealers", ["04"]), ("version", 4), ("cryptography", "rsa"), ("group", "#")):
        with pytest.raises(msgspec.ValidationError):
            fisco_options(node, **{field: value})
    with pytest.raises(UnreachableError):
        async with opened_fisco(node) as chain:
            await chain.make(STATEMENT, None)
