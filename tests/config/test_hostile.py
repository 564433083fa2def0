"""Whatever is in a file: settings, or a report that can be printed."""

from pathlib import Path
from typing import Any

from fakes.configs import GATEWAY, NODE, write
from fakes.mutated import mutated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import config
from gateway.errors import ConfigError
from gateway.settings import NodeSettings, Settings

QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@QUICK
@given(st.one_of(mutated(GATEWAY), mutated(NODE)), st.booleans())
def test_settings_or_a_report(tmp_path: Path, text: str, node: bool) -> None:
    path = write(tmp_path, text.encode(errors="surrogatepass"))
    try:
        loaded = config.load_node(path) if node else config.load(path)
    except ConfigError as exc:
        assert exc.faults
        for fault in exc.faults:
            assert str(fault).isprintable()
            assert 0 <= fault.line <= text.count("\n") + 1
    else:
        assert isinstance(loaded, NodeSettings if node else Settings)


VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=10),
        st.datetimes(),
        st.dates(),
        st.times(),
        st.none(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["driver", "url", "x"]), inner, max_size=3)
    ),
)


@QUICK
@given(st.data())
def test_any_value_anywhere(tmp_path: Path, data: st.DataObject) -> None:
    """A key of a good file with a value of any type."""
    text, node = data.draw(st.sampled_from([(GATEWAY, False), (NODE, True)]))
    rows = text.splitlines()
    place = data.draw(st.sampled_from([n for n, row in enumerate(rows) if " = " in row]))
    value = data.draw(VALUES)
    rows[place] = f"{rows[place].partition(' = ')[0]} = {toml(value)}"
    path = write(tmp_path, "\n".join(rows))
    try:
        config.load_node(path) if node else config.load(path)
    except ConfigError as exc:
        assert all(str(fault).isprintable() for fault in exc.faults)


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value if not 0xD800 <= ord(c) < 0xE000) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + "}"
    return {None: '""'}.get(value) or (value.isoformat() if hasattr(value, "isoformat") else repr(value))
