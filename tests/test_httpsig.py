"""Signed reading requests: both forms, and everything that is refused (docs/format.md, section 9; RFC 9421)."""

import re
from collections.abc import Callable
from hashlib import sha256

import pytest
from fakes.log_maker import signer
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway import httpsig
from gateway.core import limits
from gateway.core.note import COSIGNATURE
from gateway.errors import AuthError, FormatError

NODE = signer("node.example/read")
OTHER = signer("other.example/read")
HERE = "gateway.example:8440"
NOW = 1_790_000_000


class Clocks:
    def __init__(self) -> None:
        self.wall: float | None = float(NOW)
        self.up = 1000.0

    def checker(self) -> httpsig.Checker:
        keys = {httpsig.key_name(key.vkey): key.vkey for key in (NODE, OTHER)}
        return httpsig.Checker(keys, lambda: self.wall, lambda: self.up, [HERE])


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def signed(by=NODE, path: str = "/blocks/7", query: str = "", **changes: object) -> dict[str, str]:
    fields = {"nonce": httpsig.fresh_nonce(), "created": NOW, "expires": NOW + 60} | changes
    return httpsig.sign(by, "GET", HERE, path, query, **fields)  # type: ignore[arg-type]


def check(checker: httpsig.Checker, headers, path: str = "/blocks/7", query: str = "", host: str = HERE, method="GET"):
    return checker.check(method, host, path, query, headers)


def refused(checker: httpsig.Checker, headers, *words: str, **request: str) -> AuthError:
    with pytest.raises(AuthError) as caught:
        check(checker, headers, **request)
    assert all(word in caught.value.what for word in words), caught.value.what
    return caught.value


def test_a_signed_request_tells_whose_it_is(clocks: Clocks) -> None:
    checker = clocks.checker()
    assert check(checker, signed()) == NODE.vkey
    assert check(checker, signed(OTHER)) == OTHER.vkey


def test_sign_now_is_what_a_checker_takes(clocks: Clocks) -> None:
    headers = httpsig.sign_now(NODE, "GET", HERE.upper(), "/receipts/hen", "at=12", now=NOW + 0.9)
    assert check(clocks.checker(), headers, path="/receipts/hen", query="at=12", host=HERE.upper()) == NODE.vkey


def test_the_signature_base_is_that_of_rfc_9421(clocks: Clocks) -> None:
    """The base put together by hand: an absent query is `?` (section 2.2.7)."""
    headers = signed(nonce="nonce-of-this-test")
    params = headers["Signature-Input"].removeprefix("fieldgate=")
    lines = ['"@method": GET', f'"@authority": {HERE}', '"@path": /blocks/7', '"@query": ?']
    base = "\n".join([*lines, f'"@signature-params": {params}'])
    assert params == (
        '("@method" "@authority" "@path" "@query");'
        f'created={NOW};keyid="{httpsig.key_name(NODE.vkey)}";expires={NOW + 60};nonce="nonce-of-this-test";'
        'tag="fieldgate-read"'
    )
    import base64

    made = base64.b64decode(headers["Signature"].removeprefix("fieldgate=:").removesuffix(":"))
    assert made == NODE.sign(base.encode())


@pytest.mark.parametrize(
    "changed",
    [
        {"path": "/blocks/8"},
        {"path": "/blocks/7/"},
        {"query": "x=1"},
        {"query": "?"},
        {"method": "HEAD"},
        {"method": "POST"},
    ],
)
def test_a_signature_is_for_one_request(clocks: Clocks, changed: dict[str, str]) -> None:
    refused(clocks.checker(), signed(), **changed)


@pytest.mark.parametrize("host", ["", "evil.example", "gateway.example", f"{HERE}:1", "a@b", f"{HERE}/", "é:8440"])
def test_only_our_own_authorities_are_answered(clocks: Clocks, host: str) -> None:
    headers = httpsig.sign_now(NODE, "GET", host, "/blocks/7", now=NOW) if host == "evil.example" else signed()
    refused(clocks.checker(), headers, "another authority", host=host)


@pytest.mark.parametrize("created", [NOW - 60, NOW + 60])
def test_created_at_the_limit(clocks: Clocks, created: int) -> None:
    assert check(clocks.checker(), signed(created=created, expires=created + 60)) == NODE.vkey


@pytest.mark.parametrize("created", [NOW - 61, NOW + 61, 0, 2**40, -1])
def test_created_past_the_limit(clocks: Clocks, created: int) -> None:
    headers = raw(f';created={created};expires={max(created, NOW) + 60};nonce="0123456789";keyid="KEY";tag="TAG"')
    refused(clocks.checker(), headers, "created")


def test_expired(clocks: Clocks) -> None:
    headers = signed(created=NOW, expires=NOW + 10)
    checker = clocks.checker()
    clocks.wall = NOW + 10.0
    assert check(checker, headers) == NODE.vkey
    headers = signed(created=NOW, expires=NOW + 10)
    clocks.wall = NOW + 10.1
    refused(checker, headers, "expired")


@pytest.mark.parametrize("expires", [NOW + 61, NOW - 1, 10**15 - 1])
def test_expires_outside_of_what_created_allows(clocks: Clocks, expires: int) -> None:
    headers = raw(f';created={NOW};expires={expires};nonce="0123456789";keyid="KEY";tag="TAG"')
    refused(clocks.checker(), headers, "expires")


def raw(params: str, components: str = '"@method" "@authority" "@path" "@query"', label: str = "fieldgate", by=NODE):
    """A signature made by hand, so that it can be wrong where the library would not let it."""
    import base64

    params = params.replace("KEY", httpsig.key_name(by.vkey)).replace("TAG", httpsig.TAG)
    values = {'"@method"': "GET", '"@authority"': HERE, '"@path"': "/blocks/7", '"@query"': "?", '"@scheme"': "https"}
    lines = [f"{name}: {values.get(name, 'x')}" for name in components.split()]
    base = "\n".join([*lines, f'"@signature-params": ({components}){params}'])
    signature = base64.b64encode(by.sign(base.encode())).decode()
    return {"Signature-Input": f"{label}=({components}){params}", "Signature": f"{label}=:{signature}:"}


GOOD = f';created={NOW};expires={NOW + 60};nonce="0123456789";keyid="KEY";tag="TAG"'


def test_raw_makes_good_ones(clocks: Clocks) -> None:
    assert check(clocks.checker(), raw(GOOD)) == NODE.vkey
    assert check(clocks.checker(), raw(GOOD + ';alg="ed25519"', label="another-label")) == NODE.vkey


@pytest.mark.parametrize(
    ("params", "word"),
    [
        (GOOD.replace('nonce="0123456789";', ""), "nonce"),
        (GOOD.replace("0123456789", "short"), "nonce"),
        (GOOD.replace("0123456789", "x" * 129), "nonce"),
        (GOOD.replace("0123456789", "blank in it"), "nonce"),
        (GOOD.replace('"0123456789"', "12345678901"), ""),
        (GOOD.replace('"TAG"', '"another"'), "tag"),
        (GOOD.replace(';tag="TAG"', ""), "tag"),
        (GOOD.replace('keyid="KEY";', ""), "keyid"),
        (GOOD.replace("KEY", "node.example/read+00000000"), "key"),
        (GOOD.replace(f"created={NOW};", ""), "created"),
        (GOOD.replace(f"expires={NOW + 60};", ""), "expires"),
        (GOOD.replace(f"created={NOW}", f"created={NOW}.5"), ""),
        (GOOD.replace(f"created={NOW}", f'created="{NOW}"'), ""),
        (GOOD.replace(f"created={NOW}", "created"), ""),
        (GOOD + ';alg="rsa-pss-sha512"', ""),
        (GOOD + ';surprise="1"', "surprise"),
        (GOOD + ';keyid="KEY2"', ""),
    ],
)
def test_parameters_that_are_refused(clocks: Clocks, params: str, word: str) -> None:
    refused(clocks.checker(), raw(params), word)


@pytest.mark.parametrize(
    "components",
    [
        "",
        '"@method" "@authority" "@path"',
        '"@authority" "@path" "@query"',
        '"@method" "@authority" "@path" "@query" "@scheme"',
        '"@method" "@authority" "@path" "@path" "@query"',
        '"@method" "@authority" "@path" "@query";req',
        '"@method" "@authority" "@path" "@target-uri"',
        "1 2 3 4",
    ],
)
def test_exactly_our_components_are_covered(clocks: Clocks, components: str) -> None:
    refused(clocks.checker(), raw(GOOD, components))


def test_the_order_of_components_is_free(clocks: Clocks) -> None:
    assert check(clocks.checker(), raw(GOOD, '"@query" "@path" "@authority" "@method"')) == NODE.vkey


def test_another_readers_keyid_does_not_fit(clocks: Clocks) -> None:
    forged = raw(GOOD.replace("KEY", httpsig.key_name(OTHER.vkey)))
    refused(clocks.checker(), forged)


def test_a_replayed_nonce_is_refused_until_it_has_expired_and_after(clocks: Clocks) -> None:
    checker, headers = clocks.checker(), signed()
    check(checker, headers)
    refused(checker, headers, "used before")
    refused(checker, signed(path="/blocks/8", nonce=nonce_of(headers)), "used before", path="/blocks/8")
    clocks.wall, clocks.up = NOW + 60.0, clocks.up + 60.0
    refused(checker, headers, "used before")
    clocks.wall, clocks.up = NOW + 60.5, clocks.up + 60.5
    refused(checker, headers, "too far")


def nonce_of(headers: dict[str, str]) -> str:
    found = re.search(r'nonce="([^"]*)"', headers["Signature-Input"])
    assert found
    return found[1]


def test_one_readers_nonces_are_not_anothers(clocks: Clocks) -> None:
    checker = clocks.checker()
    headers = signed()
    assert check(checker, headers) == NODE.vkey
    assert check(checker, signed(OTHER, nonce=nonce_of(headers))) == OTHER.vkey


def test_a_refused_request_does_not_use_up_its_nonce(clocks: Clocks) -> None:
    checker, headers = clocks.checker(), signed()
    refused(checker, headers, path="/blocks/8")
    check(checker, headers)


def test_when_nonces_are_full_it_refuses_rather_than_forgets(clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NONCES_REMEMBERED", 3)
    checker = clocks.checker()
    used = [signed(expires=NOW + 30 + n) for n in range(3)]
    for headers in used:
        check(checker, headers)
    refused(checker, signed(), "too many")
    refused(checker, used[0], "used before")
    assert check(checker, signed(OTHER)) == OTHER.vkey  # another reader has room of its own
    clocks.wall, clocks.up = NOW + 30.5, clocks.up + 30.5  # the first has expired
    check(checker, signed(created=NOW + 30, expires=NOW + 90))
    refused(checker, signed(created=NOW + 30, expires=NOW + 90), "too many")


def test_the_rate_of_a_reader_never_fills_its_nonces() -> None:
    valid_s = 2 * limits.SIGNATURE_AGE_S
    assert limits.PULL_BURST + limits.PULL_RATE_PER_S * valid_s < limits.NONCES_REMEMBERED


@pytest.mark.parametrize("name", ["Signature", "signature-input", "HOST"])
def test_headers_that_decide_come_once(clocks: Clocks, name: str) -> None:
    lines = CIMultiDict({**signed(), "Host": HERE})
    check(clocks.checker(), lines)
    lines.add(name, lines[name])
    refused(clocks.checker(), lines, "twice")


def test_several_signatures_are_refused(clocks: Clocks) -> None:
    first, second = raw(GOOD), raw(GOOD, label="second", by=OTHER)
    both = {name: f"{first[name]}, {second[name]}" for name in first}
    refused(clocks.checker(), both)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Signature": "fieldgate=:AAAA:"},
        {"Signature-Input": "fieldgate=()"},
        {"Signature-Input": "", "Signature": ""},
        {"Signature-Input": "fieldgate=1", "Signature": "fieldgate=1"},
        {"Signature-Input": "a=()", "Signature": "b=:AAAA:"},
        {"Signature-Input": "\x00", "Signature": "fieldgate=:AAAA:"},
        {"Signature-Input": "fieldgate=(" + '"@path" ' * 200 + ")", "Signature": "fieldgate=:AAAA:"},
        {"Signature-Input": "f=()", "Signature": "f=:" + "A" * 2000 + ":"},
    ],
)
def test_malformed_headers(clocks: Clocks, headers: dict[str, str]) -> None:
    refused(clocks.checker(), headers)


@settings(max_examples=300)
@given(st.text(max_size=80), st.text(max_size=80))
def test_no_header_breaks_the_checker(inputs: str, signature: str) -> None:
    with pytest.raises(AuthError):
        check(Clocks().checker(), {"Signature-Input": inputs, "Signature": signature})


@settings(max_examples=300)
@given(st.data())
def test_no_changed_byte_is_taken(data: st.DataObject) -> None:
    headers = signed(nonce="0123456789")
    name = data.draw(st.sampled_from(sorted(headers)))
    at = data.draw(st.integers(0, len(headers[name]) - 1))
    char = data.draw(st.characters(min_codepoint=33, max_codepoint=126))
    changed = headers | {name: headers[name][:at] + char + headers[name][at + 1 :]}
    label = "=" not in headers[name][:at]  # the label is not signed (RFC 9421, section 7.2.5)
    padding = name == "Signature" and headers[name][at + 1 :] == "==:"  # four bits of this letter mean nothing
    if changed != headers and not label and not padding:
        refused(Clocks().checker(), changed)


# -- the challenge form -----------------------------------------------------------------------------------------------


def challenge(checker: httpsig.Checker, headers=None) -> str:
    error = refused(checker, headers or {})
    assert error.challenge is not None
    nonce = httpsig.challenge_nonce(error.challenge)
    assert nonce is not None
    return nonce


def answer(nonce: str, **changes: object) -> dict[str, str]:
    return signed(nonce=nonce, **({"created": None, "expires": None} | changes))


def test_without_a_clock_a_challenge_is_sent_and_its_answer_taken_once(clocks: Clocks) -> None:
    clocks.wall = None
    checker = clocks.checker()
    nonce = challenge(checker, signed())
    headers = answer(nonce)
    assert "created" not in headers["Signature-Input"]
    assert "expires" not in headers["Signature-Input"]
    assert check(checker, headers) == NODE.vkey
    error = refused(checker, headers, "used before")
    assert error.challenge is not None
    assert httpsig.challenge_nonce(error.challenge) != nonce


def test_a_challenge_ends_after_30_seconds(clocks: Clocks) -> None:
    clocks.wall = None
    checker = clocks.checker()
    early, late = challenge(checker), challenge(checker)
    clocks.up += limits.CHALLENGE_AGE_S
    assert check(checker, answer(early)) == NODE.vkey
    clocks.up += 0.01
    refused(checker, answer(late), "too old")
    refused(checker, answer(early), "")


@pytest.mark.parametrize("changes", [{"created": NOW, "expires": NOW + 60}])
def test_without_a_clock_dates_are_refused(clocks: Clocks, changes: dict[str, int]) -> None:
    clocks.wall = None
    checker = clocks.checker()
    refused(checker, answer(challenge(checker), **changes), "not synchronised")
    nonce = challenge(checker)
    refused(checker, raw(f';created={NOW};nonce="{nonce}";keyid="KEY";tag="TAG"'), "not synchronised")
    refused(checker, raw(f';expires={NOW};nonce="{nonce}";keyid="KEY";tag="TAG"'), "not synchronised")


def test_with_a_clock_the_challenge_form_is_refused(clocks: Clocks) -> None:
    clocks.wall = None
    checker = clocks.checker()
    nonce = challenge(checker)
    clocks.wall = float(NOW)
    error = refused(checker, answer(nonce), "created")
    assert error.challenge is None


@pytest.mark.parametrize("make", [lambda nonce: "0" * 64, lambda nonce: nonce[:-2], lambda nonce: nonce + "00"])
def test_invented_nonces_are_refused(clocks: Clocks, make: Callable[[str], str]) -> None:
    clocks.wall = None
    checker = clocks.checker()
    refused(checker, answer(make(challenge(checker))), "not one that was issued")


def test_no_bit_of_a_challenge_can_be_changed(clocks: Clocks) -> None:
    clocks.wall = None
    checker = clocks.checker()
    nonce = challenge(checker)
    for at in range(len(nonce)):
        other = nonce[:at] + format(int(nonce[at], 16) ^ 1, "x") + nonce[at + 1 :]
        refused(checker, answer(other), "not one that was issued")
    refused(checker, answer(nonce.upper()), "not one that was issued")
    check(checker, answer(nonce))


def test_another_checkers_challenge_is_refused(clocks: Clocks) -> None:
    clocks.wall = None
    refused(clocks.checker(), answer(challenge(clocks.checker())), "not one that was issued")


def test_asking_for_challenges_takes_no_memory(clocks: Clocks) -> None:
    clocks.wall = None
    checker = clocks.checker()
    first = challenge(checker)
    for _ in range(500):
        refused(checker, {})
    assert check(checker, answer(first)) == NODE.vkey  # no other pushed it out


@pytest.mark.parametrize(
    "value",
    [
        "",
        "fieldgate=()",
        'other=("@method" "@authority" "@path" "@query");nonce="0123456789";tag="fieldgate-read"',
        'fieldgate=("@method" "@authority" "@path");nonce="0123456789";tag="fieldgate-read"',
        'fieldgate=("@method" "@authority" "@path" "@query");tag="fieldgate-read"',
        'fieldgate=("@method" "@authority" "@path" "@query");nonce="0123456789";tag="other"',
        'fieldgate=("@method" "@authority" "@path" "@query");nonce="a b c d e f";tag="fieldgate-read"',
        'fieldgate=("@method" "@authority" "@path" "@query");nonce="' + "0" * 2000 + '";tag="fieldgate-read"',
    ],
)
def test_challenges_that_are_none(value: str) -> None:
    assert httpsig.challenge_nonce(value) is None


def test_a_challenge_may_name_a_key_and_ask_in_another_order() -> None:
    value = 'fieldgate=("@query" "@method" "@authority" "@path");keyid="x";tag="fieldgate-read";nonce="0123456789"'
    assert httpsig.challenge_nonce(value) == "0123456789"


# -- our own mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"created": NOW, "expires": None},
        {"created": None, "expires": NOW},
        {"path": "blocks/7"},
        {"path": "/bl ocks"},
        {"path": "/ü"},
        {"expires": 2**50},
        {"nonce": "quote\nnewline"},
    ],
)
def test_a_request_that_cannot_be_signed(wrong: dict[str, object]) -> None:
    with pytest.raises(AuthError):
        signed(**wrong)  # type: ignore[arg-type]


def test_a_checker_takes_read_keys_only() -> None:
    seen = signer("node.example", COSIGNATURE).vkey
    with pytest.raises(FormatError):
        httpsig.Checker({httpsig.key_name(seen): seen}, lambda: None, lambda: 0.0, [HERE])
    with pytest.raises(FormatError):
        httpsig.Checker({"another name": NODE.vkey}, lambda: None, lambda: 0.0, [HERE])


def test_key_name_and_target() -> None:
    key = NODE.vkey
    expected = sha256(b"node.example/read\n\x01" + key.public).digest()[:4].hex()
    assert httpsig.key_name(key) == f"node.example/read+{expected}"
    assert httpsig.split_target("/receipts/a?at=1?2") == ("/receipts/a", "at=1?2")
    assert httpsig.split_target("/checkpoint") == ("/checkpoint", "")
