"""Making SM2 signatures with SM3 (GB/T 32918.2-2016), by whatever this machine has for it.

`libcrypto`
    the system's OpenSSL 3 through ctypes: about 0.5 ms a signature, in constant time
`gmssl`
    PyPI's package, in Python (the extra `sm2`): about 10 ms, and its time depends on the key. Its own random numbers
    are not fit for secrets, so the system's are handed to it

Some systems leave SM2 out of their OpenSSL, so each engine signs once and is checked before it is taken. Every
signature is checked before it is handed out.
"""

import ctypes
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import byref, c_char_p, c_int, c_long, c_size_t, c_void_p
from functools import cache, partial
from importlib import import_module
from typing import Any, NamedTuple

from gateway.core import curves, der
from gateway.core.curves import SM2, SM2_ID
from gateway.core.sm3 import sm3
from gateway.errors import BugError, EngineError, FormatError

SECRET_BYTES, PUBLIC_BYTES = 32, 65

_PKCS8 = bytes.fromhex("3041020100301306072a8648ce3d020106082a811ccf5501822d042730250201010420")
"""The head of a PrivateKeyInfo (RFC 5208) of an id-ecPublicKey on sm2p256v1; the 32 bytes of the secret follow."""

_DER_BYTES = 72  # of the longest signature

_CURE = "Use a system whose OpenSSL 3 has SM2, or pip install 'gmssl<4'"


def verify(public: bytes, message: bytes, signature: bytes, identity: bytes = SM2_ID) -> bool:
    """Whether a DER signature is `public`'s (65 bytes) over `message`. False for any other form of either."""
    try:
        return curves.is_sm2(SM2.point(public), message, *der.read_signature(signature), identity=identity)
    except FormatError:
        return False


class Engine(NamedTuple):
    """What signs. `public`: secret to public key; `sign`: secret, message and id to a DER signature."""

    name: str
    public: Callable[[bytes], bytes]
    sign: Callable[[bytes, bytes, bytes], bytes]


class Key:
    """A private key of 32 bytes. `public` is its other half, 65 bytes; the secret is shown nowhere."""

    __slots__ = ("_engine", "_secret", "public")

    def __init__(self, secret: bytes) -> None:
        """FormatError unless the secret is 32 bytes and from 1 to n - 2; EngineError where nothing here can sign."""
        if len(secret) != SECRET_BYTES or not 0 < int.from_bytes(secret, "big") < SM2.n - 1:
            raise FormatError("an SM2 secret is 32 bytes, and a number from 1 to n - 2")
        self._secret, self._engine = secret, wanted()
        self.public = self._engine.public(secret)

    def sign(self, message: bytes, identity: bytes = SM2_ID) -> bytes:
        """A DER signature over `message`, another one each time."""
        signature = self._engine.sign(self._secret, message, identity)
        if not verify(self.public, message, signature, identity):
            raise EngineError("an SM2 signature that was made does not verify", cure="Examine this machine's memory")
        return signature

    def __repr__(self) -> str:
        return f"<SM2 key {self.public.hex()}>"

    def __reduce__(self) -> str:
        raise BugError("a private key is not copied or pickled")


def generate() -> bytes:
    """A new secret, from the system's random numbers."""
    return (1 + secrets.randbelow(SM2.n - 2)).to_bytes(SECRET_BYTES, "big")


@cache
def engine() -> Engine | None:
    """The first engine that signs here; None where none does. Found out once in a process, in some milliseconds."""
    for begin in (_libcrypto, _gmssl):
        try:
            if _works(candidate := begin()):
                return candidate
        except (OSError, AttributeError, ImportError, EngineError):
            continue
    return None


def wanted() -> Engine:
    """The engine. EngineError where there is none."""
    found = engine()
    if found is None:
        raise EngineError("nothing on this machine makes SM2 signatures", cure=_CURE)
    return found


def _works(candidate: Engine) -> bool:
    secret = generate()
    signature = candidate.sign(secret, b"fieldgate", SM2_ID)
    return verify(candidate.public(secret), b"fieldgate", signature)


def _libcrypto() -> Engine:
    """OSError where there is no libcrypto.so.3, AttributeError where it lacks a function."""
    lib = ctypes.CDLL("libcrypto.so.3")
    _declare(lib)
    return Engine("libcrypto", partial(_openssl_public, lib), partial(_openssl_sign, lib))


@contextmanager
def _opened(lib: Any, secret: bytes) -> Iterator[Any]:
    """The secret as OpenSSL's EVP_PKEY, which works out its public half."""
    der = _PKCS8 + secret
    key = lib.d2i_AutoPrivateKey(None, byref(c_char_p(der)), len(der))
    try:
        _held(lib, bool(key))
        yield key
    finally:
        lib.EVP_PKEY_free(key)


def _openssl_public(lib: Any, secret: bytes) -> bytes:
    with _opened(lib, secret) as key:
        made = c_void_p()
        length = lib.EVP_PKEY_get1_encoded_public_key(key, byref(made))
        try:
            _held(lib, length == PUBLIC_BYTES)
            return ctypes.string_at(made, length)
        finally:
            lib.CRYPTO_free(made, None, 0)


def _openssl_sign(lib: Any, secret: bytes, message: bytes, identity: bytes) -> bytes:
    with _opened(lib, secret) as key:
        context, digest = lib.EVP_PKEY_CTX_new(key, None), lib.EVP_MD_CTX_new()
        try:
            length = c_size_t(_DER_BYTES)
            made = ctypes.create_string_buffer(_DER_BYTES)
            _held(lib, bool(context and digest))
            _held(lib, lib.EVP_PKEY_CTX_set1_id(context, identity, len(identity)) == 1)
            lib.EVP_MD_CTX_set_pkey_ctx(digest, context)
            _held(lib, lib.EVP_DigestSignInit(digest, None, lib.EVP_sm3(), None, key) == 1)
            _held(lib, lib.EVP_DigestSign(digest, made, byref(length), message, len(message)) == 1)
            return made.raw[: length.value]
        finally:
            lib.EVP_MD_CTX_free(digest)
            lib.EVP_PKEY_CTX_free(context)


def _held(lib: Any, good: bool) -> None:
    if not good:
        lib.ERR_clear_error()
        raise EngineError("OpenSSL on this machine has no SM2", cure=_CURE)


def _declare(lib: Any) -> None:
    """Results and arguments, without which ctypes cuts pointers to 32 bits."""
    p = c_void_p
    for name, result, arguments in (
        ("d2i_AutoPrivateKey", p, [p, p, c_long]),
        ("EVP_PKEY_get1_encoded_public_key", c_size_t, [p, p]),
        ("CRYPTO_free", None, [p, c_char_p, c_int]),
        ("EVP_sm3", p, []),
        ("EVP_PKEY_CTX_new", p, [p, p]),
        ("EVP_PKEY_CTX_set1_id", c_int, [p, c_char_p, c_int]),
        ("EVP_MD_CTX_new", p, []),
        ("EVP_MD_CTX_set_pkey_ctx", None, [p, p]),
        ("EVP_DigestSignInit", c_int, [p, p, p, p, p]),
        ("EVP_DigestSign", c_int, [p, p, p, c_char_p, c_size_t]),
        ("EVP_MD_CTX_free", None, [p]),
        ("EVP_PKEY_CTX_free", None, [p]),
        ("EVP_PKEY_free", None, [p]),
        ("ERR_clear_error", None, []),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments


def _gmssl() -> Engine:
    """ImportError where the package is not installed."""
    crypt = import_module("gmssl.sm2").CryptSM2
    return Engine("gmssl", partial(_gmssl_public, crypt), partial(_gmssl_sign, crypt))


def _gmssl_public(crypt: Any, secret: bytes) -> bytes:
    key = crypt(private_key="", public_key="")
    return b"\x04" + bytes.fromhex(key._kg(int.from_bytes(secret, "big"), key.ecc_table["g"]))


def _gmssl_sign(crypt: Any, secret: bytes, message: bytes, identity: bytes) -> bytes:
    key, public = crypt(private_key=secret.hex(), public_key=""), _gmssl_public(crypt, secret)
    digest = sm3(curves.sm2_za(SM2.point(public), identity) + message)
    made = None
    while made is None:  # as long as r or s would be 0
        made = key.sign(digest, generate().hex())
    return der.signature(int(made[:64], 16), int(made[64:], 16))
