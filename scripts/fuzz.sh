#!/bin/sh
# Runs every fuzz target in turn, each for FUZZTIME.
set -eu
GO=${GO:-go}
for package in $("$GO" list ./...); do
	for target in $("$GO" test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "$package $target"
		"$GO" test -fuzzminimizetime 1s -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-30s}" "$package"
	done
done
