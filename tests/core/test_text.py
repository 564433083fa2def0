"""What is this machine, and what only looks like it."""

import pytest

from gateway.core.text import is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["192.168.1.2", "farm.example", "127.0.0.1.example.com", "127.example", "localhost.example", "fe80::1", ""]
)
def test_another_machine(host: str) -> None:
    assert not is_loopback(host)
