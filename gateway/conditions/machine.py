"""What this machine says to a configuration: its files and ports, and the disk of its data.

`check` tells it; the gateway runs all the same.
"""

from functools import partial

from gateway.conditions.model import condition

_advice = partial(condition, by_doctor=True)

_CHMOD = "sudo chmod 600 {path}"

SECRET_MISSING = _advice(
    "config-secret-missing",
    "warning",
    "There is no {path}",
    "Restore it from where its copy is kept safe, or correct the path",
)
PASSWORD_MISSING = _advice(
    "config-password-missing",
    "warning",
    "There is no {path}, which is to have the broker's password",
    "Type the password into: sudo install -m 600 -o {user} /dev/stdin {path}",
)
TOKEN_MISSING = _advice(
    "config-token-missing",
    "warning",
    "There is no {path}, which is to have the token of those who watch",
    "head -c 24 /dev/urandom | base64 | sudo install -m 600 -o {user} /dev/stdin {path}",
)
SECRET_OPEN = _advice(
    "config-secret-open",
    "warning",
    "Others can read {path} (mode {mode}), and so the gateway does not use it",
    _CHMOD,
)
SECRET_FOREIGN = _advice(
    "config-secret-foreign",
    "warning",
    "{path} belongs to {owner}, and the gateway, which runs as {user}, cannot read it",
    "sudo chown {user} {path}",
)
FILE_MISSING = _advice("config-file-missing", "warning", "There is no {path}", "Put it there, or correct the path")
TLS_KEY_OPEN = _advice("config-tls-key-open", "warning", "Others can read {path} (mode {mode})", _CHMOD)
PORT_MISSING = _advice(
    "config-port-missing",
    "warning",
    "There is no {path}: it is not plugged in, or has another name",
    "Plug it in: it is opened by itself. Or write its name (there are: {there}; `fieldgate probe` tells what speaks "
    "there)",
)
DATA_MISSING = _advice(
    "config-data-missing",
    "warning",
    "There is no {path}, and the gateway makes none",
    "`fieldgate init` makes it, with keys and store; or correct the path",
)
DATA_VOLATILE = _advice(
    "config-data-volatile",
    "warning",
    "{path} is on {kind}, which a restart of the machine empties",
    "Write a folder on a disk or card. On a Raspberry Pi with the overlay file system: mount one that stays",
)
DATA_FOREIGN = _advice(
    "config-data-unsafe",
    "warning",
    "{path} is on {kind}: it does not keep what a flush has promised, or has no owners and modes",
    "Write a folder on ext4, xfs or btrfs of this machine",
)
DATA_UNMOUNTED = _advice(
    "config-data-unmounted",
    "warning",
    "{mount} is in /etc/fstab and not mounted: readings would go to another disk than was meant",
    "sudo mount {mount} before the gateway starts; sudo journalctl -b says why it was not mounted",
)
DISK_SMALL = _advice(
    "config-store-larger-than-disk",
    "note",
    "The file system has {size} GiB in all: min_free decides, and never this",
    "Write less than the file system has",
)
IGNORED = _advice(
    "config-file-ignored", "note", "{subject} is not read: its name does not end in .toml", "Rename it, or move it away"
)
WRITABLE = _advice(
    "config-writable", "warning", "Others may change {subject} (mode {mode})", "sudo chmod o-w {subject}"
)
