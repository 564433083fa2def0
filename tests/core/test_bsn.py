"""The calls of a city node's gateway: published requests and answers, and the same on frozen ones of our own."""

import json
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fakes import keypairs
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import bsn, curves
from gateway.core.bsn import PublicKey
from gateway.core.limits import BSN_LISTED
from gateway.core.note import b64encode
from gateway.core.sm3 import sm3
from gateway.errors import FormatError

HEIGHT = bsn.Call("/api/fiscobcos/v1/node/getBlockHeight", (), (("data", str),))
"""Published, and not used: the gateway asks a node of FISCO BCOS for its height."""
CALLS = {
    call.path.rpartition("/")[2]: call
    for call in (
        bsn.APP_INFO,
        bsn.FABRIC_CALL,
        bsn.FABRIC_TRANSACTION,
        bsn.FABRIC_BLOCK,
        bsn.FABRIC_LEDGER,
        HEIGHT,
    )
}
FROZEN = json.loads((Path(__file__).parent.parent / "vectors" / "bsn.json").read_text("utf-8"))


@pytest.fixture(params=["published", "frozen"])
def known(request):
    if request.param == "frozen":
        return FROZEN
    return json.loads((request.getfixturevalue("vectors") / "bsn_kats.json").read_text("utf-8"))


def call_of(text):
    return CALLS[text.split("/")[-1].split()[-1]]


def test_requests(known):
    key = PublicKey.parse("p256", known["app_public_key_secp256r1_x962"])
    assert known["requests"]
    for case in known["requests"]:
        header, call = case["json"]["header"], call_of(case["call"])
        assert call.path == case["call"].removeprefix("POST ")
        body = bsn.read_body(case["json"]["body"], call.request)
        assert json.dumps(body) == json.dumps(case["json"]["body"]), "nothing left out, nothing else, in that order"
        signed = bsn.request_text(header["userCode"], header["appCode"], call, body)
        assert signed == case["string_to_sign"]
        key.check(signed, case["mac"])
        with pytest.raises(FormatError, match="not the configured key's"):
            key.check(signed + "0", case["mac"])


def test_answers(known):
    key = PublicKey.parse("p256", known["gateway_public_key_secp256r1_x962"])
    assert known["responses"]
    for case in known["responses"]:
        header = case["json"]["header"]
        call = CALLS["getBlockHeight" if "getBlockHeight" in case["call"] else case["call"].split("/")[-1]]
        body = bsn.read_body(case["json"]["body"], call.answer)
        signed = bsn.answer_text(header["code"], header["msg"], call, body)
        assert signed == case["string_to_verify"]
        key.check(signed, case["mac"])


def test_every_published_gateway_key_is_a_point(known):
    algorithms = {"R1": "p256", "K1": "secp256k1", "SM2": "sm2"}
    for name, point in known["gateway_keys_x962"].items():
        assert PublicKey.parse(algorithms[name.rpartition("_")[2]], point).code in (1, 2, 3)


KEYS = {"p256": ec.SECP256R1(), "secp256k1": ec.SECP256K1()}


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_mac_has_a_low_s_and_is_not_empty(algorithm):
    pair = keypairs.derive(KEYS[algorithm], "app")
    key = PublicKey.parse(algorithm, keypairs.point(pair))
    key.check("text", b64encode(keypairs.sign(pair, b"text")))
    with pytest.raises(FormatError, match="high s"):
        key.check("text", b64encode(keypairs.sign(pair, b"text", high=True)))
    with pytest.raises(FormatError, match="empty"):
        key.check("text", "")
    for wrong in ("AAAA", "=", "MEUC", " " + b64encode(keypairs.sign(pair, b"text"))):
        with pytest.raises(FormatError):
            key.check("text", wrong)


@given(st.integers(1, curves.P256.n - 1), st.integers(1, curves.P256.n - 1))
def test_low_s(r, s):
    assert bsn.low_s(curves.P256, r, s) == bsn.low_s(curves.P256, r, curves.P256.n - s)


def test_an_sm2_mac_is_over_the_texts_sm3():
    public, secret = keypairs.sm2("app")
    key = PublicKey.parse("sm2", public)
    key.check("0处理成功", b64encode(keypairs.sm2_sign(secret, sm3("0处理成功".encode()))))
    with pytest.raises(FormatError, match="not the configured key's"):
        key.check("0处理成功", b64encode(keypairs.sm2_sign(secret, "0处理成功".encode())))


def test_what_is_missing_is_empty_and_what_is_more_is_left_out():
    body = bsn.read_body({"txId": "7", "more": 1}, bsn.FABRIC_BLOCK.request)
    assert body == {"blockNumber": 0, "blockHash": "", "txId": "7"}
    assert bsn.request_text("u", "a", bsn.FABRIC_BLOCK, body) == "ua07"
    written = bsn.read_body(None, bsn.FABRIC_CALL.answer)
    assert bsn.answer_text(-1, "no", bsn.FABRIC_CALL, written) == "-1no00"
    assert bsn.answer_text(-1, "no", bsn.FABRIC_CALL, None) == "-1no"


@pytest.mark.parametrize(
    "body",
    [
        [],
        "x",
        {"blockNumber": "7"},
        {"blockNumber": True},
        {"blockNumber": 7.0},
        {"blockNumber": 2**64},
        {"blockHash": 7},
        {"transactions": {}},
        {"transactions": [[]]},
        {"transactions": [{"txId": 7}]},
        {"transactions": [{}] * (BSN_LISTED + 1)},
    ],
)
def test_a_body_of_another_form_is_refused(body):
    with pytest.raises(FormatError):
        bsn.read_body(body, bsn.FABRIC_BLOCK.answer)


def test_values_as_text():
    answer = bsn.FISCO_CALL.answer
    body = bsn.read_body({"constant": True, "txId": "0x1", "status": "0x0", "gasUsed": 5}, answer)
    assert bsn.answer_text(0, "", bsn.FISCO_CALL, body) == "0true0x1050x0"
    listed = bsn.read_body({"args": ["a", "b"], "transientData": {}}, (("args", bsn.Many(str)),))
    assert bsn._text(listed, (("args", bsn.Many(str)),)) == "ab"


@pytest.mark.parametrize("point", ["", "04", "zz", "04" + "00" * 64, "02" + "11" * 32])
def test_a_key_that_is_none(point):
    with pytest.raises(FormatError):
        PublicKey.parse("p256", point)
    with pytest.raises(FormatError, match="algorithm"):
        PublicKey.parse("rsa", point)


def test_the_published_digest_rule():
    """SHA-256 over the text's UTF-8, Chinese as well."""
    pair = keypairs.derive(ec.SECP256R1(), "gateway")
    key = PublicKey.parse("p256", keypairs.point(pair))
    key.check("0处理成功", b64encode(keypairs.sign(pair, "0处理成功".encode())))
    assert sha256("处".encode()).digest() != sha256("处".encode("gbk")).digest()
