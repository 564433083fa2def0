"""A key sealed to a TPM 2.0, and a counter in it that only goes up, both through Debian's tpm2-tools.

One line of text, which is of no use without the TPM that made it::

    TPM-KEY 1 <vkey> ecc-p256 <index of the counter in hex, or -> <base64 of the public part> <of the private part>

The seed is a sealed object under a primary key of the owner hierarchy, which the TPM makes anew from the template each
time: after `tpm2_clear`, or in another TPM, it is another one, and nothing opens. Both are outside the dictionary
attack protection, so wrong guesses of other programs lock nothing here. Seed and counter go through pipes, never
through an argument or a file; what is put into files meanwhile the TPM has encrypted.
"""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from gateway.core.limits import TPM_ANSWER_S
from gateway.core.note import VerifierKey, b64decode, b64encode
from gateway.errors import FormatError, KeyFileError
from gateway.keys.signer import SeedSigner, Signer, parse_key, seed_of

DEVICE: Final = "device:/dev/tpmrm0"
_HEAD, _VERSION, _PARENT = "TPM-KEY", "1", "ecc-p256"
_PATH: Final = "/usr/bin:/bin"
_PRIMARY: Final = "restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda"
_SEALED: Final = "fixedtpm|fixedparent|userwithauth|noda"
_COUNTS: Final = "nt=counter|ownerread|ownerwrite|authread|authwrite|no_da"
_INDEXES: Final = range(0x018F_1000, 0x018F_1040)  # of the owner's; one for each log of a machine
_CODE = re.compile(r"\(0x([0-9A-Fa-f]+)\)")
_SAFE = (
    "Put the card back into the machine whose TPM sealed it; or name the copy of the key from its safe place, "
    'key = "file:/path"; without either, `fieldgate recover --new-epoch` begins a log of another key'
)
_ABSENT = (
    "Is it plugged in and switched on (Raspberry Pi: dtoverlay=tpm-slb9670), and may the gateway use it (group tss, "
    "DeviceAllow=/dev/tpmrm0: deploy/systemd/tpm.conf)? The key itself is not lost"
)
_ROOM: Final = "Free some space in /tmp, or some memory. The key itself is not lost"
_NO_HANDLE: Final = 0x08B
_REFUSALS: Final = {  # TPM 2.0 Library, part 2, 6.6.3, without the number of the parameter, handle or session
    0x09F: ("this TPM did not seal this key: it was cleared, or it is another one", _SAFE),
    0x921: (
        "the TPM is locked out, after too many wrong passwords",
        "Wait until it takes some again, or as root: tpm2_dictionarylockout --clear-lockout. The key is not lost",
    ),
    0x0A2: (
        "the owner of the TPM has a password, which a gateway does not know",
        "As root: tpm2_changeauth -c owner -p PASSWORD sets an empty one",
    ),
    _NO_HANDLE: ("the counter is not in the TPM: it was cleared, or it is another one", _SAFE),
    0x14A: ("the counter in the TPM has never counted", _SAFE),
}


class TpmKey(NamedTuple):
    """A key sealed to a TPM, as its line has it. counter: None where it has none."""

    vkey: VerifierKey
    counter: int | None
    public: bytes
    private: bytes


def is_tpm_key(text: str) -> bool:
    """Whether a text is meant to be such a key."""
    return text.startswith(f"{_HEAD} ")


def parse(text: str, *, where: str) -> TpmKey:
    """What the line tells. KeyFileError where it is none."""
    try:
        head, version, vkey, parent, index, public, private = text.strip("\n").split(" ")
        counter = None if index == "-" else int(index, 16)
        made = TpmKey(VerifierKey.parse(vkey), counter, b64decode(public, "public"), b64decode(private, "private"))
    except (ValueError, FormatError):
        head, version, parent, counter = "", "", "", None
    if (head, version, parent) != (_HEAD, _VERSION, _PARENT) or counter not in (None, *_INDEXES):
        raise KeyFileError(
            "this is not a key sealed to a TPM, of a version that is known here",
            where=where,
            cure="`fieldgate key seal --tpm` makes one; or install the version that sealed it",
        )
    return made


class Tpm:
    """A TPM that is reached by a TCTI, such as device:/dev/tpmrm0. Blocking; KeyFileError for whatever it refuses."""

    def __init__(self, tcti: str = DEVICE) -> None:
        self._tcti = tcti

    def seal(self, text: str, counter: int | None) -> str:
        """The line, with its newline, of a key's line sealed to this TPM."""
        signer = parse_key(text, where="the key")
        with _folder() as folder:
            self._primary(folder)
            self._make(folder, "tpm2_create", "-i", "-", "-u", "pub", "-r", "priv", "-a", _SEALED, given=seed_of(text))
            parts = [b64encode((folder / part).read_bytes()) for part in ("pub", "priv")]
        index = "-" if counter is None else f"{counter:08x}"
        return " ".join([_HEAD, _VERSION, str(signer.vkey), _PARENT, index, *parts]) + "\n"

    def unseal(self, text: str, *, where: str) -> Signer:
        """The signer in such a line."""
        kept = parse(text, where=where)
        try:
            with _folder() as folder:
                (folder / "pub").write_bytes(kept.public)
                (folder / "priv").write_bytes(kept.private)
                self._primary(folder)
                self._make(folder, "tpm2_load", "-u", "pub", "-r", "priv", "-c", "key")
                seed = self._run(folder, "tpm2_unseal", "-c", "key")
                self._flush(folder)
            signer = SeedSigner(kept.vkey.name, kept.vkey.algorithm, seed)
        except (KeyFileError, ValueError) as error:
            told = error if isinstance(error, KeyFileError) else KeyFileError("what was sealed is no key", cure=_SAFE)
            raise KeyFileError(told.what, where=where, cure=told.cure) from None
        if signer.vkey != kept.vkey:
            what = f"the file says that it holds {kept.vkey}, and holds another key"
            raise KeyFileError(what, where=where, cure="Somebody changed it: seal the copy from its safe place again")
        return signer

    def new_counter(self) -> int:
        """Makes a counter in the first index that is free, and counts once; the index."""
        told = self._run(None, "tpm2_getcap", "handles-nv-index").decode().split()
        taken = {int(word, 16) for word in told if word.startswith("0x")}
        index = next((one for one in _INDEXES if one not in taken), None)
        if index is None:
            raise KeyFileError("the TPM has no index left for a counter", cure="Free one: tpm2_nvundefine -C o INDEX")
        self._run(None, "tpm2_nvdefine", hex(index), "-C", "o", "-s", "8", "-a", _COUNTS)
        Counter(self, index).move()
        return index

    def read_counter(self, index: int) -> int:
        """How far it has counted."""
        return int.from_bytes(self._run(None, "tpm2_nvread", hex(index), "-C", "o", "-s", "8"), "big")

    def move_counter(self, index: int) -> None:
        """Counts one up, for good."""
        self._run(None, "tpm2_nvincrement", hex(index), "-C", "o")

    def _primary(self, folder: Path) -> None:
        self._make(folder, "tpm2_createprimary", "-C", "o", "-g", "sha256", "-G", "ecc", "-a", _PRIMARY, "-c", "parent")

    def _make(self, folder: Path, tool: str, *words: str, given: bytes = b"") -> None:
        parent = () if tool == "tpm2_createprimary" else ("-C", "parent")
        self._run(folder, tool, *parent, *words, given=given)
        self._flush(folder)

    def _flush(self, folder: Path) -> None:
        """Without a resource manager what was loaded stays in the TPM, which has room for three."""
        if not self._tcti.startswith("device:/dev/tpmrm"):
            self._run(folder, "tpm2_flushcontext", "-t")

    def _run(self, folder: Path | None, tool: str, *words: str, given: bytes = b"") -> bytes:
        quiet = [] if tool in ("tpm2_unseal", "tpm2_getcap", "tpm2_nvread", "tpm2_flushcontext") else ["-Q"]
        try:
            done = subprocess.run(  # noqa: S603 -- words of our own
                [tool, *quiet, *words],
                cwd=folder,
                env={"PATH": _PATH, "TPM2TOOLS_TCTI": self._tcti, "LANG": "C"},
                input=given,
                capture_output=True,
                timeout=TPM_ANSWER_S,
                check=False,
            )
        except FileNotFoundError:
            raise KeyFileError("tpm2-tools is not installed", cure="sudo apt install tpm2-tools") from None
        except OSError as error:
            raise KeyFileError(f"{tool} cannot be run: {error.strerror}", cure=_ROOM) from None
        except subprocess.TimeoutExpired:
            what = f"the TPM does not answer within {TPM_ANSWER_S:.0f} s"
            raise KeyFileError(what, where=self._tcti, cure=_ABSENT) from None
        if done.returncode:
            raise self._refusal(tool, done.stderr.decode("utf-8", "replace"))
        return done.stdout

    def _refusal(self, tool: str, told: str) -> KeyFileError:
        if "Could not load tcti" in told:
            return KeyFileError("there is no TPM that can be reached", where=self._tcti, cure=_ABSENT)
        codes = [int(code, 16) for code in _CODE.findall(told)]
        bare = [key for code in codes for key in (code, _bare(code))]
        known = next(
            (_REFUSALS[key] for key in bare if key in _REFUSALS and (key != _NO_HANDLE or "_nv" in tool)), None
        )
        if known is not None:
            return KeyFileError(known[0], where=self._tcti, cure=known[1])
        last = f"0x{codes[-1]:x}" if codes else "no code"
        what = f"the TPM refuses {tool} ({last})"
        return KeyFileError(what, where=self._tcti, cure=f"`tpm2_rc_decode {last}` tells what that is")


@contextmanager
def _folder() -> Iterator[Path]:
    """For what the tools hand to one another: sealed blobs and public parts."""
    try:
        with TemporaryDirectory(prefix="fieldgate-tpm-") as name:
            yield Path(name)
    except OSError as error:
        raise KeyFileError(f"a folder for the TPM's tools cannot be used: {error.strerror}", cure=_ROOM) from None


def _bare(code: int) -> int:
    """A format-one code without the number of what it is about (TPM 2.0 Library, part 2, 6.6.3)."""
    return code & 0xBF if code & 0x80 else code


class Counter:
    """A counter in a TPM that only goes up. Blocking; KeyFileError."""

    def __init__(self, tpm: Tpm, index: int) -> None:
        self._tpm, self.index = tpm, index

    def read(self) -> int:
        """How far it has counted."""
        return self._tpm.read_counter(self.index)

    def move(self) -> int:
        """Counts one up; how far it has counted then."""
        self._tpm.move_counter(self.index)
        return self.read()
