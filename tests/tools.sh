#!/bin/sh
# Installs what the tests drive and pip cannot bring: a real broker, a pty tool, an independent verifier's toolchain,
# promtool, a browser; with the word nightly also what the tests of the package need.
set -eu

missing=""
command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || missing="$missing mosquitto"
command -v mosquitto_sub >/dev/null || missing="$missing mosquitto-clients"
command -v socat >/dev/null || missing="$missing socat"
[ -n "$(ls /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null)" ] || missing="$missing faketime"
command -v strace >/dev/null || missing="$missing strace"
command -v mkfs.xfs >/dev/null || [ -x /usr/sbin/mkfs.xfs ] || missing="$missing xfsprogs"
command -v go >/dev/null || missing="$missing golang-go"
[ -d /usr/share/gocode/src/golang.org/x/mod ] || missing="$missing golang-golang-x-mod-dev"
command -v chromium >/dev/null || missing="$missing chromium"
command -v zbarimg >/dev/null || missing="$missing zbar-tools"
[ -n "$(ls /usr/share/fonts/truetype/wqy/*.ttc /usr/share/fonts/opentype/noto/NotoSansCJK*.ttc 2>/dev/null)" ] || missing="$missing fonts-wqy-zenhei"
command -v udevadm >/dev/null || missing="$missing udev"
command -v systemd-analyze >/dev/null || missing="$missing systemd"
command -v promtool >/dev/null || missing="$missing prometheus"
command -v openssl >/dev/null || missing="$missing openssl"
command -v shellcheck >/dev/null || missing="$missing shellcheck"
command -v mandoc >/dev/null || missing="$missing mandoc"
command -v swtpm >/dev/null || missing="$missing swtpm"
command -v tpm2_unseal >/dev/null || missing="$missing tpm2-tools"
if [ "${1:-}" = nightly ]; then
    command -v mmdebstrap >/dev/null || missing="$missing mmdebstrap"
    command -v lintian >/dev/null || missing="$missing lintian"
    command -v qemu-system-x86_64 >/dev/null || missing="$missing qemu-system-x86"
    command -v qemu-aarch64-static >/dev/null || missing="$missing qemu-user-static"
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    sudo=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo="sudo"
else
    echo "make test needs these Debian packages: sudo apt install$missing" >&2
    exit 1
fi
if ! command -v apt-get >/dev/null; then
    echo "make test needs these programs, and there is no apt-get to install them with:$missing" >&2
    exit 1
fi

# A broker that the package starts by itself is not wanted: each test starts its own.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
# Nor is a Prometheus, of which promtool is all that is used.
case "$missing" in
*prometheus*) $sudo systemctl disable prometheus >/dev/null 2>&1 || true ;;
esac
