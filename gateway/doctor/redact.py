"""What may leave the device for support: texts and values without secrets, known ones and what looks like one."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from gateway.config import words
from gateway.core.note import VerifierKey
from gateway.core.text import secrets_of_address, without_path
from gateway.errors import FormatError

HIDDEN = "(not shown)"
_PLAIN = 4  # characters from which a secret is looked for within words
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_KEY = re.compile(r"PRIVATE\+KEY\+\S*")
_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,15}://)[^\s\"'<>]*@")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+\S+")
_PRIVATE = r"(?:key|pass|secret|token|credential|private|auth)[\w.-]{0,64}"
_ASSIGNED = re.compile(rf"(?im)({_PRIVATE}[\"']?[ \t]*[:=][ \t]*)(.*)$")
_REFERENCE = re.compile(
    r"[\"']?(file:/[^\s\"',;]*|env:[A-Za-z_][A-Za-z0-9_]*|credential:[A-Za-z0-9._-]+)[\"']?(?=[\s,;]|$)"
)
_VKEY = re.compile(r"[\"']?([^\s\"']+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+)[\"']?(?=[\s,;]|$)")


class Redactor:
    """secrets: those that are known; they go wherever they stand, also escaped."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
        parts = [re.escape(form) if len(form) >= _PLAIN else rf"(?<!\w){re.escape(form)}(?!\w)" for form in forms]
        self._known = re.compile("|".join(parts)) if parts else None

    def text(self, text: str) -> str:
        """Any text: a log, a message."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        text = _KEY.sub(HIDDEN, _PEM.sub(HIDDEN, text))
        text = _BEARER.sub(HIDDEN, _USER.sub(r"\1...@", text))
        return _ASSIGNED.sub(_assigned, text)

    def value(self, value: Any, path: words.Path = ()) -> Any:
        """A value of JSON or TOML, with all that is in it."""
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(one, (*path, str(key))) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(one, path) for one in value]
        if not isinstance(value, str):
            return HIDDEN if words.is_private(path[-1:]) and not isinstance(value, bool | None) else value
        if words.is_private(path) and not _is_public(value):
            return HIDDEN
        return self.text(without_path(value) if _is_address(path, value) else value)

    def listing(self, table: Mapping[str, Any]) -> str:
        """A configuration as one line for each value: what stands in comments is left out."""
        return "".join(
            f"{words.dotted(path)} = {json.dumps(one, default=str)}\n" for path, one in _flat(self.value(table))
        )


def secrets_in_addresses(table: Mapping[str, Any]) -> list[str]:
    """What of a configuration's addresses of chains may be one: to be looked for elsewhere."""
    found = [value for path, value in _flat(table) if isinstance(value, str) and _is_address(path, value)]
    return [secret for address in found for secret in secrets_of_address(address)]


def _is_address(path: words.Path, value: str) -> bool:
    """Whether it is that of a chain, whose path and query may be secrets (gateway/anchors/http.py)."""
    return "://" in value and words.is_of_anchor(path)


def _assigned(found: re.Match[str]) -> str:
    """`name = value` whose name says that it is private: kept where the value is the place of a secret, or public."""
    name, rest = found[1], found[2]
    if not rest:
        return found[0]
    kept = _REFERENCE.match(rest) or _public(rest)
    if kept is None and name.strip().casefold() == "credential:":
        kept = re.match(r"\S+", rest)
    if kept is None:
        return name + HIDDEN
    return name + kept[0] + _ASSIGNED.sub(_assigned, rest[kept.end() :])


def _public(text: str) -> re.Match[str] | None:
    found = _VKEY.match(text)
    return found if found and _is_public(found[1]) else None


def _is_public(value: str) -> bool:
    """The place of a secret, or a verifier key, or nothing."""
    if not value or _REFERENCE.fullmatch(value):
        return True
    try:
        VerifierKey.parse(value)
    except FormatError:
        return False
    return True


def _forms(secret: str) -> Iterator[str]:
    """A secret as it may be written: as it is, in JSON, in a URL; each line and each part of a key's line."""
    for line in [secret, *secret.splitlines()]:
        for form in (line, json.dumps(line)[1:-1], repr(line)[1:-1], quote(line, safe="")):
            if form.strip():
                yield form
        if line.startswith("PRIVATE+KEY+"):
            yield line.split("+", 4)[-1]  # base64, which has that character too


def _flat(table: Mapping[str, Any], path: words.Path = ()) -> Iterator[tuple[words.Path, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, (*path, key))
        else:
            yield (*path, key), value
