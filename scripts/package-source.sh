#!/bin/sh
# Puts the sources as committed, with all they need to be built, into build/nmos-authd-VERSION.tar.gz:
# sh scripts/package-source.sh VERSION SOURCE_DATE. It builds with "make", without git and without a network.
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
(cd "$work/$name" && GOFLAGS= GOWORK=off "${GO:-go}" mod vendor && GOFLAGS=-mod=vendor sh scripts/licences.sh >vendor/LICENSES)
# What the Makefile asks git for elsewhere.
printf 'VERSION ?= %s\nSOURCE_DATE ?= %s\n' "$version" "$date" >"$work/$name/.version.mk"
tar -c -C "$work" --format=gnu --sort=name --mtime="$date" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX "$name" |
	gzip -9n >"$out.new"
mv "$out.new" "$out"
echo "build/$name.tar.gz"
