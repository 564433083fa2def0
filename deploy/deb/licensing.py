"""Under which licences the parts may be handed on: an SPDX expression for each, and Debian's copyright file."""

import textwrap
from collections.abc import Iterable
from pathlib import Path

from deb import ROOT
from deb.lock import LockError
from deb.wheels import Part

_TEXTS = Path(__file__).with_name("licences")
"""Texts that a wheel lacks, by the distribution's name."""

_NAMED = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: MIT License": "MIT",
    "MIT License": "MIT",
}
"""What authors write, where one thing only can be meant."""

_READ = {"aiomqtt": "BSD-3-Clause", "pyserial": "BSD-3-Clause", "segno": "BSD-3-Clause"}
"""What their texts are, where authors write "BSD"."""

_KNOWN = ("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "EPL-2.0", "MIT", "MIT-0", "PSF-2.0")

_HEAD = """\
Fieldgate, with the Python packages that it is built on.

Copyright: The Fieldgate authors
License: Apache-2.0. On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.

What follows lies in /usr/lib/fieldgate beside it, as its authors released it.
"""


def expression(part: Part) -> str:
    """The part's licence in SPDX's words. LockError where somebody has to read it first."""
    told = [part.told["License-Expression"], (part.told["License"] or "").split("\n")[0].strip()]
    classifiers = [one for one in part.told.get_all("Classifier", ()) if one.startswith("License ::")]
    for one in (_READ.get(part.name), *told, *classifiers):
        found = _NAMED.get(one or "", one or "")
        words = found.replace("(", " ").replace(")", " ").split()
        if words and all(word in _KNOWN or word in ("AND", "OR") for word in words):
            return found
    raise LockError(f"{part.name} {part.version}: nobody has read its licence yet: {told} {classifiers}")


def copyright_file(parts: Iterable[Part]) -> str:
    """Every part with its licence's texts; of Apache's own the head only, as Debian has the text itself."""
    return "\n".join([_HEAD, *map(_section, parts)])


def _section(part: Part) -> str:
    texts = dict(part.licences)
    more = _TEXTS / f"{part.name}.txt"
    if more.is_file():
        texts[f"{part.name}.txt"] = more.read_text("utf-8")
    if not texts:
        raise LockError(f"{part.name} {part.version} brings no licence text: put it into {_TEXTS.relative_to(ROOT)}")
    head = f"{'-' * 78}\n{part.name} {part.version} ({', '.join(part.tops)})\nLicense: {expression(part)}\n"
    return head + "".join(f"\n[{name}]\n{_text(text)}\n" for name, text in texts.items())


def _text(text: str) -> str:
    if "Apache License" in text and "TERMS AND CONDITIONS" in text:
        own = [
            line.strip() for line in text.splitlines() if line.strip().startswith("Copyright ") and "[yyyy]" not in line
        ]
        return "\n".join([*own, "On Debian systems the text is in /usr/share/common-licenses/Apache-2.0."])
    return textwrap.dedent(text).strip("\n")
