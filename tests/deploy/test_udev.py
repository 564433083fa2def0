"""The udev rules: made of the one table, and read by udev itself."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy import make_adapters
from drivers.adapters import ADAPTERS, NO_NUMBERS, find

ROOT = Path(__file__).parents[2]
_TOKEN = re.compile(r'([A-Z]+)(?:\{([^}]+)\})?(==|!=|\+=|=|:=)"([^"]*)"')
_MATCH = {"ACTION", "SUBSYSTEM", "KERNEL", "ATTR"}
_EITHER = {"ENV"}
_ASSIGN = {"SYMLINK", "GOTO", "LABEL", "IMPORT"}

UDEVADM = """
mount -t tmpfs tmpfs /run && mkdir -p /run/udev/rules.d && cp "$1" /run/udev/rules.d/90-fieldgate.rules
exec udevadm test /sys/class/net/lo 2>&1
"""


def lines(text: str) -> list[list[tuple[str, str, str, str]]]:
    """Each rule in its parts: key, what of it, operator, value."""
    rules = [line for line in text.splitlines() if line and not line.startswith("#")]
    for rule in rules:
        assert _TOKEN.sub("", rule).replace(", ", "") == "", rule
    return [_TOKEN.findall(rule) for rule in rules]


def test_rules_and_manual_are_made_of_the_table() -> None:
    assert make_adapters.RULES.read_text("utf-8") == make_adapters.rules()
    assert make_adapters.MANUAL.read_text("utf-8") == make_adapters.manual()


def test_each_rule_is_one_that_udev_reads() -> None:
    labels, targets = set(), set()
    for parts in lines(make_adapters.rules()):
        for key, _, operator, value in parts:
            assert key in _MATCH | _EITHER | _ASSIGN
            assert (operator in {"==", "!="}) or key in _EITHER | _ASSIGN
            assert value or key == "ENV"
            labels |= {value} if key == "LABEL" else set()
            targets |= {value} if key == "GOTO" else set()
    assert targets == labels


def test_every_adapter_is_kept_for_itself() -> None:
    rules = lines(make_adapters.rules())
    for one in ADAPTERS:
        port = [("ENV", "ID_VENDOR_ID", "==", one.vendor), ("ENV", "ID_MODEL_ID", "==", one.product)]
        device = [("ATTR", "idVendor", "==", one.vendor), ("ATTR", "idProduct", "==", one.product)]
        assert [*port, ("ENV", "ID_MM_PORT_IGNORE", "=", "1")] in rules
        assert any(rule[:3] == [*device, ("ENV", "ID_MM_DEVICE_IGNORE", "=", "1")] for rule in rules)


def run_udev(rules: Path) -> str:
    """What udev says when it reads all of its rules, for a device that has no file; in a mount namespace of its own."""
    if shutil.which("udevadm") is None:
        pytest.skip("udevadm is not installed")
    command = ["unshare", "--mount", "sh", "-c", UDEVADM, "sh", str(rules)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("udevadm cannot be tried here")
    return done.stdout


def test_udev_itself_has_nothing_to_say(tmp_path: Path) -> None:
    said = run_udev(make_adapters.RULES)
    assert "90-fieldgate.rules" in said, "it was read"
    assert [line for line in said.splitlines() if re.search(r"90-fieldgate.rules:\d+ ", line)] == []
    bad = tmp_path / "bad.rules"
    bad.write_text(make_adapters.rules().replace('SUBSYSTEM!="tty"', 'SUBSYSTM!="tty"'))
    assert re.search(r"90-fieldgate.rules:\d+ ", run_udev(bad)), "a control"


def test_a_table_without_repeats() -> None:
    assert len({one.usb for one in ADAPTERS}) == len(ADAPTERS)
    assert all(re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{4}", one.usb) for one in ADAPTERS)
    assert find(0x1A86, 0x7523) is not None
    assert find(0x1A86, 0x0001) is None
    assert find(None, None) is None
    assert "0001" in NO_NUMBERS
