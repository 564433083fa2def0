import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drivers import registry
from drivers.mqtt import Broker, MqttDriver

REPOSITORY = Path(__file__).parents[2]
MQTT = {"broker": "local", "topic": "a", "values": {"t": {}}}
LINE = {"format": "text", "values": {"n": {}}}
SERIAL = {"port": "/dev/ttyS0", **LINE}


def sources(**tables: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    made = {}
    for name, table in tables.items():
        options = {key: value for key, value in table.items() if key != "driver"}
        made[name] = (table["driver"], msgspec.convert(options, registry.options_type(table["driver"])))
    return made


def brokers(*names: str) -> dict[str, Broker]:
    return {name: Broker(name=name, host="127.0.0.1", port=1883, client_id="gateway") for name in names}


def test_every_driver_has_its_options() -> None:
    assert {"animal_tag", "mqtt", "replay", "scale", "serial_line"} <= set(registry.names())
    for name in registry.names():
        assert issubclass(registry.options_type(name), msgspec.Struct)


def test_an_unknown_driver_is_told_with_those_there_are() -> None:
    with pytest.raises(
        registry.UnknownDriver, match=r"There are: .*\bmqtt, .*\breplay, .*serial_line.*Did you mean mqtt"
    ):
        registry.options_type("mqt")


def test_one_driver_for_a_broker_and_one_for_each_other_source(tmp_path: Path) -> None:
    tables = sources(
        one={"driver": "mqtt", **MQTT},
        two={"driver": "mqtt", **MQTT, "topic": "b"},
        far={"driver": "mqtt", **MQTT, "broker": "far"},
        scale={"driver": "serial_line", **SERIAL},
        log={"driver": "replay", "path": "/log", "format": "text", "values": {"n": {}}},
    )
    drivers = registry.build(tables, brokers("local", "far", "unused"), state_dir=tmp_path)
    found = {driver.name: sorted(driver.sources) for driver in drivers}
    assert found == {
        "mqtt-local": ["one", "two"],
        "mqtt-far": ["far"],
        "serial-scale": ["scale"],
        "replay-log": ["log"],
    }
    assert all(isinstance(driver, MqttDriver) for driver in drivers if driver.name.startswith("mqtt"))


def test_what_does_not_fit(tmp_path: Path) -> None:
    link = tmp_path / "usb-x"
    link.symlink_to("/dev/ttyS0")
    wrong = {
        r"broker names 'local'.*Did you mean locale": sources(one={"driver": "mqtt", **MQTT}),
        r"source mqtt-locale: id is the name of a driver": sources(
            **{"mqtt-locale": {"driver": "mqtt", **MQTT, "broker": "locale"}}
        ),
        r"0\.0\.0\.0:2000 is listened on by source one already": sources(
            one={"driver": "serial_line", **LINE, "udp": "127.0.0.1:2000"},
            two={"driver": "serial_line", **LINE, "udp": "0.0.0.0:2000"},
        ),
        r"read by source one already": sources(
            one={"driver": "serial_line", **SERIAL}, two={"driver": "serial_line", **SERIAL, "port": str(link)}
        ),
    }
    for words, tables in wrong.items():
        with pytest.raises(registry.Misfit, match=words):
            registry.build(tables, brokers("locale"))


def test_several_sources_may_read_one_tcp_server_and_listen_on_several_ports() -> None:
    tables = sources(
        one={"driver": "serial_line", **LINE, "tcp": "10.0.0.1:2000"},
        two={"driver": "serial_line", **LINE, "tcp": "10.0.0.1:2000"},
        three={"driver": "serial_line", **LINE, "udp": "0.0.0.0:2000"},
        four={"driver": "serial_line", **LINE, "udp": "0.0.0.0:2001"},
    )
    assert len(registry.build(tables, {})) == 4


def test_a_gateway_without_serial_lines_loads_no_pyserial() -> None:
    table = {"tcp": "127.0.0.1:1", "format": "text", "values": {"n": {}}}
    code = (
        "import msgspec, sys; from drivers import registry; registry.options_type('mqtt');"
        f"options = msgspec.convert({table}, registry.options_type('serial_line'));"
        "registry.build({'a': ('serial_line', options)}, {}); print('serial' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout == "False\n"


def examples() -> list[str]:
    return re.findall(r"```toml\n(.*?)```", (REPOSITORY / "docs" / "drivers.md").read_text(), re.DOTALL)


def test_the_examples_of_the_manual_load() -> None:
    tables: dict[str, dict[str, Any]] = {}
    names = set()
    for text in examples():
        document = tomllib.loads(text)
        tables |= document.get("source", {})
        names |= set(document.get("broker", {}))
    assert {table["driver"] for table in tables.values()} == set(registry.names())
    registry.build(sources(**tables), brokers(*names))


def test_the_manual_names_every_option() -> None:
    text = (REPOSITORY / "docs" / "drivers.md").read_text()
    for name in registry.names():
        for option in msgspec.structs.fields(registry.options_type(name)):
            assert f"`{option.encode_name}`" in text, f"{name}: {option.encode_name}"
