"""eth-account's word, in a process of its own (it raises the recursion limit of the one that imports it).

stdin: { key, transactions: [...] } as JSON; stdout: { address, signed: [[raw, hash, sender], ...], signatures:
[[v, r, s], ...], authorizations: [[[parity, r, s], ...], ...] }. An authorizationList is given without signatures.
"""

import json
import sys
from typing import Any

from eth_account import Account
from eth_utils import to_checksum_address

asked = json.load(sys.stdin)
signed, signatures, authorizations = [], [], []


def addressed(one: dict[str, Any]) -> dict[str, Any]:
    return {**one, "address": to_checksum_address(one["address"])}


for one in asked["transactions"]:
    found = {**one, "to": to_checksum_address(one["to"]), "value": 0}
    if "accessList" in one:
        found["accessList"] = [addressed(entry) for entry in one["accessList"]]
    granted = [Account.sign_authorization(addressed(entry), asked["key"]) for entry in one.get("authorizationList", ())]
    if granted:
        found["authorizationList"] = granted
    made = Account.sign_transaction(found, asked["key"])
    signed.append([made.raw_transaction.hex(), made.hash.hex(), Account.recover_transaction(made.raw_transaction)])
    signatures.append([made.v, made.r, made.s])
    authorizations.append([[grant.y_parity, grant.r, grant.s] for grant in granted])
address = Account.from_key(asked["key"]).address
told = {"address": address, "signed": signed, "signatures": signatures, "authorizations": authorizations}
json.dump(told, sys.stdout)
