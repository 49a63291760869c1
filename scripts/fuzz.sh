#!/bin/sh
# Runs every fuzz target in turn, each for FUZZTIME. Little of it goes into making inputs smaller: new ones are worth more.
set -eu
GO=${GO:-go}
targets=$(grep -r -o '^func Fuzz[A-Za-z0-9_]*' --include='*_test.go' agent hal platform scripts tinytest) # none is a failure
printf '%s\n' "$targets" | LC_ALL=C sort | while IFS=: read -r file target; do
	echo "${file%/*} ${target#func }"
	"$GO" test -fuzzminimizetime 10x -run '^$' -fuzz "^${target#func }\$" -fuzztime "${FUZZTIME:-30s}" "./${file%/*}" </dev/null
done
