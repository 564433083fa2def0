"""A city node's gateway that lies, refuses or is half there: each is told as what it is, and nothing is believed."""

import base64
import json
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fakes import keypairs
from fakes.bsn_gateway import APP, USER, CityNode
from fakes.bsn_grounds import KEY, fabric_options, one_line, opened
from fakes.fabric_ledger import PB, FabricLedger
from fakes.tls import Authority

from gateway.anchors import bsn as client
from gateway.anchors import fabric
from gateway.anchors.api import Chain, GoneError, LieError, RefusedError, Submission
from gateway.core import anchor_fabric, bsn, limits
from gateway.core.anchor import Statement
from gateway.errors import KeyFileError, UnreachableError
from gateway.keys import access

STATEMENT = Statement.of("quay.example/1", 7, bytes(range(32)))
OTHER = keypairs.derive(ec.SECP256R1(), "other")


@pytest.fixture
async def node() -> AsyncIterator[CityNode]:
    async with CityNode().serve() as served:
        yield served


@pytest.fixture
async def chain(node: CityNode) -> AsyncIterator[Chain]:
    async with opened(node) as made:
        yield made


async def standing(node: CityNode, chain: Chain) -> Submission:
    """A statement in block 1, and two blocks after it."""
    submission = Submission(STATEMENT, await chain.make(STATEMENT, None))
    submission = submission.with_ticket(await chain.send(submission))
    node.ledger.cut(3)
    return submission


def answering(call: str, change: Callable[[dict[str, Any]], object]) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """Changes one call's answers in place."""

    def spoil(asked: str, answer: dict[str, Any]) -> dict[str, Any]:
        if asked == call:
            change(answer)
        return answer

    return spoil


def rewritten(change: Callable[[Any], object]) -> Callable[[dict[str, Any]], None]:
    """A block's data with something changed, under a mac that fits."""

    def spoil(answer: dict[str, Any]) -> None:
        block = PB["Block"].FromString(base64.b64decode(answer["blockData"]))
        change(block)
        answer["blockData"] = base64.b64encode(block.SerializeToString()).decode()

    return spoil


def forged(node: CityNode) -> Callable[[dict[str, Any]], None]:
    """A whole other block 1 with the statement's transaction in it, which no orderer signed."""
    other = FabricLedger("channel1", orderer=OTHER)
    other.branch = b"forged"

    def spoil(answer: dict[str, Any]) -> None:
        other.pool = [
            (one[0], envelope, one[2])
            for one, envelope in zip(node.ledger.blocks[1].transactions, node.ledger.blocks[1].envelopes, strict=True)
        ]
        other.pool.append(("", other.other(), 0))
        del other.blocks[1:]
        other.blocks[0] = node.ledger.blocks[0]
        other.cut()
        answer["blockData"] = base64.b64encode(other.blocks[1].data).decode()
        answer["blockHash"] = other.blocks[1].hash.hex()

    return spoil


def put(**values: object) -> Callable[[dict[str, Any]], None]:
    return lambda answer: answer.update(values)


def signed(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[CityNode], None]:
    """Changes every answer after it was signed."""
    return lambda node: setattr(node, "spoil_signed", lambda _, answer: change(answer))


LEDGER = {"blockHash": "00" * 32, "height": 9, "preBlockHash": ""}
SPOILT_MACS: dict[str, tuple[Callable[[CityNode], None], str]] = {
    "of another key": (lambda node: setattr(node, "key", OTHER), "not the configured key's"),
    "none": (signed(lambda answer: answer | {"mac": ""}), "its mac is empty"),
    "missing": (signed(lambda answer: {"header": answer["header"], "body": answer["body"]}), "empty"),
    "no text": (signed(lambda answer: answer | {"mac": 7}), "empty"),
    "a high s": (lambda node: setattr(node, "high", True), "high s"),
    "no base64": (signed(lambda answer: answer | {"mac": "%"}), "base64"),
    "of other values": (signed(lambda answer: answer | {"body": LEDGER}), "not the configured key's"),
    "of another message": (signed(lambda answer: answer | {"header": {"code": 0, "msg": "好"}}), "not the configured"),
    "of a body left out": (signed(lambda answer: answer | {"body": None}), "not the configured key's"),
}


@pytest.mark.parametrize("name", SPOILT_MACS)
async def test_a_mac_that_does_not_fit(node: CityNode, chain: Chain, name: str) -> None:
    submission = await standing(node, chain)
    spoil, why = SPOILT_MACS[name]
    spoil(node)
    with pytest.raises(LieError, match=why):
        await chain.look(submission)


LIES: dict[str, tuple[str, Callable[[CityNode], Callable[[dict[str, Any]], object]], str]] = {
    "a height that falls": ("node/getLedgerInfo", lambda _: put(height=2), "height fell"),
    "no blocks at all": ("node/getLedgerInfo", lambda _: put(height=0), "height fell"),
    "another newest block": ("node/getLedgerInfo", lambda _: put(blockHash="00" * 32), "another than it was"),
    "a transaction of a block to come": ("node/getTransaction", lambda _: put(blockNumber=9), "the newest is 3"),
    "a transaction of block 0": ("node/getTransaction", lambda _: put(blockNumber=0), "the newest is 3"),
    "a transaction of a block below 0": ("node/getTransaction", lambda _: put(blockNumber=-1), "negative"),
    "a transaction of another block": ("node/getTransaction", lambda _: put(blockNumber=2), "another block 2"),
    "another hash": ("node/getTransaction", lambda _: put(blockHash="00" * 32), "another block 1"),
    "another block's data": (
        "node/getBlockData",
        lambda node: put(blockData=base64.b64encode(node.ledger.blocks[2].data).decode()),
        "that of another block",
    ),
    "a hash that is not that of the data": ("node/getBlockData", lambda _: put(blockHash="00" * 32), "another block"),
    "data that is none": ("node/getBlockData", lambda _: put(blockData="%%"), "no base64"),
    "half the data": (
        "node/getBlockData",
        lambda node: put(blockData=base64.b64encode(node.ledger.blocks[1].data[:200]).decode()),
        "not believed",
    ),
    "a transaction left out": (
        "node/getBlockData",
        lambda _: rewritten(lambda block: block.data.data.pop()),
        "not those that its header is of",
    ),
    "a block that says not valid": (
        "node/getBlockData",
        lambda _: rewritten(lambda block: block.metadata.metadata.__setitem__(2, b"\x0a")),
        "says that it is not valid",
    ),
    "a block without seals": (
        "node/getBlockData",
        lambda _: rewritten(lambda block: block.metadata.metadata.__setitem__(0, b"")),
        "no orderer of the configuration",
    ),
    "a whole forged block": ("node/getBlockData", forged, "that of another block"),
}


@pytest.mark.parametrize("name", LIES)
async def test_a_lie_under_its_own_mac(node: CityNode, chain: Chain, name: str) -> None:
    submission = await standing(node, chain)
    place = (await chain.look(submission)).place
    assert place is not None
    call, lie, why = LIES[name]
    node.spoil = answering(call, lie(node))
    with pytest.raises(LieError, match=why):
        await chain.look(submission)
    if call == "node/getBlockData" and "not valid" not in name:
        with pytest.raises(LieError, match=why):
            await chain.prove(submission, place, 1)
    node.spoil = answering("", put())
    assert (await chain.look(submission)).place == place


async def test_a_forged_block_of_a_new_life_is_refused_by_the_orderers_alone(node: CityNode, chain: Chain) -> None:
    """Nothing was followed yet, and each of its answers fits the others."""
    submission = await standing(node, chain)
    lie = forged(node)
    answer = {}
    lie(answer)
    said = {"node/getBlockData": answer, "node/getTransaction": {"blockHash": answer["blockHash"]}}
    node.spoil = lambda call, honest: honest | said.get(call, {})
    async with opened(node) as other:
        with pytest.raises(LieError, match="no orderer"):
            await other.look(submission)
    async with opened(node, orderers=[]) as trusting:
        place = (await trusting.look(submission)).place
        assert place is not None
        assert place.hash.hex() == answer["blockHash"]


async def test_a_transaction_of_somebody_else(node: CityNode, chain: Chain) -> None:
    """An old answer to another question, played again."""
    submission = await standing(node, chain)
    theirs = node.ledger.order(b"other", b"n" * 24, "cc", [b"set", b"else"])
    node.ledger.cut()
    with pytest.raises(LieError, match="does not hold the transaction"):
        await chain.look(submission.with_ticket(theirs.encode()))


async def test_headers_are_linked_one_after_the_other(node: CityNode, chain: Chain) -> None:
    submission = await standing(node, chain)
    await chain.look(submission)
    node.ledger.cut(4)
    for change, why in (
        (put(preBlockHash="00" * 32), "does not follow"),
        (put(blockNumber=9), "where 4 was asked for"),
        (put(blockHash=""), "where 4 was asked for"),
    ):
        node.spoil = answering("node/getBlockInfo", change)
        with pytest.raises(LieError, match=why):
            await chain.look(submission)
    node.spoil = answering("", put())
    assert (await chain.look(submission)).height == 7


async def test_a_gateway_that_was_away_for_long_is_followed_from_here_on(
    node: CityNode, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CHAIN_FOLLOWED", 8)
    submission = await standing(node, chain)
    await chain.look(submission)
    node.ledger.cut(limits.CHAIN_FOLLOWED + 1)
    node.asked.clear()
    assert (await chain.look(submission)).height == limits.CHAIN_FOLLOWED + 4
    assert "node/getBlockInfo" not in node.asked
    assert list(chain._hashes) == [limits.CHAIN_FOLLOWED + 4]
    node.ledger.cut(limits.CHAIN_FOLLOWED)
    await chain.look(submission)
    assert len(chain._hashes) == limits.CHAIN_FOLLOWED


APPLICATIONS = {
    "appType": "fiscobcos",
    "caType": 2,
    "algorithmType": 1,
    "channelId": "channel2",
}


@pytest.mark.parametrize("name", APPLICATIONS)
async def test_another_application_than_the_configuration_says(node: CityNode, chain: Chain, name: str) -> None:
    node.info[name] = APPLICATIONS[name]
    with pytest.raises(RefusedError, match=name):
        await chain.make(STATEMENT, None)


async def test_refusals(node: CityNode, chain: Chain) -> None:
    submission = Submission(STATEMENT, await chain.make(STATEMENT, None))
    node.app = OTHER
    with pytest.raises(RefusedError, match="签名验证失败"):
        await chain.send(submission)
    node.spoil_signed = lambda _, answer: answer | {"mac": ""}
    with pytest.raises(UnreachableError, match="not its own key's: 签名验证失败"):
        await client.Gateway.ask(chain._gateway, bsn.FABRIC_LEDGER)
    node.spoil_signed = lambda _, answer: answer | {"header": {"code": -1, "msg": "\x1b[31m" + "x" * 5_000}, "mac": ""}
    with pytest.raises(UnreachableError) as caught:
        await client.Gateway.ask(chain._gateway, bsn.FABRIC_LEDGER)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 700


async def test_a_refused_submission_is_looked_for(node: CityNode, chain: Chain) -> None:
    """The first answer was lost, the transaction is committed: the same bytes are refused, and found."""
    submission = Submission(STATEMENT, await chain.make(STATEMENT, None))
    ticket = await chain.send(submission)
    node.ledger.cut(2)
    for signed in (True, False):
        node.spoil_signed = lambda _, a, signed=signed: a if signed or a["header"]["code"] == 0 else a | {"mac": ""}
        assert await chain.send(submission) == ticket
    assert sum(flag == 9 for block in node.ledger.blocks for _, flag, _ in block.transactions) == 0


async def test_a_lost_answer_is_found_however_long_ago_it_was(
    node: CityNode, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first blocks since the request was made are looked through, and the newest."""
    monkeypatch.setattr(limits, "CHAIN_SEARCHED", 4)
    early = Submission(STATEMENT, await chain.make(STATEMENT, None))
    late_statement = STATEMENT._replace(size=8)
    late = Submission(late_statement, await chain.make(late_statement, None))
    lost = [await chain.send(early)]
    node.ledger.cut(20)
    lost.append(await chain.send(late))
    node.ledger.cut(2)
    node.asked.clear()
    assert [await chain.send(early), await chain.send(late)] == lost
    assert node.asked.count("node/getBlockData") <= 8


def test_which_blocks_are_looked_through() -> None:
    most = limits.CHAIN_SEARCHED
    assert client.searched(5, 4) == []
    assert client.searched(5, 5) == [5]
    assert client.searched(0, most - 1) == list(range(most))
    for newest in (most, 10 * most):
        found = client.searched(0, newest)
        assert len(found) == len(set(found)) == most
        assert (found[0], found[-1]) == (0, newest)


async def test_a_transaction_that_was_ordered_twice_is_found_where_it_is_valid(node: CityNode, chain: Chain) -> None:
    submission = Submission(STATEMENT, await chain.make(STATEMENT, None))
    ticket = await chain.send(submission)
    assert await chain.send(submission) == ticket
    node.ledger.cut()
    assert [flag for _, flag, _ in node.ledger.blocks[1].transactions] == [0, 9]
    node.spoil = answering("node/getTransaction", put(status=9))
    place = (await chain.look(submission.with_ticket(ticket))).place
    assert place is not None
    assert place.number == 1


async def test_what_the_peers_found(node: CityNode, chain: Chain) -> None:
    submission = await standing(node, chain)
    for status in (-1, 254):
        node.spoil = answering("node/getTransaction", put(status=status))
        assert (await chain.look(submission)).place is None
    for status, why in ((10, "endorsed"), (11, "same time"), (77, "invalid")):
        node.spoil = answering("node/getTransaction", put(status=status))
        with pytest.raises(GoneError, match=why):
            await chain.look(submission)
    node.spoil = answering("", put())
    assert (await chain.look(submission.with_ticket(b"00" * 32))).place is None


async def test_what_the_chaincode_answers(node: CityNode, chain: Chain) -> None:
    submission = Submission(STATEMENT, await chain.make(STATEMENT, None))
    node.chaincode_code = 500
    with pytest.raises(RefusedError, match="500"):
        await chain.send(submission)
    node.chaincode_code = 200
    node.spoil = answering("node/reqChainCode", put(blockInfo={"txId": "x", "blockHash": "", "status": 0}))
    with pytest.raises(LieError, match="no transaction's id"):
        await chain.send(submission)


BROKEN: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no JSON": ({"raw": b"<html>"}, LieError, "no JSON"),
    "nested for ever": ({"raw": b"[" * 100_000}, LieError, "no JSON"),
    "no header": ({"raw": b"{}"}, LieError, "no code"),
    "a list": ({"raw": b"[]"}, LieError, "no code"),
    "made of nothings": ({"raw": b"[%b{}]" % (b"{}," * limits.CHAIN_ANSWER_VALUES)}, LieError, "values"),
    "too long": ({"raw": b" " * (limits.CHAIN_ANSWER_BYTES + 1)}, LieError, "longer"),
    "an error page": ({"raw": b"bad \x1bgateway", "status": 502}, UnreachableError, r"status 502: bad \\x1bgateway"),
    "elsewhere": ({"status": 302}, UnreachableError, "status 302"),
    "half": ({"cut_after": 20}, UnreachableError, "before its answer was complete"),
    "nothing": ({"cut_after": 0}, UnreachableError, "before its answer was complete"),
    "slow": ({"slow_s": 5.0}, UnreachableError, "in time"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_an_answer_that_is_none(node: CityNode, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    changes, kind, why = BROKEN[name]
    if name == "slow":
        monkeypatch.setattr(limits, "CHAIN_REQUEST_S", 0.3)
    async with opened(node) as chain:
        for key, value in changes.items():
            setattr(node, key, value)
        with pytest.raises(kind, match=why):
            await chain.make(STATEMENT, None)
    if kind is LieError:
        return
    async with opened(node) as chain:
        with pytest.raises(UnreachableError):
            await chain.make(STATEMENT, None)


async def test_an_application_of_the_national_cryptography(node: CityNode) -> None:
    """Requests and answers with SM2 over the text's SM3, on both sides."""
    node.sm2 = True
    node.info["algorithmType"] = 1
    options = fabric_options(node, algorithm="sm2", gateway_key=keypairs.sm2("gateway")[0])
    secret = keypairs.sm2_line(keypairs.sm2("app")[1])
    async with fabric.opened(options, {KEY: secret}) as chain:
        submission = await standing(node, chain)
        assert (await chain.look(submission)).place
        node.spoil_signed = lambda _, answer: answer | {"header": {"code": 0, "msg": "好"}}
        with pytest.raises(LieError, match="not the configured key's"):
            await chain.look(submission)
    node.spoil_signed = lambda _, answer: answer
    async with fabric.opened(options, {KEY: keypairs.sm2_line(keypairs.sm2("other")[1])}) as chain:
        with pytest.raises(RefusedError, match="签名验证失败"):
            await chain.make(STATEMENT, None)


async def test_tls(tmp_path: Path) -> None:
    """The authorities of ca_file are trusted, and no others."""
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*ours.issue("gateway"))
    async with CityNode(tls=context).serve() as node:
        async with opened(node, ca_file=str(ours.ca_file)) as chain:
            assert await chain.make(STATEMENT, None)
        for other in ({}, {"ca_file": str(theirs.ca_file)}):
            async with opened(node, **other) as chain:
                with pytest.raises(UnreachableError, match="certificate is not valid"):
                    await chain.make(STATEMENT, None)


async def test_every_request_is_strict_json_with_a_good_mac(node: CityNode, chain: Chain) -> None:
    data = await chain.make(STATEMENT, None)
    since, _, request = data.partition(b" ")
    assert int(since) == len(node.ledger.blocks)
    asked = json.loads(request)
    assert asked["header"] == {"userCode": USER, "appCode": APP}
    value = STATEMENT.encode().hex()
    assert json.loads(asked["body"]["args"][0])["baseValue"] == value
    assert len(base64.b64decode(asked["body"]["nonce"])) == fabric.NONCE_BYTES
    assert await chain.make(STATEMENT, Submission(STATEMENT, data)) == data
    later = STATEMENT._replace(size=8)
    other = json.loads((await chain.make(later, Submission(STATEMENT, data))).partition(b" ")[2])
    assert other["body"]["nonce"] != asked["body"]["nonce"]


async def test_what_cannot_be_opened(node: CityNode) -> None:
    uploaded = {"keys": "uploaded", "msp": "OrgMSP", "user_certificate": "/dev/null", "user_key": KEY}
    cases: list[tuple[dict[str, object], str, str]] = [
        ({}, one_line(keypairs.derive(ec.SECP256K1(), "app")), "no private key for p256"),
        ({}, "nonsense", "no private key for p256"),
        ({"keys": "uploaded"}, one_line(node.app), "uploaded keys need"),
        (uploaded | {"user_certificate": "/nowhere/user.pem"}, one_line(node.app), "/nowhere/user.pem"),
        (uploaded | {"user_key": "env:OTHER"}, one_line(node.app), "user_key: "),
        ({"gateway_key": "04" + "11" * 64}, one_line(node.app), "gateway_key: the point is not on P-256"),
        ({"ca_file": "/nowhere/ca.pem"}, one_line(node.app), "/nowhere/ca.pem"),
    ]
    for changes, secret, why in cases:
        with pytest.raises(RefusedError, match=why) as caught:
            async with fabric.opened(fabric_options(node, **changes), {KEY: secret, "env:OTHER": "nonsense"}):
                pass
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("gateway_key", "04"), ("gateway_key", "02" + "11" * 64), ("user", "a b"), ("channel", "#"), ("orderers", ["00"])],
)
def test_options_that_are_refused(field: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        fabric_options(CityNode(url="http://127.0.0.1:1"), **{field: value})


def test_access_keys() -> None:
    for curve, algorithm in ((ec.SECP256R1(), "p256"), (ec.SECP256K1(), "secp256k1")):
        pair = keypairs.derive(curve, "app")
        key = access.parse_access_key(one_line(pair), algorithm, where="it")
        assert key.public.hex() == keypairs.point(pair)
        public = bsn.PublicKey.parse(algorithm, key.public.hex())
        for number in range(8):
            text = f"text {number}"
            public.check(text, base64.b64encode(key.sign(text.encode())).decode())
        assert one_line(pair) not in repr(key)
        with pytest.raises(Exception, match="not copied"):
            key.__reduce__()
        with pytest.raises(KeyFileError, match="no private key for sm2"):
            access.parse_access_key(one_line(pair), "sm2", where="it")


def test_an_sm2_access_key_signs_the_texts_sm3() -> None:
    public, secret = keypairs.sm2("app")
    key = access.parse_access_key(keypairs.sm2_line(secret), "sm2", where="it")
    assert key.public.hex() == public
    bsn.PublicKey.parse("sm2", public).check("0处理成功", base64.b64encode(key.sign("0处理成功".encode())).decode())


def test_the_way_to_write_a_key_that_is_told(tmp_path: Any) -> None:
    """openssl's own file, by the command of the message."""
    import subprocess

    pem = tmp_path / "key.pem"
    pem.write_text(keypairs.pem(keypairs.derive(ec.SECP256R1(), "app")))
    command = f"openssl pkcs8 -topk8 -nocrypt -outform DER -in {pem} | base64 -w0"
    text = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    key = access.parse_access_key(text, "p256", where="it")
    assert key.public.hex() == keypairs.point(keypairs.derive(ec.SECP256R1(), "app"))
    assert command.partition(" -in")[0] in access._ONE_LINE


def test_a_package_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ec", None)
    with pytest.raises(KeyFileError, match="cryptography, which signs with it, is not installed") as caught:
        access.parse_access_key(one_line(keypairs.derive(ec.SECP256R1(), "app")), "p256", where="it")
    assert "install that anew" in caught.value.cure


async def test_evidence_larger_than_a_receipt_holds_is_left_to_the_task(node: CityNode, chain: Chain) -> None:
    import os

    from gateway.core import cbor

    submission = Submission(STATEMENT, await chain.make(STATEMENT, None))
    submission = submission.with_ticket(await chain.send(submission))
    node.ledger.order(b"other", b"n" * 24, "cc", [os.urandom(limits.ANCHOR_EVIDENCE_BYTES)])
    node.ledger.cut()
    place = (await chain.look(submission)).place
    assert place is not None
    evidence = await chain.prove(submission, place, 1)
    assert len(cbor.encode(evidence)) > limits.ANCHOR_EVIDENCE_BYTES
    anchor_fabric.check(STATEMENT, evidence, ())
