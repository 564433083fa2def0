"""From the wire of a Modbus device to a verified block at the node, with the computer itself beside it."""

import struct
from pathlib import Path

import pytest
from fakes import consumer
from fakes.field import Field, until

from drivers.simulators.modbus import Slave, Slaves, in_pieces, nothing

SOURCES = """
[seal]
max_age_s = 0.5
[source.tank]
driver = "modbus_tcp"
tcp = "127.0.0.1:{port}"
slave = 5
numbering = "modicon"
every_s = 0.1
values.temp = {{ register = 40001, type = "int16", scale = 0.1, unit = "Cel" }}
values.n = {{ register = 40002, type = "uint32" }}
[source.away]
driver = "modbus_tcp"
tcp = "127.0.0.1:{port}"
slave = 6
numbering = "zero"
every_s = 0.1
timeout_s = 0.1
values = {{ n = {{ register = 0, type = "uint16" }} }}
[source.box]
driver = "system"
every_s = 1
"""


class Counting(Slave):
    """Each answer has a number of its own."""

    def answer(self, pdu: bytes) -> bytes:
        number = len(self.asked)
        self.holding = {0: 0xFFCC, 1: number >> 16, 2: number & 0xFFFF}
        return super().answer(pdu)


@pytest.mark.timeout(120)
async def test_every_answer_of_a_device_is_a_reading_in_a_verified_block(tmp_path: Path) -> None:
    device = Counting(change=in_pieces)
    async with Slaves({5: device, 6: Slave(change=nothing)}).listening() as port:
        field = Field(tmp_path, SOURCES.format(port=port))
        await field.make()
        signer = consumer.enrol(field)
        async with field.started():
            await until(lambda: len(device.asked) >= 30, f"30 polls\n{field.gateway.words()}")
            status = await field.status()
            assert await field.gateway.end() == 0
            asked = len(device.asked)
            readings = await consumer.readings(field, signer)
    assert status["sources"]["tank"]["up"]
    assert not status["sources"]["away"]["up"]
    assert "away: the device does not answer" in status["headline"]
    tank = [reading for reading in readings if reading.source == "tank"]
    numbers = [reading.records[1].value for reading in tank]
    assert numbers == list(range(len(tank)))
    assert asked - 1 <= len(tank) <= asked, "each answer but one that was on the wire at the end"
    for number, reading in enumerate(tank):
        assert [record.name for record in reading.records] == ["temp", "n"]
        assert (reading.records[0].value, reading.records[0].unit) == (-5.2, "Cel")
        assert reading.raw == b"\x03\x06" + struct.pack(">hI", -52, number)
    assert any(record.name == "disk_free" for one in readings if one.source == "box" for record in one.records)
    assert not [one for one in readings if one.source == "away"]
