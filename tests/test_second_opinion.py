"""The second opinion agrees with the gateway's own verifier: on every vector, and on receipts tampered with."""

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import second_opinion
from fakes import proofs
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import verify
from gateway.core import cbor, merkle, note, receipt
from gateway.core.block import leaf
from gateway.errors import FormatError, VerifyError

HERE = Path(__file__).parent
FROZEN = json.loads((HERE / "vectors" / "proofs.json").read_text())
POLICIES = {name: text.encode() for name, text in FROZEN["policies"].items()}
BASES = {frozen["name"]: (frozen["receipt"].encode(), POLICIES[frozen["policy"]]) for frozen in FROZEN["receipts"]}


def own(data: bytes, policy: bytes) -> object:
    """What the gateway's verifier says, in the words of the second opinion; None where it refuses."""
    try:
        found = verify.verify_receipt(data, policy)
    except (FormatError, VerifyError):
        return None
    return found.header.origin, found.header.height, found.index, found.reading.source, found.payload, found.earliest


def other(data: bytes, policy: bytes) -> object:
    try:
        return second_opinion.check(data, policy)
    except second_opinion.FAULTS:
        return None


def holds(check: Callable[[], object], faults: object = (FormatError, *second_opinion.FAULTS)) -> bool:
    try:
        check()
    except faults:  # type: ignore[misc]
        return False
    return True


def included(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> None:
    second_opinion.need(len(leaf) == len(root) == 32, "no hash")
    second_opinion.need(second_opinion.climb(leaf, index, size, path) == root, "another root")


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, path: list[bytes]) -> None:
    """RFC 9162 has no rule for size 0: here every tree extends the empty one, by an empty path."""
    second_opinion.need(0 <= old <= new, "no growing log")
    if old == 0:
        second_opinion.need((old_root, path) == (merkle.EMPTY_ROOT, []), "another beginning")
        second_opinion.need(new or new_root == merkle.EMPTY_ROOT, "another root of nothing")
    else:
        second_opinion.need(second_opinion.both(old, new, path, old_root) == (old_root, new_root), "another tree")


def test_it_is_short_and_independent() -> None:
    text = (HERE / "second_opinion.py").read_text()
    assert text.count("\n") <= 200
    imports = [line.split()[1] for line in text.split("\n") if line.startswith(("import ", "from "))]
    assert {name.partition(".")[0] for name in imports} == {
        "base64",
        "hashlib",
        "nacl",
        "pathlib",
        "re",
        "struct",
        "sys",
    }


@pytest.mark.parametrize("frozen", FROZEN["receipts"], ids=lambda frozen: frozen["name"])
def test_it_accepts_what_is_right(frozen: dict[str, str]) -> None:
    data, policy = frozen["receipt"].encode(), POLICIES[frozen["policy"]]
    assert other(data, policy) == own(data, policy) is not None


@pytest.mark.parametrize("frozen", FROZEN["refused"], ids=lambda frozen: frozen["name"])
def test_it_refuses_what_is_wrong(frozen: dict[str, str]) -> None:
    data, policy = frozen["receipt"].encode(), POLICIES[frozen["policy"]]
    assert other(data, policy) is own(data, policy) is None


@given(st.sampled_from(sorted(BASES)), st.data())
@settings(max_examples=400)
def test_both_agree_on_a_receipt_with_a_changed_byte(name: str, data: st.DataObject) -> None:
    text, policy = BASES[name]
    changed = bytearray(text)
    changed[data.draw(st.integers(0, len(text) - 1))] ^= data.draw(st.integers(1, 255))
    assert other(bytes(changed), policy) == own(bytes(changed), policy)


@given(st.sampled_from(sorted(BASES)), st.data())
@settings(max_examples=400)
def test_both_agree_on_an_extra_with_a_changed_byte(name: str, data: st.DataObject) -> None:
    text, policy = BASES[name]
    magic, extra, rest = text.split(b"\n", 2)
    changed = bytearray(base64.b64decode(extra.removeprefix(b"extra ")))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    tampered = magic + b"\nextra " + base64.b64encode(changed) + b"\n" + rest
    assert other(tampered, policy) == own(tampered, policy)


@given(st.sampled_from(sorted(BASES)), st.data())
@settings(max_examples=200)
def test_both_agree_on_a_policy_with_a_changed_byte(name: str, data: st.DataObject) -> None:
    text, policy = BASES[name]
    changed = bytearray(policy)
    changed[data.draw(st.integers(0, len(policy) - 1))] ^= data.draw(st.integers(1, 255))
    assert other(text, bytes(changed)) == own(text, bytes(changed))


@given(st.sampled_from(sorted(BASES)), st.data())
def test_both_agree_on_lines_left_out_or_repeated(name: str, data: st.DataObject) -> None:
    text, policy = BASES[name]
    lines = text.split(b"\n")
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at : at + 1] = [lines[at]] * data.draw(st.sampled_from([0, 2]))
    changed = b"\n".join(lines)
    assert other(changed, policy) == own(changed, policy)


# Packs that a gateway signed although it should not have: only section 2 is left to refuse them. Its limits on names,
# units and record times the second opinion leaves to the gateway, so it may accept more, and never less.

scalars = (
    st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats()
    | st.floats(width=16)
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.sampled_from(["henhouse-3/", "raw", "raw.sha256", 2**28, 2**28 - 1, 1.76e9 + 1 / 8, 0, 1, 2, -2, -3])
)
labels = st.sampled_from([0, 1, 2, 3, 4, 6, 8, 5, -2, -3, -1, "rt", "q", "x", "x_", "", b"b"])
records = st.dictionaries(labels, scalars, max_size=4)
good = st.fixed_dictionaries({-2: st.just("henhouse-3/"), -3: st.just(1.76e9), 2: st.just(1.5)})


@given(st.lists(records | good, max_size=3) | scalars, st.booleans())
@settings(max_examples=300)
def test_what_the_gateway_reads_the_second_opinion_reads(value: object, lead: bool) -> None:
    first = [{-2: "henhouse-3/", -3: 1_760_000_000, 3: "x"}]
    try:
        pack = cbor.encode((first + value) if lead and isinstance(value, list) else value)  # type: ignore[arg-type]
    except FormatError:
        return
    assert_same_verdict_on_pack(pack)


@given(st.integers(0, 8), st.data())
@settings(max_examples=300)
def test_what_the_gateway_reads_of_a_changed_pack_the_second_opinion_reads(index: int, data: st.DataObject) -> None:
    changed = bytearray(proofs.pack(2, index))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    assert_same_verdict_on_pack(bytes(changed))


def assert_same_verdict_on_pack(pack: bytes) -> None:
    class Sealed(proofs.Log):
        def pack(self, height: int, index: int) -> bytes:
            return pack

    log = Sealed([1])
    made = log.receipt(0, 0)
    assert made.leaf == leaf(proofs.secret(0), 0, pack)
    data = made.encode().encode()
    assert own(data, proofs.POLICY) in (None, other(data, proofs.POLICY))


@given(st.binary(max_size=40))
def test_both_agree_on_cbor(data: bytes) -> None:
    assert holds(lambda: second_opinion.cbor(data)) == holds(lambda: cbor.decode(data))


@given(st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(labels, inner, max_size=3)))
def test_both_read_the_same_cbor(value: object) -> None:
    try:
        data = cbor.encode(value)  # type: ignore[arg-type]
    except FormatError:
        return
    assert second_opinion.cbor(data) == cbor.decode(data)
    changed = bytearray(data)
    changed[len(data) // 2] ^= 0x20
    assert holds(lambda: second_opinion.cbor(bytes(changed))) == holds(lambda: cbor.decode(bytes(changed)))


# The standards' vectors


def hash_of(text: str) -> bytes:
    """A hash in a vector. Words like "don't care" stand for any hash and become one here; none at all stays none."""
    data = base64.b64decode(text)
    return data if len(data) in (0, 32) else hashlib.sha256(data).digest()


def test_both_agree_on_every_merkle_vector(vectors: Path) -> None:
    cases = sorted((vectors / "merkle" / "testdata").rglob("*.json"))
    for path in cases:
        case = json.loads(path.read_text())
        path_hashes = [hash_of(line) for line in case["proof"] or []]
        if "leafIdx" in case:
            leaf_hash, root = hash_of(case["leafHash"]), hash_of(case["root"])
            arguments = (leaf_hash, case["leafIdx"], case["treeSize"], path_hashes, root)
            verdicts = [holds(lambda f=f, a=arguments: f(*a)) for f in (included, merkle.verify_inclusion)]
            expected = not case["wantErr"]
        else:
            roots = hash_of(case["root1"]), hash_of(case["root2"])
            arguments = (case["size1"], case["size2"], *roots, path_hashes)
            verdicts = [holds(lambda f=f, a=arguments: f(*a)) for f in (consistent, merkle.verify_consistency)]
            expected = not case["wantErr"] if case["size1"] else verdicts[0]
        assert verdicts == [expected, expected], path
    assert len(cases) == 196


def test_both_agree_on_every_signature_vector(vectors: Path) -> None:
    from gateway.core import ed25519

    def accepts(public: bytes, message: bytes, signature: bytes) -> bool:
        return holds(lambda: second_opinion.signing.VerifyKey(public).verify(message, signature))

    cases = json.loads((vectors / "ed25519-cctv.json").read_text())
    cases = cases if isinstance(cases, list) else cases["tests"]
    for case in cases:
        public, signature = bytes.fromhex(case["key"]), bytes.fromhex(case["sig"])
        message = case["msg"].encode()
        assert accepts(public, message, signature) == ed25519.verify(public, message, signature), case


def test_both_agree_on_the_note_example(vectors: Path) -> None:
    example = json.loads((vectors / "c2sp" / "signed-note-example.json").read_text())
    text, lines = second_opinion.note(example["note"].encode())
    parsed = note.parse_note(example["note"])
    assert (text, lines) == (parsed.text, [((line.name, line.key_id), line.body) for line in parsed.lines])
    key, public = second_opinion.vkey(example["vkey"], 1)
    own_key = note.VerifierKey.parse(example["vkey"])
    assert (key, public) == ((own_key.name, own_key.key_id), own_key.public)


@given(st.integers(1, 40), st.data())
def test_both_agree_on_trees(size: int, data: st.DataObject) -> None:
    hashes = [merkle.leaf_hash(bytes([n])) for n in range(size)]
    index = data.draw(st.integers(0, size - 1))
    root = merkle.root(hashes)
    path = merkle.inclusion_path(hashes, index)
    assert second_opinion.climb(hashes[index], index, size, path) == root
    old = data.draw(st.integers(1, size))
    proof = merkle.consistency_path(hashes, old)
    assert second_opinion.both(old, size, proof, merkle.root(hashes[:old])) == (merkle.root(hashes[:old]), root)
    claims = (data.draw(st.integers(0, 50)), data.draw(st.integers(0, 50)))
    cut = path[: data.draw(st.integers(0, len(path)))]
    arguments = (hashes[index], *claims, cut, root)
    assert holds(lambda: included(*arguments)) == holds(lambda: merkle.verify_inclusion(*arguments))
    arguments2 = (*claims, merkle.root(hashes[:old]), root, proof)
    assert holds(lambda: consistent(*arguments2)) == holds(lambda: merkle.verify_consistency(*arguments2))


def test_it_is_a_command(tmp_path: Path) -> None:
    data, policy = BASES["payload apart, with an anchor"]
    (tmp_path / "receipt").write_bytes(data)
    (tmp_path / "policy").write_bytes(policy)
    command = [sys.executable, "-I", str(HERE / "second_opinion.py"), "receipt", "policy"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={}, check=False)
    assert run.returncode == 0
    assert run.stdout.startswith("accepted: henhouse-3.example.farm/1 2 5 henhouse-3 ")
    (tmp_path / "policy").write_bytes(POLICIES["another log"])
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={}, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith("refused: ")


def test_the_limits_of_a_receipt_are_the_same() -> None:
    data, policy = BASES["payload in the pack"]
    base = receipt.parse_receipt(data)
    for count in (16 - len(base.note.lines), 17 - len(base.note.lines)):
        lines = "".join(note.format_line(note.SignatureLine(f"n{i}", bytes(4), b"x")) for i in range(count))
        crowded = data + lines.encode()
        assert other(crowded, policy) == own(crowded, policy)
