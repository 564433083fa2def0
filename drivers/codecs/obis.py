"""The objects of an electricity meter (IEC 62056-61) that are read, by their OBIS codes: names and units."""

CHECKED = ("0-0:1.0.0", "1-3:0.2.8")
"""The time and the version: objects that came with the CRC, in DSMR 4."""

COUNT = ""
ELECTRICITY: dict[str, tuple[str, str]] = {  # OBIS -> name, SenML unit; or a count
    "0-0:96.14.0": ("tariff", COUNT),
    "0-0:96.7.21": ("power_failures", COUNT),
    "0-0:96.7.9": ("long_power_failures", COUNT),
    "1-0:1.4.0": ("power_import_average", "W"),
    "1-0:14.7.0": ("frequency", "Hz"),
}
for _code, _name, _unit in (
    ("1", "energy_import", "J"),
    ("2", "energy_export", "J"),
    ("3", "reactive_energy_import", "vars"),
    ("4", "reactive_energy_export", "vars"),
):
    ELECTRICITY[f"1-0:{_code}.8.0"] = (_name, _unit)
    for _tariff in range(1, 5):
        ELECTRICITY[f"1-0:{_code}.8.{_tariff}"] = (f"{_name}_tariff{_tariff}", _unit)
for _code, _name, _unit in (
    ("1", "power_import", "W"),
    ("2", "power_export", "W"),
    ("3", "reactive_power_import", "var"),
    ("4", "reactive_power_export", "var"),
    ("11", "current", "A"),
    ("12", "voltage", "V"),
):
    if len(_code) == 1:
        ELECTRICITY[f"1-0:{_code}.7.0"] = (_name, _unit)
    for _phase in range(1, 4):  # a quantity of the whole is C, of a phase C + 20, + 40 and + 60
        ELECTRICITY[f"1-0:{20 * _phase + int(_code)}.7.0"] = (f"{_name}_l{_phase}", _unit)
for _phase in range(1, 4):
    ELECTRICITY[f"1-0:{20 * _phase + 12}.32.0"] = (f"voltage_sags_l{_phase}", COUNT)
    ELECTRICITY[f"1-0:{20 * _phase + 12}.36.0"] = (f"voltage_swells_l{_phase}", COUNT)
