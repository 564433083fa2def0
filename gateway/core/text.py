"""Text from outside, made safe to show."""


def plain(text: str) -> str:
    """The text on one line, with nothing in it that a terminal would obey or hide: the rest is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
