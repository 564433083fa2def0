"""What a test has to say whether it passes or not: counts, and the seed by which it can be repeated."""

from collections.abc import Callable

Tell = Callable[[str], None]
"""The fixture `tell`: the line stands in the summary of the run."""
