#!/bin/sh
# Puts the sources as committed, with all they need to be built, into build/nmos-authd-VERSION.tar.gz:
# sh scripts/package-source.sh VERSION SOURCE_DATE. It builds with "make", without git and without a network, and gives
# the same binary as the sources in git do.
#
# The modules lie in it as a module proxy serves them, not as "go mod vendor" lays them out: go checks them against
# go.sum at each build, and writes their sums into the binary, which it leaves out of one with vendored modules.
#
# The same commit and version give the same bits.
set -eu
version=$1
date=${2:?"when the sources were made is not known; say SOURCE_DATE=2026-01-31T12:00:00Z"}
name=nmos-authd-$version
out=$PWD/build/$name.tar.gz
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p build
git archive --prefix="$name/" HEAD | tar -x -C "$work"
go=${GO:-go}
have=$("$go" env GOMODCACHE)/cache/download
(
	cd "$work/$name"
	export GOMODCACHE="$work/modules" GOFLAGS=-modcacherw GOWORK=off
	GOPROXY="file://$have,$("$go" env GOPROXY)" "$go" mod download
	mkdir modules
	# What .info, .lock and list say depends on who served the module; go needs none of them.
	(cd "$work/modules/cache/download" && find . -name '*.mod' -o -name '*.zip' | tar -c -T -) | tar -x -C modules
	sh scripts/licences.sh >modules/LICENSES
)
# GOENV, GOFLAGS: what a person or a build system has set for modules elsewhere does not hold here.
cat >"$work/$name/.archive.mk" <<END
VERSION ?= $version
SOURCE_DATE ?= $date
export GOPROXY := file://\$(CURDIR)/modules
export GOMODCACHE := \$(CURDIR)/build/modules
export GOSUMDB := off
export GOENV := off
export GOWORK := off
export GOFLAGS := -modcacherw
END
tar -c -C "$work" --format=gnu --sort=name --mtime="$date" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX "$name" |
	gzip -9n >"$out.new"
mv "$out.new" "$out"
echo "build/$name.tar.gz"
