#!/bin/sh
# Prints the size of each binary, tells whether it is static, and fails where the one for arm64 is over its budget of flash.
set -eu
budget=7000000
status=0
for binary in "$@"; do
	size=$(wc -c <"$binary")
	note=
	case $binary in
	*linux-arm64*)
		note=", $budget budgeted"
		if [ "$size" -gt "$budget" ]; then
			note="$note: TOO LARGE"
			status=1
		fi
		;;
	esac
	# A static binary asks for no interpreter: the kernel starts it without a loader.
	if grep -q -a -e '/ld-linux' -e '/ld-musl' "$binary"; then
		note="$note, NOT STATIC"
		status=1
	fi
	printf '%9d bytes  %s%s\n' "$size" "$binary" "$note"
done
exit $status
