#!/bin/sh
# Makes a virtual environment in $1 with the newest Python at hand that is new enough. Debian splits python3-venv off:
# where it is missing, root installs it, anybody else is told the one line.
set -eu
venv=$1

new_enough() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1
}

for python in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
    if new_enough "$python"; then
        found=$python
        break
    fi
done
if [ -z "${found:-}" ]; then
    echo "fieldgate needs Python 3.11 to 3.14: apt install python3 on Debian 12 or later, or make PYTHON=/path/to/python" >&2
    exit 1
fi

if ! "$found" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    package=$("$found" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq "$package"
    else
        echo "Python's venv is missing: sudo apt install $package, then run make again" >&2
        exit 1
    fi
fi

rm -rf "$venv"
"$found" -m venv "$venv"
