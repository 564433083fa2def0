"""The primary units of SenML (RFC 8428 section 12.1 with the additions of RFC 8798 section 2).

Another unit cannot stand on a record: it travels as a text record `<name>.unit` (docs/format.md, section 2).
"""

_NAMES = """
m kg g s A K cd mol Hz rad sr N Pa J W C V F Ohm S Wb T H Cel lm lx Bq Gy Sv kat m2 m3 l m/s m/s2 m3/s l/s W/m2 cd/m2
bit bit/s lat lon pH dB dBW Bspl count / % %RH %EL EL 1/s 1/min beat/min beats S/m
B VA VAs var vars J/m kg/m3 deg
"""

PRIMARY = frozenset(_NAMES.split())
