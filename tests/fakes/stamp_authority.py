"""A time stamp authority: certificates made here, time stamps by OpenSSL's own `ts`."""

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

POLICY, OTHER_POLICY = "1.2.3.4.1", "1.2.3.4.5"
NOW = datetime.now(UTC)
STAMPING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])

_CONFIG = """
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
signer_cert = {folder}/leaf.pem
{certs}signer_key = {folder}/leaf.key
signer_digest = sha256
default_policy = {policy}
other_policies = {other}
digests = sha256, sha384, sha512, sm3
accuracy = secs:1
clock_precision_digits = 3
ordering = no
ess_cert_id_alg = {ess}
"""


@dataclass
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()


def new_key(kind: str) -> Any:
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65_537, int(kind.removeprefix("rsa")))
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}[kind])


def issue(
    name: str,
    issuer: Issued | None = None,
    *,
    kind: str = "p256",
    authority: bool = False,
    length: int | None = None,
    purposes: x509.ExtendedKeyUsage | None = None,
    critical: bool = True,
    days: tuple[float, float] = (-10, 10),
    usage: x509.KeyUsage | None = None,
    more: x509.ExtensionType | None = None,
) -> Issued:
    """A certificate valid for those days from now. `more`: a further extension, critical."""
    key = new_key(kind)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=length), critical=True)
    )
    if purposes:
        builder = builder.add_extension(purposes, critical=critical)
    if usage:
        builder = builder.add_extension(usage, critical=True)
    if more:
        builder = builder.add_extension(more, critical=True)
    return Issued(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


@dataclass
class Authority:
    """root > middle > leaf, or what a test puts in their place. The token carries leaf and middle, not the root."""

    folder: Path
    root: Issued
    middle: Issued
    leaf: Issued
    ess: str = "sha256"

    @classmethod
    def make(cls, folder: Path, *, kind: str = "p256", ess: str = "sha256", **leaf: Any) -> "Authority":
        root = issue("root", kind=kind, authority=True)
        middle = issue("middle", root, kind=kind, authority=True, length=0)
        return cls(folder, root, middle, issue("stamps", middle, **{"kind": kind, "purposes": STAMPING, **leaf}), ess)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "serial").write_text("01\n")
        (self.folder / "leaf.pem").write_bytes(self.leaf.pem)
        (self.folder / "chain.pem").write_bytes(self.middle.pem)
        (self.folder / "root.pem").write_bytes(self.root.pem)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self.folder / "leaf.key").write_bytes(self.leaf.key.private_bytes(*form))

    def answer(self, request: bytes, *, alone: bool = False) -> bytes:
        """TimeStampResp. Blocking: OpenSSL as a process. alone: without the chain."""
        certs = "" if alone else f"certs = {self.folder}/chain.pem\n"
        text = _CONFIG.format(folder=self.folder, certs=certs, ess=self.ess, policy=POLICY, other=OTHER_POLICY)
        (self.folder / "ts.cnf").write_text(text)
        (self.folder / "query").write_bytes(request)
        self._openssl("-reply", "-config", "ts.cnf", "-queryfile", "query", "-out", "answer")
        return (self.folder / "answer").read_bytes()

    def verifies(self, answer: bytes, request: bytes) -> bool:
        """What OpenSSL itself says of an answer."""
        (self.folder / "given").write_bytes(answer)
        (self.folder / "query").write_bytes(request)
        chain = ("-CAfile", "root.pem", "-untrusted", "chain.pem")
        return self._openssl("-verify", "-in", "given", "-queryfile", "query", *chain, check=False).returncode == 0

    def _openssl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["openssl", "ts", *arguments], cwd=self.folder, capture_output=True, check=check, timeout=30
        )
