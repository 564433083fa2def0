"""SM2 signatures as this machine makes them: engines held against each other and against the standard's key."""

import subprocess
import sys

import pytest
from gmssl import sm2 as gmssl

from gateway import sm2 as signing
from gateway.core import der
from gateway.core.curves import SM2, SM2_ID
from gateway.errors import BugError, EngineError, FormatError

SECRET = bytes.fromhex("3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8")  # GB/T 32918.5, A.2
PUBLIC = bytes.fromhex(
    "0409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
    "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
)


@pytest.fixture(params=["libcrypto", "gmssl"])
def engine(request):
    return {"libcrypto": signing._libcrypto, "gmssl": signing._gmssl}[request.param]()


def test_an_engine_knows_the_standards_key(engine):
    assert engine.public(SECRET) == PUBLIC


@pytest.mark.parametrize("message", [b"", b"a", bytes(32), b"long " * 1000])
@pytest.mark.parametrize("identity", [SM2_ID, b"someone@example"])
def test_what_an_engine_signs_verifies_under_its_id(engine, message, identity):
    signature = engine.sign(SECRET, message, identity)
    assert signing.verify(PUBLIC, message, signature, identity)
    assert not signing.verify(PUBLIC, message, signature, identity + b".")
    assert engine.sign(SECRET, message, identity) != signature


def test_another_implementation_takes_it(engine):
    oracle = gmssl.CryptSM2(private_key="", public_key=PUBLIC[1:].hex())
    signature = engine.sign(SECRET, b"to whom it may concern", SM2_ID)
    assert oracle.verify_with_sm3(
        "".join(f"{number:064x}" for number in der.read_signature(signature)), b"to whom it may concern"
    )


def test_openssl_comes_first_and_is_found_once():
    found = signing.engine()
    assert found is not None and found.name == "libcrypto" and signing.engine() is found


@pytest.mark.parametrize("secret", [b"", bytes(32), bytes(31) + b"\1\1", b"\xff" * 32, (SM2.n - 1).to_bytes(32, "big")])
def test_what_is_no_secret_is_refused(secret):
    with pytest.raises(FormatError):
        signing.Key(secret)


@pytest.mark.parametrize("secret", [bytes(31) + b"\1", (SM2.n - 2).to_bytes(32, "big")])
def test_the_smallest_and_the_largest_secret_sign(secret):
    key = signing.Key(secret)
    assert signing.verify(key.public, b"m", key.sign(b"m"))


def test_new_secrets_sign_and_differ():
    secrets = {signing.generate() for _ in range(8)}
    assert len(secrets) == 8
    for secret in secrets:
        assert signing.verify(signing.Key(secret).public, b"m", signing.Key(secret).sign(b"m"))


@pytest.mark.parametrize("signature", [b"", b"0", bytes(72)])
@pytest.mark.parametrize("public", [b"", bytes(65), PUBLIC[1:]])
def test_what_has_no_form_does_not_verify(public, signature):
    assert not signing.verify(public, b"m", signature)


def test_a_key_shows_nothing_of_its_secret():
    key = signing.Key(SECRET)
    assert SECRET.hex() not in repr(key) and PUBLIC.hex() in repr(key)
    with pytest.raises(BugError):
        key.__reduce__()


BARE = """
import ctypes, sys
sys.modules["gmssl"] = None
def absent(name, *rest, **more): raise OSError(name)
ctypes.CDLL = absent
from gateway import sm2
from gateway.errors import EngineError
assert sm2.engine() is None
try: sm2.Key(sm2.generate())
except EngineError as error: print(error)
"""


def test_a_machine_without_any_engine_says_so():
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("nothing on this machine makes SM2 signatures"), done.stderr


def test_openssl_without_the_curve_says_so():
    """A secret of zero is refused by OpenSSL as its own key would be where the curve is left out."""
    with pytest.raises(EngineError, match="no SM2"):
        signing._libcrypto().sign(bytes(32), b"m", SM2_ID)
