"""Writes stamps.json: time stamps by OpenSSL's authority and by SM2, frozen, so that one is still taken when every
certificate in it has ended. Keys and times are new in each run: run `PYTHONPATH=tests python
tests/vectors/make_stamps.py` only for a new format.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from fakes.made_stamps import domestic_stamp
from fakes.stamp_authority import Authority

from gateway.core import anchor_rfc3161, merkle, signed, timestamp
from gateway.core.anchor import Statement
from gateway.core.x509 import Certificate

HERE = Path(__file__).parent
STATEMENT = Statement.of("henhouse-3.example.farm/1", 7, merkle.leaf_hash(b"a frozen root"))
NONCE = 2**62 + 1


def made(response: bytes, root: bytes, request: timestamp.Request) -> dict[str, object]:
    """One stamp with what it proves."""
    digest = Certificate(root).digest
    _, stamp = anchor_rfc3161.accept(STATEMENT, request, response, [root], {digest})
    return {
        "request": request.encode().hex(),
        "response": response.hex(),
        "root": root.hex(),
        "pin": f"rfc3161 tsa.example root {digest.hex()}",
        "time_ms": stamp.time_ms,
        "tst_info": stamp.digest.hex(),
        "chain": [one.name for one in stamp.chain],
    }


def make() -> dict[str, object]:
    """Everything in stamps.json."""
    found: dict[str, object] = {}
    with TemporaryDirectory() as folder:
        for kind, digest in (("rsa2048", signed.SHA256), ("p256", signed.SHA256), ("p384", signed.SM3)):
            request = timestamp.Request(digest, signed.digest(digest, STATEMENT.encode()), "", NONCE)
            authority = Authority.make(Path(folder) / kind, kind=kind)
            found[kind] = made(authority.answer(request.encode()), authority.root.der, request)
        request = timestamp.Request(signed.SM3, signed.digest(signed.SM3, STATEMENT.encode()), "", NONCE)
        found["sm2"] = made(*domestic_stamp(STATEMENT, NONCE, Path(folder)), request)
    return found


if __name__ == "__main__":
    (HERE / "stamps.json").write_text(json.dumps(make(), indent=1) + "\n", "utf-8")
    sys.stdout.write("written\n")
