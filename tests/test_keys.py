"""Private keys: made once, read by nobody else, never shown."""

import copy
import os
import pickle
import stat
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from fakes import proofs
from hypothesis import given
from hypothesis import strategies as st

from gateway import keys
from gateway.core import block, ed25519, limits, note
from gateway.core.note import COSIGNATURE, ED25519, Checkpoint, VerifierKey, b64encode
from gateway.errors import BugError, FormatError, KeyFileError

# The test key of golang.org/x/mod/sumdb/note, published with its documentation.
GO_SIGNER = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "log.key"
    keys.write_key(path, keys.generate(proofs.ORIGIN))
    return path


def test_the_encoding_is_that_of_go() -> None:
    signer = keys.parse_key(GO_SIGNER, where="")
    assert str(signer.vkey) == GO_VERIFIER
    parsed = note.parse_note(GO_NOTE)
    note.verify_note(parsed, signer.vkey)
    assert signer.sign(parsed.text.encode()) == parsed.lines[0].body


@given(st.binary(min_size=32, max_size=32), st.sampled_from([ED25519, COSIGNATURE]))
def test_a_key_comes_back(seed: bytes, algorithm: int) -> None:
    text = keys.encode_key("a.example/1", algorithm, seed)
    signer = keys.parse_key(text, where="")
    assert signer.vkey.algorithm == algorithm
    assert keys.encode_key("a.example/1", algorithm, seed) == text
    assert ed25519.verify(signer.vkey.public, b"message", signer.sign(b"message"))
    assert signer.sign(b"message") == signer.sign(b"message")


def test_two_new_keys_are_different() -> None:
    assert keys.generate("a") != keys.generate("a")


def test_a_key_file_is_its_owners_alone(key_file: Path) -> None:
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    signer = keys.open_signer(f"file:{key_file}")
    assert signer.vkey.name == proofs.ORIGIN
    assert signer.vkey.algorithm == ED25519


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        keys.write_key(tmp_path / "key", keys.generate("a"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_key_file_is_never_overwritten(key_file: Path, tmp_path: Path) -> None:
    text = key_file.read_text()
    with pytest.raises(KeyFileError, match="already"):
        keys.write_key(key_file, keys.generate("a"))
    assert key_file.read_text() == text
    dangling = tmp_path / "link"
    dangling.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError, match="already"):
        keys.write_key(dangling, keys.generate("a"))
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        keys.write_key(tmp_path / "absent" / "key", keys.generate("a"))
    full = (
        "import resource, pathlib; from gateway import keys, errors\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "try: keys.write_key(pathlib.Path('key'), keys.generate('a'))\n"
        "except errors.KeyFileError as exc: print(exc)\n"
    )
    run = subprocess.run([sys.executable, "-c", full], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "File too large" in run.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666, 0o777])
def test_a_key_that_others_can_read_is_refused(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(KeyFileError) as raised:
        keys.open_signer(f"file:{key_file}")
    assert f"chmod 600 {key_file}" in str(raised.value)
    assert f"{mode:04o}" in str(raised.value)
    key_file.chmod(0o400)
    assert keys.open_signer(f"file:{key_file}")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    for path in (fifo, tmp_path, tmp_path / "absent", Path("/dev/null")):
        with pytest.raises(KeyFileError, match=str(path)) as caught:
            keys.read_secret(f"file:{path}")
        assert caught.value.cure


def test_the_size_of_a_secret_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("x" * limits.KEY_FILE_BYTES)
    path.chmod(0o600)
    assert len(keys.read_secret(f"file:{path}")) == limits.KEY_FILE_BYTES
    path.write_text("x" * (limits.KEY_FILE_BYTES + 1))
    with pytest.raises(KeyFileError, match="longer than") as caught:
        keys.read_secret(f"file:{path}")
    assert caught.value.cure
    assert keys.read_secret("env:P", environment={"P": "x" * limits.KEY_FILE_BYTES})
    with pytest.raises(KeyFileError, match="longer than"):
        keys.read_secret("env:P", environment={"P": "x" * (limits.KEY_FILE_BYTES + 1)})


@pytest.mark.parametrize(
    ("data", "secret"),
    [(b"word", "word"), (b"word\n", "word"), (b"word\r\n", "word"), (b" w \n", " w "), ("wörd\n".encode(), "wörd")],
)
def test_a_password_is_one_line(tmp_path: Path, data: bytes, secret: str) -> None:
    path = tmp_path / "password"
    path.write_bytes(data)
    path.chmod(0o600)
    assert keys.read_secret(f"file:{path}") == secret


@pytest.mark.parametrize("data", [b"", b"\n", b"one\ntwo\n", b"one\n\n", b"a\0b", b"w\xffrd"])
def test_what_is_no_password_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "password"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="a secret is one line") as caught:
        keys.read_secret(f"file:{path}")
    assert caught.value.cure


def test_a_secret_of_the_environment_is_handed_in() -> None:
    text = keys.generate("a.example/1")
    os.environ["FIELDGATE_TEST_KEY"] = text
    try:
        with pytest.raises(KeyFileError, match="not set"):
            keys.open_signer("env:FIELDGATE_TEST_KEY")
        assert keys.open_signer("env:FIELDGATE_TEST_KEY", environment=os.environ).vkey.name == "a.example/1"
    finally:
        del os.environ["FIELDGATE_TEST_KEY"]


def test_a_credential_comes_from_its_folder(tmp_path: Path, key_file: Path) -> None:
    key_file.chmod(0o440)  # as a service manager's access list shows it
    assert keys.open_signer("credential:log.key", credentials=tmp_path).vkey.name == proofs.ORIGIN
    with pytest.raises(KeyFileError, match="LoadCredential"):
        keys.open_signer("credential:log.key")
    for name in ("../log.key", "/etc/passwd", "..", "."):
        with pytest.raises(KeyFileError, match="without a path") as caught:
            keys.open_signer(f"credential:{name}", credentials=tmp_path / "deeper")
        assert caught.value.cure


@pytest.mark.parametrize("uri", ["", "hunter2", "file:", "env:", "pkcs11:token=x", "FILE:/x", "/etc/fieldgate/log.key"])
def test_a_name_of_no_secret_is_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(KeyFileError) as raised:
        keys.read_secret(uri)
    assert "hunter2" not in str(raised.value)
    assert "file:/path" in str(raised.value)


# Secrets are never shown


def everything_about(error: BaseException) -> str:
    shown = [str(error), repr(error), "".join(traceback.format_exception(error))]
    cause: BaseException | None = error
    while cause is not None:
        shown += [repr(vars(cause)), repr(cause.args)]
        cause = cause.__cause__ or cause.__context__
    return " ".join(shown)


@given(st.data())
def test_a_malformed_key_is_not_shown(data: st.DataObject) -> None:
    text = GO_SIGNER
    secret = text.split("+", 4)[4]
    place = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.characters(exclude_categories=["Cs"], exclude_characters=text[place]))
    changed = data.draw(st.sampled_from([text[:place] + put + text[place + 1 :], text[:place], text[place + 1 :]]))
    with pytest.raises(KeyFileError) as raised:
        keys.parse_key(changed, where="file:/somewhere")
    shown = everything_about(raised.value)
    pieces = {secret[i : i + 6] for i in range(len(secret) - 5)}
    assert not any(piece in shown for piece in pieces)


def test_a_signer_shows_its_public_half_only() -> None:
    seed = proofs.seed("shown")
    signer = keys.parse_key(keys.encode_key("a.example/1", ED25519, seed), where="")
    shown = f"{signer} {signer!r} {[signer]}"
    assert str(signer.vkey) in shown
    for hidden in (seed.hex(), b64encode(seed), b64encode(b"\x01" + seed), repr(seed)[2:-1]):
        assert hidden not in shown
    assert not hasattr(signer, "__dict__")
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(BugError):
            attempt(signer)


# What is signed


def test_a_checkpoint_is_signed_by_its_log_alone() -> None:
    checkpoint = Checkpoint(proofs.ORIGIN, 1, bytes(32))
    signed = keys.sign_checkpoint(proofs.LOG, checkpoint)
    note.verify_note(signed, proofs.LOG.vkey)
    cosigner = keys.parse_key(keys.encode_key(proofs.ORIGIN, COSIGNATURE, proofs.seed("x")), where="")
    for signer in (proofs.signer("another/1"), cosigner):
        with pytest.raises(BugError):
            keys.sign_checkpoint(signer, checkpoint)


def test_an_entry_is_signed_by_its_log_alone() -> None:
    header = proofs.Log([1]).headers[0].encode()
    entry = block.parse_entry(keys.sign_entry(proofs.LOG, header))
    entry.verify(proofs.LOG.vkey.public)
    assert entry.raw == proofs.Log([1]).entries[0]
    cosigner = keys.parse_key(keys.encode_key(proofs.ORIGIN, COSIGNATURE, proofs.seed("x")), where="")
    for signer in (proofs.signer("another/1"), cosigner):
        with pytest.raises(BugError):
            keys.sign_entry(signer, header)
    with pytest.raises(FormatError):
        keys.sign_entry(proofs.LOG, b"no header")


def test_a_cosignature_is_made_by_cosigners_alone() -> None:
    line = keys.cosign(proofs.COOP, "text\n", 5)
    assert note.verify_cosignature("text\n", line, proofs.COOP.vkey) == 5
    with pytest.raises(BugError):
        keys.cosign(proofs.LOG, "text\n", 5)


def test_a_key_needs_a_name_that_notes_can_carry() -> None:
    for name in ("", "a b", "a+b"):
        with pytest.raises(FormatError):
            keys.generate(name)
    assert isinstance(keys.parse_key(keys.generate("a"), where="").vkey, VerifierKey)


def test_what_stands_where_a_uri_points_whoever_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "open"
    path.write_text("two\nlines\n")
    path.chmod(0o644)
    assert keys.text_of(f"file:{path}") == "two\nlines"
    assert keys.text_of("credential:open", credentials=tmp_path) == "two\nlines"
    assert keys.text_of("env:X", environment={"X": "x"}) == "x"
    for uri in ("", "nothing", "env:Y", f"file:{tmp_path}", "file:/no/such", "credential:a/b", "credential:open"):
        assert keys.text_of(uri) == ""
