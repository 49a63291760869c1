#!/bin/sh
# Runs every fuzz target in turn, each for FUZZTIME. Little of it goes into making inputs smaller: new ones are worth more.
set -eu
GO=${GO:-go}
for package in $("$GO" list ./...); do
	for target in $("$GO" test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "$package $target"
		"$GO" test -fuzzminimizetime 10x -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-30s}" "$package"
	done
done
