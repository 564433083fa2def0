"""eth-account's word, in a process of its own (it raises the recursion limit of the one that imports it).

stdin: { key, transactions: [...] } as JSON; stdout: { address, signed: [[raw, hash, sender], ...] }, all in hex.
"""

import json
import sys

from eth_account import Account
from eth_utils import to_checksum_address

asked = json.load(sys.stdin)
signed = []
for one in asked["transactions"]:
    made = Account.sign_transaction({**one, "to": to_checksum_address(one["to"]), "value": 0}, asked["key"])
    signed.append([made.raw_transaction.hex(), made.hash.hex(), Account.recover_transaction(made.raw_transaction)])
json.dump({"address": Account.from_key(asked["key"]).address, "signed": signed}, sys.stdout)
