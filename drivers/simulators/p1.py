"""The meter of a barn: telegrams of a P1 port, as DSMR 5 and, older, DSMR 2.2 have them."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from drivers.codecs.modbus_rtu import crc16

BEGIN = datetime(2026, 3, 2, 6, 0, 0, tzinfo=UTC)
IDENTIFICATION = "/BRN5\\METER-1"


def telegram(*objects: str, checksum: bool = True) -> bytes:
    """Lines between an identification and `!`; checksum: with a CRC, as from DSMR 4 on."""
    body = "\r\n".join((IDENTIFICATION, "", *objects, "!")).encode("latin-1")
    return body + (f"{crc16(body, 0):04X}\r\n" if checksum else "\r\n").encode("ascii")


def winter(moment: datetime) -> str:
    """As a meter writes a time in winter, which in March it is until the last Sunday."""
    return f"{moment + timedelta(hours=1):%y%m%d%H%M%S}W"


def meter(seed: int = 1, *, begin: datetime = BEGIN) -> Iterator[bytes]:
    """Telegrams without end, the same for a seed, one for each second: three phases, gas every five minutes, water."""
    rng = random.Random(seed)  # noqa: S311  a simulation
    energy, gas, water = 4_711_250.0, 981.443, 12.5
    for second in range(1 << 40):
        moment = begin + timedelta(seconds=second)
        gas_read = moment - timedelta(minutes=moment.minute % 5, seconds=moment.second)
        loads = [rng.randrange(40, 2_400) for _ in range(3)]
        volts = [rng.uniform(224, 236) for _ in range(3)]
        energy += sum(loads) / 3_600
        gas += 0.004 if moment == gas_read else 0
        phases = list(zip((20, 40, 60), loads, volts, strict=True))
        yield telegram(
            "1-3:0.2.8(50)",
            f"0-0:1.0.0({winter(moment)})",
            "0-0:96.1.1(4B42524E30303031)",
            f"1-0:1.8.1({energy / 1_000:010.3f}*kWh)",
            "1-0:1.8.2(001435.706*kWh)",
            "1-0:2.8.1(000000.000*kWh)",
            "1-0:2.8.2(000012.345*kWh)",
            "0-0:96.14.0(0001)",
            f"1-0:1.7.0({sum(loads) / 1_000:06.3f}*kW)",
            "1-0:2.7.0(00.000*kW)",
            "0-0:96.7.21(00015)",
            "0-0:96.7.9(00007)",
            "1-0:99.97.0(1)(0-0:96.7.19)(260104180320W)(0000237126*s)",
            "1-0:32.32.0(00002)",
            "0-0:96.13.0()",
            *(f"1-0:{at + 12}.7.0({volt:05.1f}*V)" for at, _, volt in phases),
            *(f"1-0:{at + 11}.7.0({load / volt:03.0f}*A)" for at, load, volt in phases),
            *(f"1-0:{at + 1}.7.0({load / 1_000:06.3f}*kW)" for at, load, _ in phases),
            *(f"1-0:{at + 2}.7.0(00.000*kW)" for at, _, _ in phases),
            "0-1:24.1.0(003)",
            "0-1:96.1.0(47415330303031)",
            f"0-1:24.2.1({winter(gas_read)})({gas:09.3f}*m3)",
            "0-2:24.1.0(007)",
            "0-2:96.1.0(57415430303031)",
            f"0-2:24.2.1({winter(moment)})({water:09.3f}*m3)",
            "0-3:24.1.0(003)",
            "0-3:96.1.0()",
        )


def old_meter(seed: int = 1, *, begin: datetime = BEGIN) -> Iterator[bytes]:
    """The same of DSMR 2.2, every ten seconds: no time, no CRC, and the gas in two lines."""
    rng = random.Random(seed)  # noqa: S311  a simulation
    energy = 4_711_250.0
    for number in range(1 << 40):
        moment = begin + timedelta(seconds=10 * number)
        load = rng.randrange(40, 2_400)
        energy += load / 360
        yield telegram(
            "0-0:96.1.1(00000000000000)",
            f"1-0:1.8.1({energy / 1_000:09.3f}*kWh)",
            "1-0:2.8.1(00001.001*kWh)",
            "0-0:96.14.0(0002)",
            f"1-0:1.7.0({load / 1_000:07.2f}*kW)",
            "0-0:17.0.0(0999.00*kW)",
            "0-0:96.13.1()",
            "0-1:24.1.0(3)",
            "0-1:96.1.0(000000000000)",
            f"0-1:24.3.0({moment + timedelta(hours=1):%y%m%d%H}0000)(00)(60)(1)(0-1:24.2.1)(m3)",
            "(00001.001)",
            "0-1:24.4.0(1)",
            checksum=False,
        )
