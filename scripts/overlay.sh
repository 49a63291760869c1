#!/bin/sh
# Writes build/overlay.json for "go build -overlay": one line of net/http is left out of the daemon. It belongs to the
# DefaultTransport, which nothing here uses, and brings in proxies, and those host names in all scripts of the world: 0.18 MB of
# flash. The linker must keep them, since a variable of a package is always set. A build without the overlay does just the same.
set -eu
source=$(${GO:-go} list -f '{{.Dir}}' net/http)/transport.go
line='	Proxy: ProxyFromEnvironment,'
if [ "$(grep -c -x -F "$line" "$source")" != 1 ]; then
	echo "$0: not one line \"$line\" in $source: see what this version of net/http links" >&2
	exit 1
fi
mkdir -p build
# Renamed when they are whole: another make may be reading them.
grep -v -x -F "$line" "$source" >build/transport.go.$$
mv build/transport.go.$$ build/transport.go
printf '{"Replace":{"%s":"%s/build/transport.go"}}\n' "$source" "$PWD" >build/overlay.json.$$
mv build/overlay.json.$$ build/overlay.json
