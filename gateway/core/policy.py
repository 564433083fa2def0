"""Whom a verifier trusts: a C2SP `tlog-policy` file (docs/format.md, section 10).

A policy lists logs by their keys, witnesses by name and key, groups of them, and the one name whose agreement makes a
checkpoint good. Names are octets without a meaning outside the file.
"""

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass

from gateway.core.limits import POLICY_BYTES, POLICY_NAMES
from gateway.core.note import COSIGNATURE, ED25519, VerifierKey, decimal
from gateway.core.text import plain
from gateway.errors import FormatError

_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")

NONE = "none"
"""The quorum that asks for no co-signature."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness under the name that the policy gives it."""

    name: str
    key: VerifierKey


@dataclass(frozen=True, slots=True)
class Group:
    """Agrees when at least `threshold` of its members, witnesses or groups, do."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy. `groups` stand in the order of their lines: members before the groups that name them."""

    logs: tuple[VerifierKey, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: str

    def satisfied(self, cosigners: Set[VerifierKey]) -> bool:
        """Whether valid co-signatures by these keys meet the quorum."""
        if self.quorum == NONE:
            return True
        agreed = {witness.name for witness in self.witnesses if witness.key in cosigners}
        for group in self.groups:
            if sum(member in agreed for member in group.members) >= group.threshold:
                agreed.add(group.name)
        return self.quorum in agreed

    def asks_for(self) -> str:
        """The quorum in words."""
        if self.quorum == NONE:
            return "no co-signature"
        group = next((group for group in self.groups if group.name == self.quorum), None)
        if group is None:
            return f"a co-signature of {plain(self.quorum)}"
        return f"{group.threshold} of {', '.join(map(plain, group.members))}"


def parse_policy(data: bytes) -> Policy:
    """The policy in a file of at most POLICY_BYTES and POLICY_NAMES names; a FormatError names the line."""
    if len(data) > POLICY_BYTES:
        raise FormatError(f"a policy of {len(data)} bytes is longer than {POLICY_BYTES}")
    if not data.endswith(b"\n"):
        raise FormatError("a policy ends in a newline", cure="It may have been cut short: get it again, whole")
    reader = _Reader()
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            reader.read(line)
        except FormatError as exc:
            raise FormatError(exc.what, where=f"policy, line {number}", cure=exc.cure) from exc
    return reader.policy()


class _Reader:
    """What the lines so far have said."""

    def __init__(self) -> None:
        self.logs: dict[bytes, VerifierKey] = {}
        self.witnesses: dict[bytes, Witness] = {}
        self.groups: list[Group] = []
        self.free: dict[str, bool] = {}  # defined names: may it still become a member?
        self.quorum: str | None = None

    def read(self, line: bytes) -> None:
        if _FORBIDDEN.search(line):
            raise FormatError("a control character other than a tab")
        items = [item.decode("utf-8", "surrogateescape") for item in line.split()]
        match items:
            case []:
                return
            case [first, *_] if first.startswith("#"):
                return
            case ["log", vkey] | ["log", vkey, _]:
                self._log(vkey)
            case ["witness", name, vkey] | ["witness", name, vkey, _]:
                self._witness(name, vkey)
            case ["group", name, threshold, *members] if members:
                self._group(name, threshold, tuple(members))
            case ["quorum", name]:
                self._quorum(name)
            case _:
                raise FormatError(
                    "this is neither `log`, `witness`, `group` nor `quorum` with what belongs to it",
                    cure="Write a comment with # at its beginning",
                )

    def policy(self) -> Policy:
        if self.quorum is None:
            raise FormatError("a policy has one line `quorum`", cure="Write `quorum none` to ask for no co-signature")
        return Policy(tuple(self.logs.values()), tuple(self.witnesses.values()), tuple(self.groups), self.quorum)

    def _log(self, text: str) -> None:
        key = _key(text, ED25519, "log")
        if key.public in self.logs:
            raise FormatError(f"the key of log {plain(key.name)} is listed twice")
        self._count(len(self.logs))
        self.logs[key.public] = key

    def _witness(self, name: str, text: str) -> None:
        key = _key(text, COSIGNATURE, "witness")
        if key.public in self.witnesses:
            raise FormatError(f"the key of witness {plain(name)} is listed twice")
        self._define(name)
        self.witnesses[key.public] = Witness(name, key)

    def _group(self, name: str, threshold: str, members: tuple[str, ...]) -> None:
        for member in members:
            if not self.free.get(member):
                known = member in self.free
                raise FormatError(f"{plain(member)} {'is a member already' if known else 'is not defined above'}")
            self.free[member] = False
        least = {"any": 1, "all": len(members)}.get(threshold) or decimal(threshold, "a group's threshold")
        if not 1 <= least <= len(members):
            raise FormatError(f"a group of {len(members)} cannot ask for {least}")
        self._define(name)
        self.groups.append(Group(name, least, members))

    def _quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise FormatError("a second line `quorum`")
        if name != NONE and name not in self.free:
            raise FormatError(f"{plain(name)} is not defined above")
        self.quorum = name

    def _define(self, name: str) -> None:
        if name == NONE or name in self.free:
            raise FormatError(f"the name {plain(name)} is taken")
        self._count(len(self.free))
        self.free[name] = True

    @staticmethod
    def _count(defined: int) -> None:
        if defined >= POLICY_NAMES:
            raise FormatError(f"more than {POLICY_NAMES} names")


def _key(text: str, algorithm: int, role: str) -> VerifierKey:
    key = VerifierKey.parse(text)
    if key.algorithm != algorithm:
        raise FormatError(
            f"the key {plain(key.name)} has algorithm 0x{key.algorithm:02x}; a {role}'s is 0x{algorithm:02x}"
        )
    return key


def make_policy(logs: Sequence[VerifierKey], witnesses: Sequence[VerifierKey] = (), quorum: int | str = "all") -> bytes:
    """A policy file, its witnesses named after their keys.

    `quorum` is how many of them must have co-signed, `any`, `all`, or `none`; all of no witnesses is none.
    """
    lines = [f"log {key}" for key in logs]
    lines += [f"witness {key.name} {key}" for key in witnesses]
    if quorum == NONE or (quorum == "all" and not witnesses):
        lines.append(f"quorum {NONE}")
    else:
        lines.append(" ".join(["group cosigners", str(quorum), *(key.name for key in witnesses)]))
        lines.append("quorum cosigners")
    text = "".join(f"{line}\n" for line in lines).encode()
    parse_policy(text)
    return text
