"""Time stamps by OpenSSL's own authority: checked, held against OpenSSL and rfc3161-client; and lies of every kind."""

import json
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import rfc3161_client
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from fakes.made_stamps import domestic_stamp, plain_stamp
from fakes.stamp_authority import OTHER_POLICY, POLICY, STAMPING, Authority, Issued, issue
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import anchor_rfc3161, der, merkle, signed, timestamp
from gateway.core.anchor import Statement, parse_pins
from gateway.core.anchor_kinds import KINDS
from gateway.core.asn1 import OID, SEQUENCE, Item, read
from gateway.core.timestamp import Request
from gateway.core.x509 import Certificate, chain
from gateway.errors import FormatError

STATEMENT = Statement.of("quay.example/1", 7, merkle.leaf_hash(b"root"))
OTHER = STATEMENT._replace(size=8)
NONCE = 2**63 + 12_345


def request_for(statement: Statement = STATEMENT, digest: str = signed.SHA256, policy: str = "", nonce: int = NONCE):
    return Request(digest, signed.digest(digest, statement.encode()), policy, nonce)


def accepted(authority: Authority, answer: bytes, request: Request, *roots: Issued) -> timestamp.Stamp:
    """The first of the roots is pinned; the others are beside it."""
    beside = [root.der for root in roots or (authority.root,)]
    pinned = {Certificate(beside[0]).digest}
    return anchor_rfc3161.accept(STATEMENT, request, answer, beside, pinned)[1]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tsa"))


def has_second_opinions(authority: Authority, request: Request) -> bool:
    """Whether OpenSSL and rfc3161-client take an answer; they agree.

    The certificate stands alone in it: rfc3161-client refuses several that are not in DER's order of a set, in which
    OpenSSL does not write them.
    """
    answer = authority.answer(request.encode(), alone=True)
    decoded = rfc3161_client.decode_timestamp_response(answer)
    builder = rfc3161_client.VerifierBuilder().add_root_certificate(authority.root.certificate)
    verifier = builder.add_intermediate_certificate(authority.middle.certificate).nonce(request.nonce).build()
    try:
        theirs = verifier.verify(decoded, request.imprint)
    except rfc3161_client.VerificationError:
        theirs = False
    assert authority.verifies(answer, request.encode()) == theirs
    return theirs


KEYS = [("rsa2048", "sha256"), ("p256", "sha1"), ("p256", "sha512"), ("p384", "sha256"), ("p521", "sha256")]


@pytest.mark.parametrize(("kind", "ess"), KEYS)
def test_every_kind_of_key(tmp_path: Path, kind: str, ess: str):
    authority, request = Authority.make(tmp_path, kind=kind, ess=ess), request_for()
    answer = authority.answer(request.encode())
    stamp = accepted(authority, answer, request)
    assert [one.name for one in stamp.chain] == ["stamps", "middle", "root"]
    assert (stamp.policy, stamp.nonce, stamp.serial) == (POLICY, NONCE, 2)
    assert has_second_opinions(authority, request)


@pytest.mark.parametrize("digest", signed.DIGESTS)
def test_every_digest(authority: Authority, digest: str):
    request = request_for(digest=digest)
    assert accepted(authority, authority.answer(request.encode()), request).algorithm == digest


def test_a_request_reads_back_and_openssl_reads_it(authority: Authority):
    for policy in ("", OTHER_POLICY):
        request = request_for(policy=policy)
        assert Request.decode(request.encode()) == request
        assert accepted(authority, authority.answer(request.encode()), request).policy == (policy or POLICY)


Lie = Callable[[Authority], bytes]

LIES: dict[str, tuple[Lie, str]] = {
    "another imprint": (lambda tsa: tsa.answer(request_for(OTHER).encode()), "over something else"),
    "another digest": (lambda tsa: tsa.answer(request_for(digest=signed.SM3).encode()), "another digest"),
    "another nonce": (lambda tsa: tsa.answer(request_for(nonce=1).encode()), "another nonce"),
    "another policy": (lambda tsa: tsa.answer(request_for(policy=POLICY).encode()), f"policy {POLICY}, not"),
    "an unknown policy": (lambda tsa: tsa.answer(request_for(policy="1.2.3.4.9").encode()), "not have this policy"),
    "no certificate": (lambda tsa: tsa.answer(_without_certificates()), "is not there"),
    "rejected": (lambda _: _refusal(2, "no time today"), "rejected: no time today"),
    "waiting": (lambda _: _refusal(3), "answer is waiting"),
    "a status that there is not": (lambda _: _refusal(77), "none that is known"),
    "a status past all numbers": (lambda _: _refusal(1 << 20_000), "none that is known"),
    "granted and nothing": (lambda _: _refusal(0), "sent none"),
    "nothing": (lambda _: b"", "DER ends"),
    "no DER": (lambda _: b"<html>busy</html>", "DER has another item"),
    "cut": (lambda tsa: tsa.answer(_asked().encode())[:-1], "DER is cut"),
    "more behind it": (lambda tsa: tsa.answer(_asked().encode()) + b"\0", "further item"),
}


def _asked() -> Request:
    return request_for(policy=OTHER_POLICY)


def _refusal(status: int, *texts: str) -> bytes:
    said = [der.sequence(*[b"\x0c" + bytes([len(text)]) + text.encode() for text in texts])] if texts else []
    return der.sequence(der.sequence(der.integer(status), *said))


def _without_certificates() -> bytes:
    return der.sequence(*[item.raw for item in read(_asked().encode(), SEQUENCE).reader().rest(*range(256))][:-1])


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_with_the_reason(authority: Authority, lie: str):
    make, reason = LIES[lie]
    with pytest.raises(FormatError, match=reason):
        accepted(authority, make(authority), _asked())


_CODE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
_BOTH = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING])

LEAVES = {
    "expired": ({"days": (-10, -1)}, "had expired"),
    "not valid yet": ({"days": (1, 10)}, "was not valid before"),
    "of another purpose": ({"purposes": _CODE}, "time stamps alone"),
    "of two purposes": ({"purposes": _BOTH}, "time stamps alone"),
    "of no purpose": ({"purposes": None}, "time stamps alone"),
    "whose purpose is not critical": ({"critical": False}, "time stamps alone"),
    "with an unknown critical extension": (
        {"more": x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0")},
        "critical extension",
    ),
}


@pytest.fixture(scope="module")
def granted(authority: Authority) -> bytes:
    return authority.answer(request_for().encode())


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_certificate_that_may_not_stamp(tmp_path: Path, leaf: str):
    """OpenSSL makes none with most of these, so an honest time stamp is bound to them by one of our own making."""
    options, reason = LEAVES[leaf]
    root = issue("root", authority=True)
    other = issue("stamps", root, **{"purposes": STAMPING, **options})
    answer = plain_stamp(STATEMENT, other, NONCE)
    with pytest.raises(FormatError, match=reason):
        accepted(Authority.make(tmp_path), answer, request_for(), root)


CHAINS = {
    "under another root": (lambda root, middle: (issue("root", authority=True), middle), "not signed by|no root"),
    "expired in the midst": (lambda root, _: (root, issue("middle", root, authority=True, days=(-10, -1))), "expired"),
    "expired at its root": (None, "expired"),
    "whose middle is no authority's": (lambda root, _: (root, issue("middle", root)), "not an authority"),
    "whose middle may not certify": (
        lambda root, _: (root, issue("middle", root, authority=True, usage=_usage())),
        "not an authority",
    ),
}


def _usage() -> x509.KeyUsage:
    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign")
    return x509.KeyUsage(
        digital_signature=True, crl_sign=True, encipher_only=False, decipher_only=False, **dict.fromkeys(names, False)
    )


@pytest.mark.parametrize("called", CHAINS)
def test_a_chain_that_does_not_hold(tmp_path: Path, called: str):
    change, reason = CHAINS[called]
    root = issue("root", authority=True, days=(-10, 10) if change else (-10, -1))
    trusted, middle = change(root, issue("middle", root, authority=True)) if change else (root, None)
    middle = middle or issue("middle", root, authority=True)
    authority = Authority(tmp_path, root, middle, issue("stamps", middle, purposes=STAMPING))
    request = request_for()
    answer = authority.answer(request.encode())
    with pytest.raises(FormatError, match=reason):
        accepted(authority, answer, request, trusted)
    with pytest.raises(FormatError, match=reason):
        accepted(authority, answer, request, trusted, middle if called == "under another root" else trusted)
    assert not has_second_opinions(authority, request) or called == "under another root"  # they trust the first


def test_an_authority_may_not_stand_higher_than_it_says(tmp_path: Path):
    root = issue("root", authority=True, length=0)
    upper = issue("upper", root, authority=True)
    middle = issue("middle", upper, authority=True)
    authority = Authority(tmp_path, root, middle, issue("stamps", middle, purposes=STAMPING))
    request = request_for()
    with pytest.raises(FormatError, match="so high"):
        accepted(authority, authority.answer(request.encode()), request, root, upper)


def test_many_certificates_of_one_name_do_not_take_long(authority: Authority):
    loops = [issue("middle", issue("middle", authority=True), authority=True) for _ in range(13)]
    request = request_for()
    answer = authority.answer(request.encode())
    with pytest.raises(FormatError):
        anchor_rfc3161.accept(STATEMENT, request, answer, [one.der for one in loops], {bytes(32)})
    with pytest.raises(FormatError, match="more than"):
        anchor_rfc3161.accept(STATEMENT, request, answer, [one.der for one in loops * 2], {bytes(32)})


def test_ways_that_end_nowhere_are_few(monkeypatch: pytest.MonkeyPatch):
    """Three certificates of one name on each of five levels, and nobody above them: 3^5 ways."""
    levels, above = [], issue("nobody", authority=True)
    for name in "54321":
        levels.append([issue(name, above, authority=True) for _ in range(3)])
        above = levels[-1][0]
    others = [Certificate(one.der) for level in levels for one in level]
    leaf, tried = Certificate(issue("leaf", above).der), []
    monkeypatch.setattr(signed, "check", lambda *_: tried.append(1))
    with pytest.raises(FormatError, match="issuer of 5 is there"):
        chain(leaf, others, lambda one: one.is_own_issuer, leaf.begins_ms)
    assert 5 <= len(tried) <= 32


def test_an_identifier_without_end_takes_no_time():
    endless = b"\xff" * 200_000 + b"\x7f"
    with pytest.raises(FormatError, match="too long"):
        Item(OID, endless, endless).oid()


def test_pss_signed_certificates_are_followed():
    root = issue("root", kind="rsa2048", authority=True)
    scheme = padding.PSS(padding.MGF1(hashes.SHA384()), padding.PSS.DIGEST_LENGTH)
    leaf = issue("leaf", root).certificate
    times = (leaf.not_valid_before_utc, leaf.not_valid_after_utc)
    builder = x509.CertificateBuilder(leaf.issuer, leaf.subject, leaf.public_key(), leaf.serial_number, *times)
    made = builder.sign(root.key, hashes.SHA384(), rsa_padding=scheme).public_bytes(Encoding.DER)
    Certificate(made).check_signed_by(Certificate(root.der))
    changed = made[:-1] + bytes([made[-1] ^ 1])
    with pytest.raises(FormatError, match="not signed"):
        Certificate(changed).check_signed_by(Certificate(root.der))
    weak = builder.sign(issue("x", kind="rsa2048", authority=True).key, hashes.SHA384(), rsa_padding=scheme)
    with pytest.raises(FormatError, match="not signed"):
        Certificate(weak.public_bytes(Encoding.DER)).check_signed_by(Certificate(root.der))


def test_a_domestic_authoritys_stamp_by_sm2_and_sm3(tmp_path: Path):
    """OpenSSL's `ts` signs with no SM2 key, so certificates are its, and the time stamp is put together here."""
    token, root = domestic_stamp(STATEMENT, NONCE, tmp_path)
    request = request_for(digest=signed.SM3)
    stamp = anchor_rfc3161.accept(STATEMENT, request, token, [root], {Certificate(root).digest})[1]
    assert [one.name for one in stamp.chain] == ["stamps", "root"]
    for at in range(0, len(token), 5):
        changed = bytearray(token)
        changed[at] ^= 1 << at % 8
        with suppress(FormatError):
            found = anchor_rfc3161.accept(STATEMENT, request, bytes(changed), [root], {Certificate(root).digest})[1]
            assert (found.digest, found.time_ms) == (stamp.digest, stamp.time_ms), at


def evidence_of(authority: Authority, answer: bytes) -> list:
    return ["tsa.example", timestamp.token_in(answer), [authority.root.der]]


def test_a_pinned_root_proves_and_another_refuses(authority: Authority, granted: bytes):
    check, evidence = KINDS["rfc3161"], evidence_of(authority, granted)
    claimed = check(STATEMENT, evidence, ())
    pin = f"rfc3161 tsa.example root {authority.root.fingerprint}"
    proved = check(STATEMENT, evidence, parse_pins(pin.encode()))
    assert claimed.by == "" and proved == claimed._replace(by="the pinned root root")
    assert (proved.kind, proved.chain, proved.number) == ("rfc3161", "tsa.example", proved.time_s)
    elsewhere = parse_pins(f"rfc3161 other.example root {bytes(32).hex()}\nevm tsa.example root 00".encode())
    assert check(STATEMENT, evidence, elsewhere) == claimed
    with pytest.raises(FormatError, match="no root that is asked for"):
        check(STATEMENT, evidence, parse_pins(f"rfc3161 tsa.example root {bytes(32).hex()}".encode()))
    with pytest.raises(FormatError, match="over something else"):
        check(OTHER, evidence, ())


@pytest.mark.parametrize("pin", ["root 00", "root x", "block " + "00" * 32, "root " + "00" * 32 + " more"])
def test_a_pin_that_is_none_is_refused(authority: Authority, granted: bytes, pin: str):
    with pytest.raises(FormatError, match="pins, line 1"):
        KINDS["rfc3161"](STATEMENT, evidence_of(authority, granted), parse_pins(f"rfc3161 tsa.example {pin}".encode()))


@pytest.mark.parametrize("evidence", [[], ["a", b""], ["a", b"", [0]], [0, b"", []], ["a", b"", b""], {}, "x"])
def test_evidence_that_is_none_is_refused(evidence):
    with pytest.raises(FormatError):
        KINDS["rfc3161"](STATEMENT, evidence, ())


def test_no_byte_can_be_changed_and_say_something_else(authority: Authority, granted: bytes):
    check, evidence = KINDS["rfc3161"], evidence_of(authority, granted)
    pins = parse_pins(f"rfc3161 tsa.example root {authority.root.fingerprint}".encode())
    proved, token = check(STATEMENT, evidence, pins), evidence[1]
    for at in range(0, len(token), 7):
        changed = bytearray(token)
        changed[at] ^= 1 << at % 8
        try:
            found = check(STATEMENT, ["tsa.example", bytes(changed), evidence[2]], pins)
        except FormatError:
            continue
        assert found == proved, at


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_comes_is_refused_in_words(authority: Authority, granted: bytes, data: st.DataObject):
    at = data.draw(st.integers(0, len(granted)))
    end = data.draw(st.integers(at, min(at + 40, len(granted))))
    sent = granted[:at] + data.draw(st.binary(max_size=12)) + granted[end:]
    with suppress(FormatError):
        accepted(authority, sent, request_for())


FROZEN = json.loads((Path(__file__).parents[1] / "vectors" / "stamps.json").read_text("utf-8"))


@pytest.mark.parametrize("kind", FROZEN)
def test_a_frozen_stamp_proves_what_it_did_whatever_the_date_is(kind: str):
    frozen = FROZEN[kind]
    root, response = bytes.fromhex(frozen["root"]), bytes.fromhex(frozen["response"])
    statement = Statement.of("henhouse-3.example.farm/1", 7, merkle.leaf_hash(b"a frozen root"))
    asked = Request.decode(bytes.fromhex(frozen["request"]))
    token, stamp = anchor_rfc3161.accept(statement, asked, response, [root], {Certificate(root).digest})
    assert (stamp.time_ms, stamp.digest.hex()) == (frozen["time_ms"], frozen["tst_info"])
    assert [one.name for one in stamp.chain] == frozen["chain"]
    found = KINDS["rfc3161"](statement, ["tsa.example", token, [root]], parse_pins(frozen["pin"].encode()))
    assert found.by and found.time_s == stamp.not_later_s
    assert 0 <= found.time_s * 1000 - frozen["time_ms"] - stamp.accuracy_ms < 1000


@pytest.fixture(scope="module")
def plain() -> tuple[Issued, Issued]:
    root = issue("root", authority=True)
    return root, issue("stamps", root, purposes=STAMPING)


@pytest.mark.parametrize(
    ("accuracy", "ms"),
    [
        (b"", 0),
        (der.sequence(), 0),
        (der.sequence(der.integer(3_600)), 3_600_000),
        (der.sequence(der.integer(1), b"\x80\x02\x01\xf4", b"\x81\x01\x01"), 1_501),
        (der.sequence(b"\x80\x01\x07"), 7),
    ],
)
def test_not_later_is_the_end_of_what_an_authority_vouches_for(
    authority: Authority, plain: tuple[Issued, Issued], accuracy: bytes, ms: int
):
    root, leaf = plain
    answer = plain_stamp(STATEMENT, leaf, NONCE, accuracy=accuracy)
    stamp = accepted(authority, answer, request_for(), root)
    assert stamp.accuracy_ms == ms
    assert 0 <= stamp.not_later_s * 1000 - stamp.time_ms - ms < 1000


@pytest.mark.parametrize(
    "accuracy",
    [
        der.sequence(der.integer(86_401)),
        der.sequence(b"\x02\x01\xff"),
        der.sequence(b"\x80\x02\x03\xe8"),
        der.sequence(der.integer(1), b"\x82\x01\x01"),
    ],
)
def test_an_accuracy_that_is_none(authority: Authority, plain: tuple[Issued, Issued], accuracy: bytes):
    root, leaf = plain
    with pytest.raises(FormatError):
        accepted(authority, plain_stamp(STATEMENT, leaf, NONCE, accuracy=accuracy), request_for(), root)


QC_STATEMENTS = "1.3.6.1.5.5.7.1.3"  # as EN 319 422 has it in qualified stamps


def test_an_extension_that_is_not_critical_is_passed_over(authority: Authority, plain: tuple[Issued, Issued]):
    root, leaf = plain
    accepted(authority, plain_stamp(STATEMENT, leaf, NONCE, extension=(QC_STATEMENTS, False)), request_for(), root)
    with pytest.raises(FormatError, match=rf"critical extension that is not known here \({QC_STATEMENTS}\)"):
        accepted(authority, plain_stamp(STATEMENT, leaf, NONCE, extension=(QC_STATEMENTS, True)), request_for(), root)


def test_a_root_that_signed_itself_with_sha_1_ends_a_claim_and_a_proof(tmp_path: Path):
    """Its signature over itself proves nothing; the pin does."""
    (tmp_path / "c.cnf").write_text("[req]\ndistinguished_name=dn\n[dn]\n[ca]\nbasicConstraints=critical,CA:TRUE\n")
    words = (
        "openssl req -x509 -newkey rsa:2048 -nodes -sha1 -subj /CN=root -config c.cnf -extensions ca -keyout k -out r"
    )
    subprocess.run(words.split(), cwd=tmp_path, check=True, capture_output=True)
    key = serialization.load_pem_private_key((tmp_path / "k").read_bytes(), None)
    root = Issued(x509.load_pem_x509_certificate((tmp_path / "r").read_bytes()), key)
    assert root.certificate.signature_hash_algorithm.name == "sha1"
    token = timestamp.token_in(plain_stamp(STATEMENT, issue("stamps", root, purposes=STAMPING), NONCE))
    pin = parse_pins(f"rfc3161 tsa.example root {root.fingerprint}".encode())
    for pins, by in (((), ""), (pin, "the pinned root root")):
        assert KINDS["rfc3161"](STATEMENT, ["tsa.example", token, [root.der]], pins).by == by


def test_openssl_reads_what_we_ask(tmp_path: Path):
    (tmp_path / "query").write_bytes(request_for(policy=OTHER_POLICY).encode())
    command = ["openssl", "ts", "-query", "-in", "query", "-text"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30)
    assert f"Policy OID: {OTHER_POLICY}" in told.stdout and "Certificate required: yes" in told.stdout
