#!/bin/sh
# Writes build/overlay.json for "go build -overlay": three lines of the standard library are other ones in the daemon, which saves
# 0.3 MB of flash. A build without the overlay does just the same.
#
# - One belongs to the DefaultTransport of net/http, which nothing here uses, and brings in proxies, and those host names in all
#   scripts of the world. The linker must keep them, since a variable of a package is always set.
# - Two are where encoding/json begins to encode and to decode. Nothing here uses it, go-jose has a JSON of its own, and
#   zapcore would only for fields of its ReflectType; but it names them all the same. Whoever comes to it gets an error.
set -eu
json='leaves encoding/json out; see scripts/overlay.sh"'
mkdir -p build/.overlay # go passes over a folder of such a name
places=
# replace PACKAGE FILE LINE OTHER
replace() {
	source=$(${GO:-go} list -f '{{.Dir}}' "$1")/$2
	if [ "$(grep -c -x -F "$3" "$source")" != 1 ]; then
		echo "$0: not one line \"$3\" in $source: see what this version of $1 links" >&2
		exit 1
	fi
	# Renamed when they are whole: another make may be reading them.
	LINE=$3 OTHER=$4 awk '$0 == ENVIRON["LINE"] { $0 = ENVIRON["OTHER"] } { print }' "$source" >"build/.overlay/$2.$$"
	mv "build/.overlay/$2.$$" "build/.overlay/$2"
	places="$places${places:+,}\"$source\":\"$PWD/build/.overlay/$2\""
}
replace net/http transport.go '	Proxy: ProxyFromEnvironment,' ''
replace encoding/json encode.go '	e.reflectValue(reflect.ValueOf(v), opts)' \
	"	e.error(&UnsupportedValueError{reflect.ValueOf(v), \"this build $json})"
replace encoding/json decode.go '	err := d.value(rv)' \
	"	var err error = &UnmarshalTypeError{Type: rv.Type(), Value: \"anything: this build $json}"
printf '{"Replace":{%s}}\n' "$places" >build/overlay.json.$$
mv build/overlay.json.$$ build/overlay.json
