"""Writes bsn.json: requests and answers of a city node's gateway in the published examples' form, by keys of our own.

The texts that are signed are written out here, by hand, and not by the code under test. ECDSA signatures differ each
time, so the file is made once: `PYTHONPATH=tests python tests/vectors/make_bsn.py`.
"""

import base64
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from fakes import keypairs

FILE = Path(__file__).parent / "bsn.json"
APP, GATEWAY = (keypairs.derive(ec.SECP256R1(), name) for name in ("frozen app", "frozen gateway"))
USER, CODE = "USER0009", "app0009202611291200001"
HASH, BEFORE, TX = (pair * 32 for pair in ("a1", "b2", "c3"))
ARGUMENT = '{"baseKey":"k","baseValue":"重量 12"}'
REQUESTS = [
    ("/api/fabric/v1/node/getBlockInfo", {"blockNumber": 6, "blockHash": HASH, "txId": TX}, "6" + HASH + TX),
    ("/api/fabric/v1/node/getLedgerInfo", {}, ""),
    ("/api/fabric/v1/node/getTransaction", {"txId": TX}, TX),
    (
        "/api/fabric/v1/node/reqChainCode",
        {
            "userName": "u",
            "nonce": "bm9uY2U=",
            "chainCode": "cc_00",
            "funcName": "set",
            "args": [ARGUMENT, "more"],
            "transientData": {},
        },
        "ubm9uY2U=cc_00set" + ARGUMENT + "more",
    ),
]
ANSWERS = [
    (
        "getTransaction",
        {
            "timeSpanNsec": 5,
            "blockHash": HASH,
            "blockNumber": 7,
            "status": 0,
            "createName": "u@app",
            "timeSpanSec": 1_795_000_000,
        },
        HASH + "70u@app1795000000" + "5",
    ),
    ("getLedgerInfo", {"blockHash": HASH, "height": 8, "preBlockHash": BEFORE}, HASH + "8" + BEFORE),
    (
        "app/getAppInfo",
        {
            "appName": "应用",
            "appType": "fabric",
            "caType": 1,
            "algorithmType": 2,
            "mspId": "OrgMSP",
            "channelId": CODE,
        },
        "应用fabric12OrgMSP" + CODE,
    ),
    ("fiscobcos getBlockHeight", {"data": "4"}, "4"),
]


def mac(key: ec.EllipticCurvePrivateKey, text: str) -> str:
    return base64.b64encode(keypairs.sign(key, text.encode())).decode()


def made() -> dict[str, object]:
    requests = [
        {
            "call": f"POST {path}",
            "json": {"header": {"userCode": USER, "appCode": CODE}, "body": body},
            "string_to_sign": USER + CODE + text,
            "mac": mac(APP, USER + CODE + text),
        }
        for path, body, text in REQUESTS
    ]
    responses = [
        {
            "call": call,
            "json": {"header": {"code": 0, "msg": "处理成功"}, "body": body},
            "string_to_verify": "0处理成功" + text,
            "mac": mac(GATEWAY, "0处理成功" + text),
        }
        for call, body, text in ANSWERS
    ]
    keys = {"test_R1": keypairs.point(GATEWAY), "test_K1": keypairs.point(keypairs.derive(ec.SECP256K1(), "frozen"))}
    return {
        "app_public_key_secp256r1_x962": keypairs.point(APP),
        "gateway_public_key_secp256r1_x962": keypairs.point(GATEWAY),
        "gateway_keys_x962": keys,
        "requests": requests,
        "responses": responses,
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(made(), indent=1, ensure_ascii=False) + "\n", "utf-8")
