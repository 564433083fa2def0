"""Private keys and passwords: the one package that touches them.

A key is a file of one line in the encoding of Go's note signers,
``PRIVATE+KEY+<name>+<8 hex digits of the key id>+<base64 of algorithm byte and 32-byte seed>`` (for SM2, 0xFF
and its object identifier stand for the byte), or a sealed one
(sealed.py), and is opened by URI:

``file:/etc/fieldgate/log.key``
    a file that only its owner may read (mode 0600 or 0400)
``credential:log.key``
    a file of that name in the service manager's credentials folder, which guards it itself
``env:FIELDGATE_KEY``
    a variable of the environment
``tpm:/etc/fieldgate/log.key.tpm``
    a file that is of no use without the TPM that sealed the key (tpm.py); again its owner's alone

The folder, the environment and whoever asks for a passphrase are handed in; nothing is looked up here. No message,
`repr` or exception of this package holds any part of a secret.
"""

from gateway.keys.opening import Guard, Look, counter_of, look, open_signer, tpm_of
from gateway.keys.places import read_secret, text_of, write_key
from gateway.keys.sealed import seal, unseal
from gateway.keys.signer import (
    Signer,
    cosign,
    encode_key,
    generate,
    parse_key,
    sign_checkpoint,
    sign_entry,
    sm2_line,
)
from gateway.keys.tpm import Counter, Tpm

__all__ = [
    "Counter",
    "Guard",
    "Look",
    "Signer",
    "Tpm",
    "cosign",
    "counter_of",
    "encode_key",
    "generate",
    "look",
    "open_signer",
    "parse_key",
    "read_secret",
    "seal",
    "sign_checkpoint",
    "sign_entry",
    "sm2_line",
    "text_of",
    "tpm_of",
    "unseal",
    "write_key",
]
