"""An example with everything in it that is shown there as not set."""

import re

_NOT_SET = re.compile(r"^#(?=[a-z_0-9]+ = |\[[a-z])", re.MULTILINE)


def uncommented(text: str) -> str:
    """The text with each #name = and #[table] set."""
    return _NOT_SET.sub("", text)
