#!/bin/sh
# Prints the licences of all that is linked into the daemon: they ask to be handed on with it.
set -eu
GO=${GO:-go}
printf 'nmos-authd is under the Apache License 2.0, /usr/share/common-licenses/Apache-2.0 on Debian systems.\n'
printf 'It is linked with the following.\n\n==== Go, https://go.dev\n\n'
cat "$("$GO" env GOROOT)/LICENSE"
packages=$("$GO" list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{$.ImportPath}} {{$.Dir}}{{end}}{{end}}' \
	./agent/cmd/nmos-authd)
# A package may have a licence of its own beside that of its module, whose folder is the shorter one and comes first.
printf '%s\n' "$packages" | while read -r module version package dir; do
	printf '%s %s\t%s\n' "$module" "$version" "${dir%"${package#"$module"}"}" "$module" "$version" "$dir"
done | LC_ALL=C sort -u | while IFS='	' read -r module dir; do
	files=$(find "$dir" -maxdepth 1 -type f \( -iname 'LICEN*' -o -iname 'COPY*' -o -iname 'NOTICE*' -o -iname 'PATENTS*' \) | LC_ALL=C sort)
	if [ "$module" != "${last:-}" ]; then
		last=$module
		printf '\n==== %s\n' "$module"
		[ -n "$files" ] || { echo "$0: $module has no licence in $dir" >&2; exit 1; }
	fi
	printf '%s' "${files:+$files
}" | while read -r file; do
		printf '\n'
		cat "$file"
	done
done
