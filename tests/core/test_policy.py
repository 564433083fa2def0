"""Policies: what each line may be, and which co-signers are enough."""

from itertools import chain, combinations

import pytest
from fakes import proofs
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import limits
from gateway.core.note import COSIGNATURE, ED25519, VerifierKey
from gateway.core.policy import Policy, make_policy, parse_policy
from gateway.errors import FormatError

LOG = str(proofs.LOG.vkey)
A, B, C = (proofs.signer(f"{name}.example", COSIGNATURE).vkey for name in "abc")


def parse(*lines: str) -> Policy:
    return parse_policy("".join(f"{line}\n" for line in lines).encode())


def enough(policy: Policy) -> set[str]:
    """The sets of A, B and C that satisfy the policy, each as its letters."""
    letters = {"a": A, "b": B, "c": C}
    subsets = chain.from_iterable(combinations(letters, n) for n in range(4))
    return {"".join(some) for some in subsets if policy.satisfied({letters[letter] for letter in some})}


WITNESSES = (f"witness a {A}", f"witness b {B}", f"witness c {C}")


@pytest.mark.parametrize(
    ("rules", "satisfied"),
    [
        (["quorum none"], {"", "a", "b", "c", "ab", "ac", "bc", "abc"}),
        (["quorum b"], {"b", "ab", "bc", "abc"}),
        (["group g any a b", "quorum g"], {"a", "b", "ab", "ac", "bc", "abc"}),
        (["group g all a b c", "quorum g"], {"abc"}),
        (["group g 2 a b c", "quorum g"], {"ab", "ac", "bc", "abc"}),
        (["group g 3 a b c", "quorum g"], {"abc"}),
        (["group g any a b", "group h all g c", "quorum h"], {"ac", "bc", "abc"}),
        (["group g all a b", "group h 1 g c", "quorum h"], {"c", "ab", "ac", "bc", "abc"}),
        (["group g any a", "quorum c"], {"c", "ac", "bc", "abc"}),
    ],
)
def test_who_is_enough(rules: list[str], satisfied: set[str]) -> None:
    assert enough(parse(f"log {LOG}", *WITNESSES, *rules)) == satisfied


def test_white_space_comments_and_urls() -> None:
    policy = parse(
        "",
        " \t ",
        "# a comment",
        "  \t# ünother log other \x7e",
        f"\tlog\t{LOG}  https://a.example/ ",
        f"witness ä {A} https://[::1]:8441/ü",
        "quorum\tä",
    )
    assert policy.logs == (proofs.LOG.vkey,)
    assert policy.satisfied({A})
    assert not policy.satisfied({B})


def test_names_are_octets() -> None:
    data = f"log {LOG}\n".encode() + b"witness \xff " + str(A).encode() + b"\nwitness K " + str(B).encode()
    data += "\nwitness \u212a ".encode() + str(C).encode() + b"\ngroup g all \xff \xe2\x84\xaa\nquorum g\n"
    assert enough(parse_policy(data)) == {"ac", "abc"}
    assert parse_policy(data).asks_for().encode("utf-8")


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["quorum a"],
        ["quorum"],
        ["quorum none none"],
        ["quorum none", "quorum none"],
        ["quorum a", *WITNESSES],
        [*WITNESSES, "quorum d"],
        ["log", "quorum none"],
        [f"log {LOG} url more", "quorum none"],
        [f"log {A}", "quorum none"],
        [f"log {LOG}", f"log {LOG}", "quorum none"],
        [f"log {LOG[:-1]}", "quorum none"],
        [f"witness {A}", "quorum none"],
        [f"witness a {LOG}", "quorum none"],
        [f"witness a {A} url more", "quorum none"],
        [f"witness none {A}", "quorum none"],
        [f"witness a {A}", f"witness a {B}", "quorum none"],
        [f"witness a {A}", f"witness b {A}", "quorum none"],
        ["group g any", "quorum none"],
        ["group g", "quorum none"],
        [*WITNESSES, "group a any b", "quorum a"],
        [*WITNESSES, "group g any g", "quorum g"],
        [*WITNESSES, "group g any none", "quorum g"],
        [*WITNESSES, "group none any a", "quorum none"],
        [*WITNESSES, "group g any a a", "quorum g"],
        [*WITNESSES, "group g any a", "group h any a", "quorum h"],
        [*WITNESSES, "group g any h", "group h any a", "quorum g"],
        [*WITNESSES, "group g 0 a b", "quorum g"],
        [*WITNESSES, "group g 3 a b", "quorum g"],
        [*WITNESSES, "group g 02 a b", "quorum g"],
        [*WITNESSES, "group g -1 a b", "quorum g"],
        [*WITNESSES, "group g some a b", "quorum g"],
        ["Quorum none"],
        ["quorum none\r"],
        ["quorum none\x0b"],
        ["quorum none # a comment"],
        ["quorum none", "# \x7f"],
        ["quorum none", "# \x00"],
        ["other", "quorum none"],
        ["quorum\u00a0none"],
    ],
)
def test_what_is_no_policy_is_refused(lines: list[str]) -> None:
    with pytest.raises(FormatError):
        parse(*lines)


def test_one_key_under_two_names_is_one_key() -> None:
    renamed = VerifierKey.make("another/1", ED25519, proofs.LOG.vkey.public)
    with pytest.raises(FormatError, match="twice"):
        parse(f"log {LOG}", f"log {renamed}", "quorum none")
    renamed = VerifierKey.make("another", COSIGNATURE, A.public)
    with pytest.raises(FormatError, match="twice"):
        parse(f"witness a {A}", f"witness b {renamed}", "quorum none")


def test_a_fault_names_its_line() -> None:
    with pytest.raises(FormatError, match="policy, line 3: ") as raised:
        parse(f"log {LOG}", "", "witness a", "quorum none")
    assert raised.value.cure


def test_a_policy_cut_within_a_line_is_refused() -> None:
    whole = proofs.POLICY
    for length in range(len(whole)):
        with pytest.raises(FormatError):
            parse_policy(whole[:length])


@given(st.integers(0, len(proofs.POLICY_ALL) - 1), st.integers(1, 255))
def test_a_changed_byte_never_asks_for_less(place: int, change: int) -> None:
    data = bytearray(proofs.POLICY_ALL)
    data[place] ^= change
    try:
        policy = parse_policy(bytes(data))
    except FormatError:
        return
    trusted = {proofs.COOP.vkey, proofs.STORED.vkey, proofs.VET.vkey}
    fewer = [trusted - {key} for key in trusted]
    assert not any(policy.satisfied(some) for some in fewer) or b"group cosigners all" not in data


def test_the_limits_of_a_policy() -> None:
    filler = b"#" * (limits.POLICY_BYTES - len("quorum none\n") - 1) + b"\n"
    assert parse_policy(filler + b"quorum none\n").quorum == "none"
    with pytest.raises(FormatError, match="longer than"):
        parse_policy(b"#" + filler + b"quorum none\n")
    groups = [f"group g{i} any {'a' if i == 0 else f'g{i - 1}'}" for i in range(limits.POLICY_NAMES)]
    deep = parse(f"witness a {A}", *groups[:-1], "quorum g1022")
    assert deep.satisfied({A})
    assert not deep.satisfied({B})
    with pytest.raises(FormatError, match="more than"):
        parse(f"witness a {A}", *groups, "quorum a")
    logs = [VerifierKey.make("a/1", ED25519, i.to_bytes(32, "big")) for i in range(limits.POLICY_NAMES + 1)]
    assert len(parse_policy(make_policy(logs[:-1])).logs) == limits.POLICY_NAMES
    with pytest.raises(FormatError, match="more than"):
        make_policy(logs)


def test_a_policy_is_made() -> None:
    assert enough(parse_policy(make_policy([proofs.LOG.vkey], [A, B, C], 2))) == {"ab", "ac", "bc", "abc"}
    assert enough(parse_policy(make_policy([proofs.LOG.vkey], [A, B, C]))) == {"abc"}
    assert enough(parse_policy(make_policy([proofs.LOG.vkey], [A, B], "any"))) == {"a", "b", "ab", "ac", "bc", "abc"}
    assert "" in enough(parse_policy(make_policy([proofs.LOG.vkey], [A], "none")))
    assert "" in enough(parse_policy(make_policy([proofs.LOG.vkey])))
    for witnesses, quorum in [([], 1), ([A], 2), ([A], 0), ([], "any"), ([A], "most")]:
        with pytest.raises(FormatError):
            make_policy([proofs.LOG.vkey], witnesses, quorum)
    assert parse_policy(make_policy([], [A, B], 1)).asks_for() == "1 of a.example, b.example"
