"""The kind `evm` against a real chain (anvil), a server that lies in front of it, and eth-account's signatures."""

import asyncio
import json
import random
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fakes import anvil, lying_rpc
from fakes.anvil import ADDRESS, CHAIN_ID, KEY, Anvil
from fakes.lying_rpc import Lie, LyingServer

from gateway.anchors.api import Chain, GoneError, LieError, RefusedError, ShutError, Submission
from gateway.anchors.evm import blocks, transactions
from gateway.anchors.evm import chain as evm
from gateway.anchors.evm.options import EvmOptions
from gateway.anchors.evm.transactions import Account, Price, Transaction
from gateway.anchors.http import Server
from gateway.core import anchor_evm, limits, rlp, trie
from gateway.core.anchor import Statement
from gateway.core.keccak import keccak256
from gateway.errors import FieldgateError, UnreachableError

STATEMENT = Statement.of("quay.example/1", 7, bytes(range(32)))
API_KEY = "a-key-of-the-server"


# -- signatures -------------------------------------------------------------------------------------------------------


def oracle(key: str, asked: list[dict[str, Any]]) -> dict[str, Any]:
    """What eth-account makes of these transactions."""
    script, given = Path(__file__).with_name("eth_oracle.py"), json.dumps({"key": key, "transactions": asked})
    command = [sys.executable, str(script)]
    ran = subprocess.run(command, input=given, capture_output=True, text=True, check=True, timeout=60)
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def test_transactions_are_eth_accounts_to_the_byte() -> None:
    rng, key = random.Random(9090), secrets.token_hex(32)
    account, mine, asked = Account(key), list[Transaction](), list[dict[str, Any]]()
    for number in range(40):
        price = Price(
            rng.choice([0, 1, rng.getrandbits(64)]), rng.choice([0, rng.getrandbits(64)]) if number % 2 else None
        )
        chain, nonce = rng.choice([1, 9090, rng.getrandbits(40) + 1]), rng.choice([0, 127, 128, rng.getrandbits(60)])
        to, data, gas = (
            rng.randbytes(20),
            rng.randbytes(rng.choice([0, 1, 55, 56, 76, 300])),
            rng.randint(21_000, 2**32),
        )
        mine.append(Transaction(chain, nonce, price, gas, to, data))
        prices = {"gasPrice": price.most} if price.tip is None else of_type_2(price)
        told = {"chainId": chain, "nonce": nonce, "gas": gas, "to": "0x" + to.hex(), "data": "0x" + data.hex()}
        asked.append({**told, **prices})
    found = oracle(key, asked)
    assert found["address"].lower() == "0x" + account.address.hex()
    for one, (raw, hashed, sender) in zip(mine, found["signed"], strict=True):
        signed = account.sign(one)
        assert signed.hex() == raw.removeprefix("0x")
        assert keccak256(signed).hex() == hashed.removeprefix("0x")
        assert sender == found["address"]
        assert transactions.read(signed) == (one.nonce, one.price.most)
        assert anchor_evm.transaction_data(signed, one.chain) == one.data


def of_type_2(price: Price) -> dict[str, Any]:
    return {"type": 2, "maxFeePerGas": price.most, "maxPriorityFeePerGas": price.tip}


def test_an_account_is_its_keys() -> None:
    assert "0x" + Account(KEY).address.hex() == ADDRESS
    assert "0x" + Account("0x" + KEY.upper()).address.hex() == ADDRESS


@pytest.mark.parametrize("key", ["", "0x", "zz" * 32, "00" * 32, "ff" * 32, KEY[:-1], KEY + "00", "a key that is none"])
def test_what_is_no_key_is_told_without_it(key: str) -> None:
    with pytest.raises(RefusedError) as caught:
        Account(key)
    assert "mode 0600" in caught.value.cure
    assert not key.strip("0x") or key not in str(caught.value)


def test_a_missing_package_is_told_with_the_line_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coincurve", None)
    with pytest.raises(RefusedError) as caught:
        Account(KEY)
    assert "coincurve" in caught.value.what
    assert "pip install 'coincurve<22'" in caught.value.cure


# -- the chain --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Anvil]:
    async with anvil.running(tmp_path) as running:
        yield running


def opened(url: str, key: str = KEY, **options: Any) -> AbstractAsyncContextManager[Chain]:
    made = EvmOptions(url=url, chain_id=CHAIN_ID, key="file:/none", api_key="file:/other", **options)
    return evm.KIND.opened(made, {"file:/none": key, "file:/other": API_KEY})


@asynccontextmanager
async def through_a_liar(node: Anvil, **options: Any) -> AsyncIterator[tuple[LyingServer, Chain]]:
    async with lying_rpc.lying(node.url) as server, opened(server.url, **options) as chain:
        yield server, chain


async def submitted(chain: Chain, statement: Statement = STATEMENT) -> Submission:
    submission = Submission(statement, await chain.make(statement, None))
    return submission.with_ticket(await chain.send(submission))


def on(method: str, change: Callable[[Any], Any]) -> Lie:
    """A lie about one question."""
    return lambda asked, _, result: change(result) if asked == method and result is not None else result


def of_block(**fields: Any) -> Lie:
    return on("eth_getBlockByNumber", lambda block: {**block, **fields})


def swapped(block: dict[str, Any]) -> dict[str, Any]:
    return {**block, "transactions": block["transactions"][::-1]}


OTHER = "0x" + "11" * 32
LIES: dict[str, tuple[Lie, str]] = {
    "another chain": (on("eth_chainId", lambda _: "0x1"), "it serves chain 1, not chain 9090"),
    "a falling height": (on("eth_blockNumber", lambda _: "0x1"), "the chain's height fell from"),
    "a block's hash": (of_block(hash=OTHER), "has another hash than its header"),
    "a header's field": (of_block(stateRoot=OTHER), "has another hash than its header"),
    "a header's time": (of_block(timestamp="0x0"), "has another hash than its header"),
    "a receipt's block": (
        on("eth_getTransactionReceipt", lambda told: {**told, "blockHash": OTHER}),
        "is another than the one in which it says the transaction stands",
    ),
    "another receipt": (
        on("eth_getTransactionReceipt", lambda told: {**told, "transactionHash": OTHER}),
        "the receipt is of another transaction",
    ),
    "another place": (
        on(
            "eth_getTransactionReceipt",
            lambda told: {**told, "transactionIndex": hex(1 - int(told["transactionIndex"], 16))},
        ),
        "does not hold the transaction where it says",
    ),
    "another block": (
        on("eth_getTransactionReceipt", lambda told: {**told, "blockNumber": "0x1"}),
        "is another than the one in which it says the transaction stands",
    ),
    "the order in a block": (on("eth_getBlockByNumber", swapped), "are not those of its header"),
    "an empty block": (
        on("eth_getBlockByNumber", lambda block: {**block, "transactions": []}),
        "are not those of its header",
    ),
    "nonsense for a header": (of_block(parentHash="0x12"), "its parentHash is not what it should be"),
    "nonsense for a number": (on("eth_blockNumber", lambda _: "many"), "its height is no number"),
    "nonsense for a block": (on("eth_getBlockByNumber", lambda _: [1, 2]), "its block is none"),
    "no JSON": (on("eth_blockNumber", lambda _: web.Response(text="{hello")), "its answer is no JSON"),
    "another question": (
        on("eth_blockNumber", lambda _: web.Response(text='{"id": 0, "result": "0x7"}')),
        "its answer is to another question",
    ),
    "a block of another number": (
        lambda asked, params, result: FIRST[0] if asked == "eth_getBlockByNumber" and params[1] is False else result,
        "it answers with block 1 where block",
    ),
}
FIRST: list[Any] = [None]  # block 1 as the chain has it


async def refusal(chain: Chain, submission: Submission) -> str:
    try:
        await chain.look(submission)
    except LieError as error:
        return error.what
    return "none"


async def test_every_lie_is_refused_with_its_reason_and_the_truth_is_taken_after_it(node: Anvil) -> None:
    async with through_a_liar(node) as (server, chain):
        await node.mine(2)
        FIRST[0] = await node.rpc("eth_getBlockByNumber", "0x1", False)
        await node.rpc("eth_sendTransaction", {"from": ADDRESS, "to": ADDRESS, "gasPrice": hex(2 * 10**9)})
        await node.mine()
        await node.rpc("eth_sendTransaction", transfer(1))
        submission = await submitted(chain)
        await node.mine()
        assert (await chain.look(submission)).place is not None
        await node.mine()
        for kind, (lie, words) in LIES.items():
            async with opened(server.url) as fresh:
                asked = chain if kind == "a falling height" else fresh
                server.lie = lie
                assert words in await refusal(asked, submission), kind
                server.lie = lying_rpc.honest
                sight = await asked.look(submission)
                assert sight.place is not None
                await asked.prove(submission, sight.place, 2)


async def test_a_height_alone_is_not_held_against_what_comes_after_it(node: Anvil) -> None:
    async with through_a_liar(node) as (server, chain):
        submission = await submitted(chain)
        server.lie = on("eth_blockNumber", lambda _: hex(2**200))
        assert (await chain.look(submission)).place is None
        server.lie = lying_rpc.honest
        await node.mine()
        assert (await chain.look(submission)).place is not None


async def test_a_block_without_the_receipts_of_its_transactions(node: Anvil) -> None:
    """The whole block is the server's own work: header, hash and an empty tree of receipts fit together."""
    contract = await node.deploy(anvil.CREATION)
    async with through_a_liar(node, contract=contract) as (server, chain):
        submission = await submitted(chain)
        await node.mine()
        fields = rlp.decode(blocks.header(await node.rpc("eth_getBlockByNumber", "latest", False)).raw)
        fields[5] = trie.EMPTY_ROOT
        forged = "0x" + keccak256(rlp.encode(fields)).hex()
        changes: dict[str, Callable[[Any], Any]] = {
            "eth_getBlockByNumber": lambda told: {
                **told,
                "receiptsRoot": "0x" + trie.EMPTY_ROOT.hex(),
                "hash": forged,
            },
            "eth_getTransactionReceipt": lambda told: {**told, "blockHash": forged},
            "eth_getBlockReceipts": lambda _: [],
        }
        server.lie = lambda asked, _, result: changes.get(asked, lambda told: told)(result)
        with pytest.raises(LieError, match="has 0 receipts for 1 transactions"):
            await chain.look(submission)


def test_a_header_longer_than_any_receipt_is_not_kept() -> None:
    """A look keeps EVM_HEADERS of them."""
    told = {name: "0x0" if length is None else "0x" + "00" * length for name, length in blocks._HEADER}
    with pytest.raises(LieError, match="the header of a block has"):
        blocks.header({**told, "extraData": "0x" + "00" * limits.ANCHOR_EVIDENCE_BYTES})
    with pytest.raises(LieError, match="hash"):
        blocks.header({**told, "extraData": "0x"})


def transfer(account: int) -> dict[str, str]:
    """A transaction of another of anvil's accounts, so that a block holds two."""
    addresses = ["", "0x70997970c51812dc3a010c7d01b50e0d17dc79c8"]
    return {"from": addresses[account], "to": ADDRESS, "gasPrice": hex(9 * 10**9), "value": "0x1"}


async def test_another_hash_for_what_was_sent(node: Anvil) -> None:
    async with through_a_liar(node) as (server, chain):
        server.lie = on("eth_sendRawTransaction", lambda _: OTHER)
        with pytest.raises(LieError, match="another hash than its own"):
            await submitted(chain)


async def test_a_place_that_is_gone_is_not_proved(node: Anvil) -> None:
    async with opened(node.url) as chain:
        submission = await submitted(chain)
        await node.mine(3)
        place = (await chain.look(submission)).place
        assert place is not None
        with pytest.raises(LieError, match="not so deep"):
            await chain.prove(submission, place, 4)
        await node.reorganise(3)
        with pytest.raises(LieError, match="is not the chain's any more"):
            await chain.prove(submission, place, 3)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (web.Response(status=401), RefusedError, "does not let this gateway in"),
        (web.Response(status=403), RefusedError, "does not let this gateway in"),
        (web.Response(status=429), UnreachableError, "has had enough requests"),
        (web.Response(status=502, text="<html>"), UnreachableError, "it answers with status 502"),
        (web.Response(status=500, text=f"no key {API_KEY}"), UnreachableError, "with status 500: no key ..."),
        (lying_rpc.error(-32601, f"no key {API_KEY}"), UnreachableError, "refuses eth_chainId: no key ..."),
        (lying_rpc.error(-32098, "Reaches the request limit"), UnreachableError, "Reaches the request limit"),
        (lying_rpc.error(-32601, "no such method\x1b[2J"), UnreachableError, "its server refuses eth_chainId"),
    ],
)
async def test_a_server_that_does_not_answer_as_it_should(
    node: Anvil, answer: web.Response, error: type[FieldgateError], words: str
) -> None:
    async with through_a_liar(node) as (server, chain):
        server.lie = lambda *_: web.Response(status=answer.status, body=answer.body)
        with pytest.raises(error) as caught:
            await chain.make(STATEMENT, None)
        assert words in caught.value.what
        assert "\x1b" not in str(caught.value)
        assert API_KEY not in str(caught.value)
        assert server.heads["x-api-key"] == API_KEY


def test_a_server_that_repeats_what_it_was_sent_tells_no_secret() -> None:
    server = Server("https://chain.example/v3/0123456789abcdef?key=fedcba98", headers={"x-api-key": API_KEY})
    assert server.told(f"POST /v3/0123456789abcdef?key=fedcba98 by {API_KEY}\n", 40) == "POST /v3/...?key=... by ...\\n"


async def test_an_answer_without_an_end_is_cut(node: Anvil, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.core.limits.EVM_ANSWER_BYTES", 1_000)
    async with through_a_liar(node) as (server, chain):
        server.lie = lambda *_: "0x" + "00" * 600
        with pytest.raises(LieError, match="longer than 1000 bytes"):
            await chain.make(STATEMENT, None)


# -- what the chain does not take -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words", "cure"),
    [
        ({"max_price_gwei": 0.000001}, "more than max_price_gwei allows", "Raise max_price_gwei"),
        ({"max_gas": 21_000}, "more than max_gas allows", "Raise max_gas"),
        ({"transaction": "eip1559"}, "takes no transaction of type 2", 'Write transaction = "legacy"'),
        ({"key": "11" * 32}, "has 0 wei", "filled up"),
        ({"ca_file": "/none"}, "cannot be read", "correct ca_file"),
    ],
)
async def test_nothing_is_made_that_cannot_be_paid_or_taken(
    node: Anvil, options: dict[str, Any], words: str, cure: str
) -> None:
    with pytest.raises(RefusedError) as caught:
        async with opened(node.url, **options) as chain:
            await chain.make(STATEMENT, None)
    assert words in caught.value.what
    assert cure in caught.value.cure


async def test_what_the_pool_refuses_is_told_with_a_cure(node: Anvil) -> None:
    async with through_a_liar(node) as (server, chain):
        for text, cure in (
            ("insufficient funds for gas * price + value", "filled up"),
            ("transaction underpriced", "Raise max_price_gwei"),
            ("only on Sundays", "Ask the chain's operator"),
        ):
            server.lie = refusing(text, server)
            with pytest.raises(RefusedError) as caught:
                await submitted(chain)
            assert text in caught.value.what
            assert cure in caught.value.cure


async def test_what_stands_there_is_not_refused_in_words_that_nobody_knows(node: Anvil) -> None:
    """The answer to the first was lost; nothing that a server says of the second makes it unsent."""
    async with through_a_liar(node) as (server, chain):
        submission = await submitted(chain)
        for text in ("AlreadyKnown", "OldNonce, Current nonce: 1, nonce of rejected tx: 0"):
            server.lie = refusing(text, server)
            assert await chain.send(submission) == submission.ticket
        server.lie = refusing("in the words of a server to come", server)
        with pytest.raises(RefusedError, match="in the words of"):
            await chain.send(submission)
        await node.mine()
        assert await chain.send(submission) == submission.ticket
        assert (await chain.look(submission)).place is not None


async def test_a_refusal_keeps_its_words_where_nobody_can_look(node: Anvil) -> None:
    async with through_a_liar(node) as (server, chain):
        submission = await submitted(chain)

        def lie(method: str, params: list[Any], result: Any) -> Any:
            if method == "eth_getTransactionReceipt":
                return lying_rpc.error(-32000, "transaction indexing is in progress", len(server.asked))
            return refusing("insufficient funds", server)(method, params, result)

        server.lie = lie
        with pytest.raises(ShutError, match="insufficient funds") as caught:
            await chain.send(submission)
        assert "filled up" in caught.value.cure


async def test_whoever_is_not_let_in_has_not_looked(node: Anvil) -> None:
    async with through_a_liar(node) as (server, chain):
        submission = await submitted(chain)
        server.lie = lambda method, params, result: web.Response(status=403)
        for call in (chain.send(submission), chain.look(submission)):
            with pytest.raises(ShutError, match="does not let this gateway in"):
                await call


@pytest.mark.parametrize("now", [True, False])
async def test_a_contract_that_is_configured_later_or_no_more_harms_nothing_on_its_way(node: Anvil, now: bool) -> None:
    contract = await node.deploy(anvil.CREATION)
    with_it, without = opened(node.url, contract=contract), opened(node.url)
    async with with_it as calling, without as plain:
        before, after = (plain, calling) if now else (calling, plain)
        submission = await submitted(before)
        await node.mine(3)
        place = (await after.look(submission)).place
        assert place is not None
        evidence = await after.prove(submission, place, 3)
        assert anchor_evm.check(STATEMENT, evidence, ()).number == place.number


def refusing(text: str, server: LyingServer) -> Lie:
    def lie(method: str, _: list[Any], result: Any) -> Any:
        if method != "eth_sendRawTransaction":
            return result
        return lying_rpc.error(-32000, text, len(server.asked))

    return lie


async def test_a_contract_refuses_a_size_that_does_not_rise(node: Anvil) -> None:
    contract = await node.deploy(anvil.CREATION)
    lower = STATEMENT._replace(size=STATEMENT.size - 1)
    async with opened(node.url, contract=contract) as chain:
        early = Submission(lower, await chain.make(lower, None))
        await submitted(chain)
        await node.mine()
        with pytest.raises(RefusedError) as caught:
            await chain.make(lower, None)
        assert "size does not rise" in caught.value.what
        assert "it takes only sizes that rise" in caught.value.cure
        with pytest.raises(GoneError, match="has taken its nonce"):
            await node.mine(20)
            await chain.look(early.with_ticket(await chain.send(early)))


async def test_what_a_contract_took_in_and_refused_is_gone(node: Anvil) -> None:
    """Both were made when either size would have risen; the chain decides, and the receipt's proof tells."""
    contract = await node.deploy(anvil.CREATION)
    account, lower = Account(KEY), STATEMENT._replace(size=STATEMENT.size - 1)
    async with opened(node.url, contract=contract) as chain:
        first = await submitted(chain)
        nonce = transactions.read(first.data).nonce + 1
        data, to = anchor_evm.call(lower), bytes.fromhex(contract[2:])
        raw = account.sign(Transaction(CHAIN_ID, nonce, Price(2 * 10**9, None), 100_000, to, data))
        second = Submission(lower, raw)
        await chain.send(second)
        await node.mine()
        assert (await chain.look(first)).place is not None
        with pytest.raises(GoneError, match="the contract refused the statement"):
            await chain.look(second)


async def test_a_nonce_that_another_took_is_gone_only_when_that_is_settled(node: Anvil) -> None:
    async with opened(node.url) as chain:
        submission = Submission(STATEMENT, await chain.make(STATEMENT, None))
        await node.rpc("eth_sendTransaction", {"from": ADDRESS, "to": ADDRESS, "gasPrice": hex(2 * 10**9)})
        await node.mine()
        await chain.send(submission)
        assert (await chain.look(submission)).place is None
        await node.mine(15)
        with pytest.raises(GoneError, match="has taken its nonce 0"):
            await chain.look(submission)


@pytest.mark.parametrize(("hardfork", "transaction"), [("istanbul", "legacy"), ("prague", "eip1559")])
async def test_what_was_given_up_is_replaced_and_only_one_of_the_two_comes(
    tmp_path: Path, hardfork: str, transaction: str
) -> None:
    async with anvil.running(tmp_path, hardfork=hardfork) as node, opened(node.url, transaction=transaction) as chain:
        former = await submitted(chain)
        later = STATEMENT._replace(size=STATEMENT.size + 1)
        second = Submission(later, await chain.make(later, former))
        assert transactions.read(second.data).nonce == transactions.read(former.data).nonce
        assert transactions.read(second.data).most > transactions.read(former.data).most
        await chain.send(second)
        await node.mine()
        assert (await chain.look(second)).place is not None
        assert (await chain.look(former)).place is None
        assert await node.data() == [later.encode()]


async def test_a_replacement_above_the_ceiling_is_not_made(node: Anvil) -> None:
    async with opened(node.url) as chain:
        former = await submitted(chain)
    most = transactions.read(former.data).most / 10**9
    async with opened(node.url, max_price_gwei=most) as chain:
        with pytest.raises(RefusedError, match="more than max_price_gwei allows"):
            await chain.make(STATEMENT._replace(size=99), former)


async def test_a_chain_that_goes_on_is_followed_with_few_questions(node: Anvil) -> None:
    async with through_a_liar(node) as (server, chain):
        submission = await submitted(chain)
        for blocks in (1, 1, 20, 20, 20, 20):
            await node.mine(blocks)
            sight = await chain.look(submission)
            assert sight.place is not None
        assert sight.height == sight.place.number + 63, "as far as evidence reaches"
        before = len(server.asked)
        await chain.look(submission)
        assert len(server.asked) - before <= 4


async def test_a_call_that_is_cancelled_leaves_nothing_behind(node: Anvil) -> None:
    async with through_a_liar(node) as (server, chain):
        submission = await submitted(chain)
        await node.mine(3)
        for waits in range(12):
            looking = asyncio.create_task(chain.look(submission))
            before = len(server.asked)
            while len(server.asked) < before + waits % 6 and not looking.done():
                await asyncio.sleep(0)
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        sight = await chain.look(submission)
        assert sight.place is not None
        await chain.prove(submission, sight.place, 3)
