"""What every test may ask for."""

import os
from pathlib import Path

import pytest


def _folder(variable: str) -> Path:
    value = os.environ.get(variable, "")
    if not value or not Path(value).is_dir():
        pytest.skip(f"{variable} names no folder")
    return Path(value)


@pytest.fixture(scope="session")
def captures() -> Path:
    """Payloads recorded by other people's devices."""
    return _folder("FIELDGATE_CAPTURES")


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The standards' own test vectors."""
    return _folder("FIELDGATE_VECTORS")
