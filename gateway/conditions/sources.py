"""What drivers tell of ports, networks, devices and files; brokers have a module of their own."""

from collections.abc import Mapping

from drivers import conditions as ids
from gateway.conditions.model import Condition, condition, find

SOURCE_AWAY = condition("source-away", "error", "Source {subject} is away: {detail}", "{cure}")

PORT_MISSING = condition(
    ids.PORT_MISSING,
    "error",
    "{subject}: the port {port} is not there",
    "Plug it in: it is read again by itself. If it is plugged in and has another name now, correct port (there are: "
    "{there})",
)
PORT_PERMISSION = condition(
    ids.PORT_PERMISSION,
    "error",
    "{subject}: the gateway's user may not open the port {port}",
    "Put that user into the group of the port, and restart: sudo usermod -aG dialout fieldgate && sudo systemctl "
    "restart fieldgate. Where it is in the group, the service may not open ports of this kind: see "
    "/usr/share/fieldgate/systemd/serial.conf",
)
PORT_BUSY = condition(
    ids.PORT_BUSY,
    "error",
    "{subject}: the port {port} is in use by {holder}",
    "End what holds it (sudo fuser -v {port} names it). A login console: sudo systemctl disable --now "
    "serial-getty@TTY; ModemManager: sudo systemctl disable --now ModemManager",
)
PORT_FAILED = condition(
    ids.PORT_FAILED,
    "error",
    "{subject}: the port {port} does not work: {detail}",
    "Unplug the adapter and plug it in again; check baud, bytesize, parity and stopbits. If it stays, try another "
    "adapter and another cable",
)
PORT_SILENT = condition(
    ids.PORT_SILENT,
    "error",
    "{subject}: nothing has come from the port {port} for {seconds} s",
    "Look whether the device is switched on, at its cable, and at its settings (baud)",
)
NETWORK_AWAY = condition(
    ids.NETWORK_AWAY,
    "error",
    "{subject}: {at} cannot be reached: {detail}",
    "Switch the device on, and check its address and the network cable; correct tcp if it has another address. Some "
    "devices serve one client only",
)
NETWORK_NAME = condition(
    ids.NETWORK_NAME,
    "error",
    "{subject}: the name {host} has no address",
    "Check the spelling and the network's DNS, or write the address in place of the name",
)
NETWORK_LISTEN = condition(
    ids.NETWORK_LISTEN,
    "error",
    "{subject}: the gateway cannot listen on UDP {at}: {detail}",
    "Correct udp: 0.0.0.0 and a free port from 1024 on. sudo ss -ulpn shows which program has a port",
)
NETWORK_SILENT = condition(
    ids.NETWORK_SILENT,
    "error",
    "{subject}: nothing has come from {at} for {seconds} s",
    "Look whether the device is switched on and sends, and at the network between",
)
DEVICE_SILENT = condition(
    ids.DEVICE_SILENT,
    "error",
    "{subject}: the device does not answer: {detail}",
    "Look at its supply, its wiring (A and B not swapped, the ends terminated), its address and its baud rate",
)
DEVICE_FAULT = condition(
    ids.DEVICE_FAULT,
    "error",
    "{subject}: the device answers with a fault: {detail}",
    "Compare the source's table with the device's manual: registers, address, values",
)
DEVICE_AWAY = condition(
    ids.DEVICE_AWAY,
    "warning",
    "{subject}: the device has left: {detail}",
    "Look at its supply, its battery and its radio. It comes back by itself",
)
FILE_UNREADABLE = condition(
    ids.FILE_UNREADABLE,
    "error",
    "{subject}: {path} cannot be read: {detail}",
    "Correct path, or allow the gateway's user to read it",
)
DRIVER_PARKED = condition(
    ids.DRIVER_PARKED,
    "error",
    "{subject}: its driver has stopped after a fault of this program: {detail}",
    "Restart the gateway: sudo systemctl restart fieldgate. Report this with a support archive (fieldgate doctor "
    "--bundle)",
)
DRIVER_HANGS = condition(
    ids.DRIVER_HANGS,
    "error",
    "{subject}: an attempt to open the device or the connection has not come to an end",
    "Wait some minutes. If it stays: unplug the device and plug it in again, and restart the gateway",
)


def of_driver(name: str, values: Mapping[str, str]) -> Condition | None:
    """The condition that a driver names. None where it names none, or not with the values of it and no others."""
    if name not in ids.VALUES or values.keys() != set(ids.VALUES[name]):
        return None
    return find(name) if all(isinstance(value, str) for value in values.values()) else None
