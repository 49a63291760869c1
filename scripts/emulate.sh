#!/bin/sh
# The decision path's unit tests, and the daemon with the C client, built for 64-bit and 32-bit ARM and run under qemu-user.
# FLAGS are those of the daemon's build: what is tested is what is shipped. What is missing is installed where this runs as root on a
# system with apt-get; elsewhere it says so and fails.
set -eu
cd "$(dirname "$0")/.."
GO=${GO:-go}

# Commands and the Debian packages that have them. qemu-user serves as well as qemu-user-static.
needed='qemu-aarch64:qemu-user qemu-arm:qemu-user aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu
	arm-linux-gnueabihf-gcc:gcc-arm-linux-gnueabihf'

have() { command -v "$1" >/dev/null || { [ "${1#qemu-}" != "$1" ] && command -v "$1-static" >/dev/null; }; }

missing() {
	for n in $needed; do
		have "${n%%:*}" || echo "${n##*:}"
	done | sort -u
	# The C library of a cross compiler is a package of its own, which a compiler alone does not show.
	for n in aarch64-linux-gnu:libc6-dev-arm64-cross arm-linux-gnueabihf:libc6-dev-armhf-cross; do
		[ -e "$("${n%%:*}-gcc" -print-file-name=libc.a 2>/dev/null || true)" ] || echo "${n##*:}"
	done
}

packages=$(missing | tr '\n' ' ')
if [ -n "$packages" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	apt-get update -q
	# shellcheck disable=SC2086
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages
	packages=$(missing | tr '\n' ' ')
fi
if [ -n "$packages" ]; then
	echo "emulate: not installed: $packages(apt-get install them, or run this as root on Debian)" >&2
	exit 1
fi

# A key takes seconds to make under an emulator, so this machine makes them.
NMOS_MINT_KEYS=$(mktemp -d)
export NMOS_MINT_KEYS
trap 'rm -rf "$NMOS_MINT_KEYS"' EXIT
trap 'exit 1' INT TERM

# Left out is what costs minutes here and does not depend on the processor: seeds of fuzz targets, the configuration, budgets of
# allocations, and tables that compare one answer with another.
tests() {
	"$GO" test -count=1 -skip '^(Fuzz|TestAllocation|TestConfig|TestClockSteps|TestBothSockets|TestPermissions|TestResourceIsAnswered|TestMutatedTokens|TestServersAtRandom|TestCommandsLikeTheRules)' \
		"$@" ./agent/decide ./agent/token ./agent/wildcard ./agent/wire ./agent/keys ./agent/inventory ./agent
}

tests >/dev/null || tests # for the keys; what fails here has nothing to do with ARM
for arch in arm64:aarch64 arm:arm; do
	qemu=qemu-${arch##*:}
	command -v "$qemu" >/dev/null || qemu=$qemu-static
	echo "emulate: unit tests, $arch"
	# shellcheck disable=SC2086
	GOARCH=${arch%%:*} GOARM=7 CGO_ENABLED=0 tests ${FLAGS:-} -exec "$qemu"
done
echo "emulate: the daemon and the C client"
NMOS_EMULATE=1 "$GO" test -count=1 -v ./tinytest/emulate
