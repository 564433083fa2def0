"""Time stamps that OpenSSL's `ts` does not make: by SM2, and under certificates that may not stamp."""

import ssl
import subprocess
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fakes.stamp_authority import POLICY, Issued

from gateway import sm2
from gateway.core import der, signed
from gateway.core.anchor import Statement
from gateway.core.sm3 import sm3
from gateway.core.x509 import Certificate

_CONFIG = """
[req]
distinguished_name = dn
[dn]
[ca]
basicConstraints = critical, CA:TRUE
[leaf]
extendedKeyUsage = critical, timeStamping
"""
_TST, _SIGNED = "1.2.840.113549.1.9.16.1.4", "1.2.840.113549.1.7.2"
_ECDSA, _SM2 = "1.2.840.10045.4.3.2", "1.2.156.10197.1.501"


def _tagged(tag: int, *items: bytes) -> bytes:
    """As a sequence, under another tag."""
    return bytes([tag]) + der.sequence(*items)[1:]


def _algorithm(oid: str) -> bytes:
    return der.sequence(der.oid(oid))


def _attribute(oid: str, value: bytes) -> bytes:
    return der.sequence(der.oid(oid), _tagged(0x31, value))


def plain_stamp(
    statement: Statement, leaf: Issued, nonce: int, *, accuracy: bytes = b"", extension: tuple[str, bool] | None = None
) -> bytes:
    """TimeStampResp by ECDSA with SHA-256 under any certificate. extension: its identifier, and whether critical."""
    sign = partial(leaf.key.sign, signature_algorithm=ec.ECDSA(hashes.SHA256()))
    held = b""
    if extension is not None:
        oid, critical = extension
        held = _tagged(0xA1, der.sequence(der.oid(oid), b"\x01\x01\xff" if critical else b"", der.octets(b"\x05\x00")))
    return _response(statement, leaf.der, nonce, signed.SHA256, _ECDSA, sign, accuracy, held)


def domestic_stamp(statement: Statement, nonce: int, folder: Path) -> tuple[bytes, bytes]:
    """TimeStampResp by SM2 with SM3, and the root's certificate. Certificates are OpenSSL's."""
    secret = sm2.generate()
    (folder / "leaf.der").write_bytes(sm2._PKCS8 + secret)
    (folder / "x.cnf").write_text(_CONFIG)
    for command in (
        "ecparam -name SM2 -genkey -noout -out root.key",
        "pkcs8 -inform DER -in leaf.der -nocrypt -out leaf.key",
        "req -x509 -new -key root.key -sm3 -subj /CN=root -out root.pem -config x.cnf -extensions ca "
        "-sigopt distid:1234567812345678",
        "req -new -key leaf.key -sm3 -subj /CN=stamps -out leaf.csr -config x.cnf -sigopt distid:1234567812345678",
        "x509 -req -in leaf.csr -CA root.pem -CAkey root.key -sm3 -extfile x.cnf -extensions leaf -out leaf.pem "
        "-set_serial 2 -vfyopt distid:1234567812345678 -sigopt distid:1234567812345678",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, capture_output=True, check=True, timeout=30)
    leaf, root = (ssl.PEM_cert_to_DER_cert((folder / name).read_text()) for name in ("leaf.pem", "root.pem"))
    return _response(statement, leaf, nonce, signed.SM3, _SM2, sm2.Key(secret).sign), root


def _response(statement, leaf, nonce, digest, algorithm, sign, accuracy=b"", extensions=b"") -> bytes:
    now = b"\x18\x0f" + datetime.now(UTC).strftime("%Y%m%d%H%M%SZ").encode()
    imprint = der.sequence(_algorithm(digest), der.octets(signed.digest(digest, statement.encode())))
    begin = [der.integer(1), der.oid(POLICY), imprint, der.integer(2), now]
    info = der.sequence(*begin, accuracy, der.integer(nonce), extensions)
    hashed = sm3(leaf) if digest == signed.SM3 else sha256(leaf).digest()
    named = [] if digest == signed.SHA256 else [_algorithm(digest)]
    attributes = [
        _attribute("1.2.840.113549.1.9.3", der.oid(_TST)),
        _attribute("1.2.840.113549.1.9.4", der.octets(signed.digest(digest, info))),
        _attribute("1.2.840.113549.1.9.16.2.47", der.sequence(der.sequence(der.sequence(*named, der.octets(hashed))))),
    ]
    parsed = Certificate(leaf)
    signer = der.sequence(
        der.integer(1),
        der.sequence(parsed.issuer, b"\x02" + bytes([len(parsed.serial)]) + parsed.serial),
        _algorithm(digest),
        _tagged(0xA0, *attributes),
        _algorithm(algorithm),
        der.octets(sign(_tagged(0x31, *attributes))),
    )
    content = der.sequence(
        der.integer(3),
        _tagged(0x31, _algorithm(digest)),
        der.sequence(der.oid(_TST), _tagged(0xA0, der.octets(info))),
        _tagged(0xA0, leaf),
        _tagged(0x31, signer),
    )
    token = der.sequence(der.oid(_SIGNED), _tagged(0xA0, content))
    return der.sequence(der.sequence(der.integer(0)), token)
