"""What `doctor` finds: in the configuration, the key, the store, the machine."""

from functools import partial

from gateway.conditions.model import condition

_found = partial(condition, by_doctor=True)

# -- the looking itself -----------------------------------------------------------------------------------------------

CHECK_UNSEEN = _found("check-unseen", "note", "{subject} could not be looked at: {detail}", "{cure}")
CHECK_FAILED = _found(
    "check-failed",
    "warning",
    "The check {subject} itself has failed: {detail}",
    "Report this with a support archive (fieldgate doctor --bundle). All other checks were made",
)

# -- the gateway ------------------------------------------------------------------------------------------------------

GATEWAY_STOPPED = _found(
    "gateway-stopped",
    "error",
    "The gateway does not run",
    "Start it: sudo systemctl start fieldgate. If it does not stay, journalctl -u fieldgate says why",
)
GATEWAY_SILENT = _found(
    "gateway-silent",
    "error",
    "The gateway does not answer as it should: {detail}",
    "Restart it: sudo systemctl restart fieldgate. Nothing that was acknowledged is lost",
)
GATEWAY_OLD = _found(
    "gateway-old",
    "warning",
    "The gateway that runs is version {running}, and {installed} is installed",
    "Restart it: sudo systemctl restart fieldgate",
)
LIBRARY_OLD = _found(
    "library-old",
    "warning",
    "The library {subject} {version} has a known hole ({hole})",
    "Update the program: {subject} {sound} or later mends it",
)
CONFIG_FAULT = _found("config-fault", "error", "{subject}: {detail}", "{cure}")

# -- key, store, folder -----------------------------------------------------------------------------------------------

KEY_MISSING = _found(
    "key-missing",
    "error",
    "There is no log key at {subject}: nothing can be signed",
    "Put it back from its safe place, with mode 0600. If there is no copy, `fieldgate recover --new-epoch` begins a "
    "new log with a new key",
)
KEY_MODE = _found(
    "key-mode",
    "error",
    "Others may read the log key {subject} (mode {mode}): whoever has it can sign as this gateway",
    "sudo chmod 600 {subject}. If somebody may have taken it, begin anew: fieldgate recover --new-epoch",
)
KEY_UNUSABLE = _found("key-unusable", "error", "The log key {subject} cannot be used: {detail}", "{cure}")
KEY_FOREIGN = _found(
    "key-foreign",
    "error",
    "The log key {subject} is {ours}, and the store is of {theirs}",
    "Put the right key back, or name the right data_dir: one of the two is of another gateway",
)
STORE_MISSING = _found(
    "store-missing",
    "error",
    "There is no store in {subject}",
    "A new gateway: fieldgate init. Else the disk is not mounted, or data_dir names another folder: put that right, "
    "and make no new store",
)
STORE_UNOPENED = _found("store-unopened", "error", "The store in {subject} cannot be opened: {detail}", "{cure}")
DATA_DIR_MISSING = _found(
    "data-dir-missing",
    "error",
    "There is no folder {subject}",
    "Mount its disk, or correct data_dir. For a new gateway: fieldgate init",
)
DATA_DIR_OPEN = _found(
    "data-dir-open",
    "warning",
    "Other users of this computer may look into {subject} (mode {mode})",
    "sudo chmod 700 {subject}",
)
DATA_DIR_OWNER = _found(
    "data-dir-owner",
    "error",
    "{subject} does not belong to the gateway's user {owner}: the gateway may fail to write it",
    "sudo chown -R {owner}: {folder}. From now on run commands as that user: sudo -u {owner} fieldgate",
)
SECRET_UNUSABLE = _found(
    "secret-unusable", "error", "The password of broker {broker} in {subject} cannot be used: {detail}", "{cure}"
)

# -- the disk ---------------------------------------------------------------------------------------------------------

DISK_SMALL = _found(
    "disk-small",
    "warning",
    "max_bytes is {quota}, and the disk has room for {room} of it",
    "Lower max_bytes in [retention], or make room: readings are held back when the disk is full",
)
DISK_SOON = _found(
    "disk-soon",
    "warning",
    "The store grows so that its room lasts {days} more days, and no node holds readings that could then be deleted",
    "Add a node with a stored_key, make room, or raise max_bytes in [retention]",
)
DISK_READ_ONLY = _found(
    "disk-read-only",
    "error",
    "The file system at {point} can only be read: nothing can be stored",
    "The kernel does this to a disk with errors: dmesg tells. Save what is there, and take a new card",
)
DISK_VOLATILE = _found(
    "disk-volatile",
    "warning",
    "The store lies on {kind} ({point}): what is written there may be gone after a restart",
    "Put data_dir on a disk of its own (ext4). On a Raspberry Pi switch the overlay file system off: raspi-config",
)
DISK_NO_RIGHTS = _found(
    "disk-no-rights",
    "warning",
    "The store lies on {kind} ({point}): it does not keep what a flush has promised, or has no owners and modes",
    "Put data_dir on ext4, xfs or btrfs of this computer",
)
DISK_SYNC = _found(
    "disk-sync",
    "note",
    "The file system at {point} is mounted with sync: each write waits for the card, and wears it",
    "Take sync out of /etc/fstab: the gateway flushes what has to be durable by itself",
)
DISK_NOATIME = _found(
    "disk-noatime",
    "note",
    "The file system at {point} notes each time that a file is read, which wears the card",
    "Add noatime in /etc/fstab",
)
DISK_NO_BARRIER = _found(
    "disk-no-barrier",
    "error",
    "The file system at {point} is mounted with {option}: a flush does not reach the card, and a power cut may take "
    "what was acknowledged",
    "Take {option} out of /etc/fstab, and restart the computer",
)
DISK_WRITEBACK = _found(
    "disk-writeback",
    "warning",
    "The file system at {point} is mounted with data=writeback: after a power cut a file may hold what was never "
    "written to it",
    "Take data=writeback out of /etc/fstab, and restart the computer: data=ordered is what ext4 does by itself",
)
DISK_GOES_ON = _found(
    "disk-goes-on",
    "note",
    "The file system at {point} is written to even after it was found damaged (errors=continue)",
    "Add errors=remount-ro to its line in /etc/fstab, or: sudo tune2fs -e remount-ro {device}",
)

# -- the clock and names ----------------------------------------------------------------------------------------------

CLOCK_UNSYNCHRONISED = _found(
    "clock-unsynchronised",
    "note",
    "The clock is not synchronised: readings say so",
    "Nothing, where there is no network: it is set by itself as soon as there is one",
)
CLOCK_UNSET = _found(
    "clock-unset",
    "warning",
    "The clock is not synchronised, and no program is here that sets it",
    "sudo apt install systemd-timesyncd (or chrony). Without a network: a clock module with a battery (RTC)",
)
DNS_NONE = _found(
    "dns-none",
    "error",
    "No name server is configured: names cannot be looked up",
    "Connect the network (DHCP tells the name server), or write addresses in place of names",
)
DNS_SLOW = _found(
    "dns-slow",
    "warning",
    "Looking up the name {subject} took {seconds} s",
    "Check the network's name server; an address in place of the name does without it",
)

# -- ports ------------------------------------------------------------------------------------------------------------

PORT_NO_DEVICE = _found(
    "port-no-device",
    "error",
    "{subject}: {port} is no serial port but a file or a folder",
    "Correct port: /dev/serial/by-id has the names of those there are (fieldgate probe)",
)
PORT_CONSOLE = _found(
    "port-console",
    "warning",
    "{subject}: the kernel writes its own messages to {port}",
    "Take console=... of this port out of /boot/firmware/cmdline.txt (raspi-config: no login shell over serial), and "
    "restart",
)
PORT_MODEMS = _found(
    "port-modems",
    "note",
    "{subject}: ModemManager runs, and speaks to {port} when it is plugged in",
    "sudo systemctl disable --now ModemManager, where there is no modem",
)

PORT_BRAILLE = _found(
    "port-braille",
    "warning",
    "{subject}: brltty runs, and takes {port} for a Braille display",
    "sudo systemctl mask --now brltty.service brltty-udev.service, where nobody reads Braille here",
)

# -- the machine ------------------------------------------------------------------------------------------------------

POWER_LOW = _found(
    "power-low",
    "error",
    "The supply voltage is too low at this moment",
    "Use the maker's own supply and a short, thick cable; unplug what takes much power, or give it a supply of its own",
)
POWER_WAS_LOW = _found(
    "power-was-low",
    "warning",
    "The supply voltage has been too low since the last start",
    "Use the maker's own supply and a short, thick cable: a low voltage damages cards and loses USB devices",
)
DEVICE_THROTTLED = _found(
    "device-throttled",
    "warning",
    "The computer slows itself down",
    "It is too hot, or its supply is too weak: give it air, and look at the supply",
)
DEVICE_HOT = _found(
    "device-hot",
    "warning",
    "The computer is {degrees} °C hot",
    "Give it air or a heat sink, and keep it out of the sun",
)
MEMORY_LOW = _found(
    "memory-low",
    "warning",
    "Only {available} of memory are available",
    "Find what takes it (top), and end it or move it to another computer",
)
MEMORY_KILLED = _found(
    "memory-killed",
    "warning",
    "The kernel has ended {count} programs for want of memory since the last start",
    "journalctl -k tells which (Out of memory). Run fewer programs here, or take a computer with more memory",
)
