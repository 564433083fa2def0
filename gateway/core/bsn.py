"""The calls of a BSN city node's gateway (PCN): their paths, their fields in the order in which they are signed.

A call is a POST of ``{"header": {userCode, appCode}, "mac": base64 of a DER signature, "body": {...}}``, answered by
``{"header": {code, msg}, "mac": ..., "body": {...}}``. What is signed of a request is the user code, the application
code and the body's values; of an answer the code, the message and the body's values; all run together as text, in the
order below and not in that of the JSON (BSN user manual, sections 5-4-3-1 and 5-4-4-1; the published requests and
answers verify). No separator stands between two values, so a mac alone does not say where one ends.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import cast

from gateway.core import curves, der
from gateway.core.curves import Curve, Point
from gateway.core.limits import BSN_LISTED, BSN_NUMBER_MAX
from gateway.core.note import b64decode
from gateway.core.sm3 import sm3
from gateway.errors import FormatError

Value = str | int | bool | list["Value"] | dict[str, "Value"]
Body = dict[str, Value]

Shape = tuple[tuple[str, "Kind"], ...]
"""A JSON object's members in the order in which they are signed."""


@dataclass(frozen=True, slots=True)
class Many:
    """A JSON array, each item of one kind."""

    of: "Kind"


Kind = type[str] | type[int] | type[bool] | Shape | Many


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its path, and what is sent and answered."""

    path: str
    request: Shape
    answer: Shape


_FABRIC, _FISCO = "/api/fabric/v1/", "/api/fiscobcos/v1/"
_WRITTEN: Shape = (
    ("blockInfo", (("txId", str), ("blockHash", str), ("status", int))),
    ("ccRes", (("ccCode", int), ("ccData", str))),
)
_BLOCK_ASKED: Shape = (("blockNumber", int), ("blockHash", str), ("txId", str))

APP_INFO = Call(
    "/api/app/getAppInfo",
    (),
    (
        ("appName", str),
        ("appType", str),
        ("caType", int),
        ("algorithmType", int),
        ("mspId", str),
        ("channelId", str),
        ("version", str),
    ),
)
"""Its request is not signed; its answer is, so what the configuration pins is held against it."""

FABRIC_CALL = Call(
    _FABRIC + "node/reqChainCode",
    (
        ("userName", str),
        ("nonce", str),
        ("chainCode", str),
        ("funcName", str),
        ("args", Many(str)),
        ("transientData", ()),
    ),
    _WRITTEN,
)
"""Transient data is never sent: in which order its entries are signed is not written anywhere."""
FABRIC_SEND = Call(_FABRIC + "node/trans", (("transData", str),), _WRITTEN)
FABRIC_TRANSACTION = Call(
    _FABRIC + "node/getTransaction",
    (("txId", str),),
    (
        ("blockHash", str),
        ("blockNumber", int),
        ("status", int),
        ("createName", str),
        ("timeSpanSec", int),
        ("timeSpanNsec", int),
    ),
)
FABRIC_BLOCK = Call(
    _FABRIC + "node/getBlockInfo",
    _BLOCK_ASKED,
    (
        ("blockHash", str),
        ("blockNumber", int),
        ("preBlockHash", str),
        ("blockSize", int),
        ("blockTxCount", int),
        (
            "transactions",
            Many((("txId", str), ("status", int), ("createName", str), ("timeSpanSec", int), ("timeSpanNsec", int))),
        ),
    ),
)
FABRIC_BLOCK_DATA = Call(
    _FABRIC + "node/getBlockData",
    _BLOCK_ASKED,
    (("blockHash", str), ("blockNumber", int), ("preBlockHash", str), ("blockData", str)),
)
FABRIC_LEDGER = Call(_FABRIC + "node/getLedgerInfo", (), (("blockHash", str), ("height", int), ("preBlockHash", str)))
"""`height` counts blocks: the newest one has the number below it."""

FISCO_CALL = Call(
    _FISCO + "node/reqChainCode",
    (("userId", str), ("contractName", str), ("funcName", str), ("funcParam", str)),
    (
        ("constant", bool),
        ("queryInfo", str),
        ("txId", str),
        ("blockHash", str),
        ("blockNumber", int),
        ("gasUsed", int),
        ("status", str),
        ("from", str),
        ("to", str),
        ("input", str),
        ("output", str),
        ("logs", str),
    ),
)
"""The only one to FISCO BCOS: its chain is followed at a node (gateway/anchors/fisco.py)."""

_CODES = {"sm2": 1, "p256": 2, "secp256k1": 3}
"""getAppInfo's algorithmType."""
_ECDSA = {"p256": curves.P256, "secp256k1": curves.SECP256K1}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that signs calls or answers, of one of the three algorithms: p256, secp256k1, sm2."""

    algorithm: str
    point: Point

    @classmethod
    def parse(cls, algorithm: str, text: str) -> "PublicKey":
        """The key in the hexadecimal of a bare point, 65 bytes that begin with 04."""
        if algorithm not in _CODES:
            raise FormatError(f"there is no algorithm {algorithm!r}", cure=f"Write one of {', '.join(_CODES)}")
        try:
            data = bytes.fromhex(text)
        except ValueError:
            data = b""
        return cls(algorithm, (curves.SM2 if algorithm == "sm2" else _ECDSA[algorithm]).point(data))

    @property
    def code(self) -> int:
        """How getAppInfo calls the algorithm."""
        return _CODES[self.algorithm]

    def check(self, signed: str, mac: str) -> None:
        """FormatError unless `mac` is this key's over the text. An empty one is not; nor is ECDSA's with a high s."""
        if not mac:
            raise FormatError("it is not signed: its mac is empty")
        r, s = der.read_signature(b64decode(mac, "its mac"))
        data = signed.encode(errors="replace")  # a lone surrogate was never signed
        if self.algorithm == "sm2":
            good = curves.is_sm2(self.point, sm3(data), r, s)
        else:
            curve = _ECDSA[self.algorithm]
            if 2 * s > curve.n:
                raise FormatError("its mac has a high s, which is refused")
            good = curves.is_ecdsa(curve, self.point, sha256(data).digest(), r, s)
        if not good:
            raise FormatError("its mac is not the configured key's over these values")


def low_s(curve: Curve, r: int, s: int) -> bytes:
    """The DER of an ECDSA signature with the lower of its two values of s, which is the only one that is taken."""
    return der.signature(r, min(s, curve.n - s))


def request_text(user_code: str, app_code: str, call: Call, body: Body) -> str:
    """What is signed of a request."""
    return user_code + app_code + _text(body, call.request)


def answer_text(code: int, message: str, call: Call, body: Body | None) -> str:
    """What is signed of an answer; body: as `read_body` returns it."""
    return f"{code}{message}" + ("" if body is None else _text(body, call.answer))


def read_body(value: object, shape: Shape) -> Body:
    """An answer's body as the values that are signed, and none besides. What is missing or null is "", 0 or false.

    FormatError for another type, a number beyond 64 bits, and lists of more than BSN_LISTED items.
    """
    return cast(Body, _read(value, shape, "the body"))


def _text(value: Value, kind: Kind) -> str:
    if isinstance(kind, tuple):
        members = cast(Mapping[str, Value], value)
        return "".join([_text(members[name], of) for name, of in kind])
    if isinstance(kind, Many):
        return "".join([_text(item, kind.of) for item in cast(list[Value], value)])
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _read(value: object, kind: Kind, what: str) -> Value:
    if isinstance(kind, tuple):
        members = {} if value is None else value
        if not isinstance(members, dict):
            raise FormatError(f"{what} is no object")
        return {name: _read(members.get(name), of, name) for name, of in kind}
    if isinstance(kind, Many):
        items = [] if value is None else value
        if not isinstance(items, list) or len(items) > BSN_LISTED:
            raise FormatError(f"{what} is no array, or has more than {BSN_LISTED} items")
        return [_read(item, kind.of, what) for item in items]
    if value is None:
        value = kind()
    if type(value) is not kind or (isinstance(value, int) and abs(value) > BSN_NUMBER_MAX):
        raise FormatError(f"{what} is not of the type that it has")
    return cast(Value, value)
