"""What can be the matter with what a driver speaks to: ids that never change, and the values that go with each.

A driver says which it is with Link and DriverError; whoever runs it has the words, the severity and the cure. A driver
of another package may leave the id empty: then its own words are told.
"""

from collections.abc import Mapping
from typing import Final

PORT_MISSING: Final = "port-missing"
PORT_PERMISSION: Final = "port-permission"
PORT_BUSY: Final = "port-busy"
PORT_FAILED: Final = "port-failed"
PORT_SILENT: Final = "port-silent"
NETWORK_AWAY: Final = "network-away"
NETWORK_NAME: Final = "network-name"
NETWORK_LISTEN: Final = "network-listen"
NETWORK_SILENT: Final = "network-silent"
BROKER_AWAY: Final = "broker-away"
BROKER_UNREACHABLE: Final = "broker-unreachable"
BROKER_NAME: Final = "broker-name"
BROKER_LOGIN: Final = "broker-login"
BROKER_REFUSED: Final = "broker-refused"
BROKER_SECRET: Final = "broker-secret"  # noqa: S105 -- an id
BROKER_TLS: Final = "broker-tls"
BROKER_PROTOCOL: Final = "broker-protocol"
BROKER_LOST: Final = "broker-lost"
BROKER_TAKEOVER: Final = "broker-takeover"
BROKER_PAUSED: Final = "broker-paused"
BROKER_TOPIC: Final = "broker-topic"
BROKER_QOS0: Final = "broker-qos0"
DEVICE_SILENT: Final = "device-silent"
DEVICE_FAULT: Final = "device-fault"
DEVICE_AWAY: Final = "device-away"
FILE_UNREADABLE: Final = "file-unreadable"
DRIVER_PARKED: Final = "driver-parked"
DRIVER_HANGS: Final = "driver-hangs"

VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    PORT_MISSING: ("port", "there"),  # there: the names of the ports that are there, "-" where none is
    PORT_PERMISSION: ("port",),
    PORT_BUSY: ("port", "holder"),
    PORT_FAILED: ("port", "detail"),
    PORT_SILENT: ("port", "seconds"),
    NETWORK_AWAY: ("at", "detail"),
    NETWORK_NAME: ("host",),
    NETWORK_LISTEN: ("at", "detail"),
    NETWORK_SILENT: ("at", "seconds"),
    BROKER_AWAY: ("broker", "at"),
    BROKER_UNREACHABLE: ("broker", "at", "detail"),
    BROKER_NAME: ("broker", "host"),
    BROKER_LOGIN: ("broker", "at"),
    BROKER_REFUSED: ("broker", "at", "detail"),
    BROKER_SECRET: ("broker", "detail"),
    BROKER_TLS: ("broker", "at", "detail"),
    BROKER_PROTOCOL: ("broker", "at", "detail"),
    BROKER_LOST: ("broker", "at", "detail"),
    BROKER_TAKEOVER: ("broker", "client_id"),
    BROKER_PAUSED: ("broker",),
    BROKER_TOPIC: ("broker", "topic"),
    BROKER_QOS0: ("broker", "topic"),
    DEVICE_SILENT: ("detail",),
    DEVICE_FAULT: ("detail",),
    DEVICE_AWAY: ("detail",),
    FILE_UNREADABLE: ("path", "detail"),
    DRIVER_PARKED: ("detail",),
    DRIVER_HANGS: (),
}
"""The values of each. `at`: host:port; `detail`: what the system, the broker or the device said of it."""

OF_BROKER: Final = frozenset(one for one in VALUES if one.startswith("broker-")) - {BROKER_TOPIC, BROKER_QOS0}
"""About the broker itself, whatever sources it has."""

OF_DEVICE: Final = frozenset((DEVICE_SILENT, DEVICE_FAULT, DEVICE_AWAY))
"""About one source's device. All others are about what the sources of a driver share."""
