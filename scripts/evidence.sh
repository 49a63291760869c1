#!/bin/sh
# Makes and checks what a maker hands on with the product: sh scripts/evidence.sh VERSION SOURCE_DATE [KEY].
# scripts/evidence/README.md says what comes out. It builds what is committed, whatever lies about in the working folder.
set -eu
GO=${GO:-go}
version=$1
date=${2:?"when the sources were made is not known: call it in a git clone"}
key=${3:-}
arches="arm64 armv7 amd64 riscv64"
out=$PWD/build/evidence
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
chmod 755 "$work" # nobody builds below it
rm -rf "$out"
mkdir -p "$out"
say() { printf '%-24s %s\n' "$1" "$2"; }
fail() {
	say "$1" "FAILED: $2" >&2
	exit 1
}
quiet() { # quiet STEP COMMAND...: its output only if it fails
	step=$1
	shift
	"$@" >"$work/log" 2>&1 || {
		tail -n 40 "$work/log" >&2
		fail "$step" "$*"
	}
}
binaries() { for a in $arches; do echo "build/linux-$a/nmos-authd"; done; }

git clone -q . "$work/one"
quiet "build from git" make -C "$work/one" GO="$GO" VERSION="$version" SOURCE_DATE="$date" $(binaries)
say "build from git" "four binaries, by $(id -un)"

quiet "archive" make -C "$work/one" GO="$GO" VERSION="$version" SOURCE_DATE="$date" dist
cp "$work/one/build/nmos-authd-$version.tar.gz" "$out"
mkdir -p "$work/another/place/with a space" "$work/home"
cd "$work/another/place/with a space"
tar -xf "$out/nmos-authd-$version.tar.gz"
user=$(id -un)
as="env"
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	chown -R nobody "$work/another" "$work/home"
	user=nobody
	as="setpriv --reuid=65534 --regid=65534 --clear-groups env"
fi
quiet "build from archive" $as -i PATH="$PATH" HOME="$work/home" GOTOOLCHAIN=local \
	make -C "nmos-authd-$version" GO="$("$GO" env GOROOT)/bin/go" $(binaries)
for a in $arches; do
	cmp "$work/one/build/linux-$a/nmos-authd" "nmos-authd-$version/build/linux-$a/nmos-authd" ||
		fail "build from archive" "the binary for $a is another one"
	cp "$work/one/build/linux-$a/nmos-authd" "$out/nmos-authd-$a"
done
say "build from archive" "the same four, by $user, in another folder, empty cache, no proxy"

cd "$work/one"
tool() { "$GO" tool -modfile=scripts/tools.mod "$@"; }
for a in $arches; do
	quiet "bill of materials" tool cyclonedx-gomod bin -json -std -licenses -noserial -notimestamp -version "$version" \
		-output "$out/sbom-$a.cdx.json" "$out/nmos-authd-$a"
	# Each module that go says is linked must be there.
	"$GO" version -m "$out/nmos-authd-$a" | awk '$1 == "dep" { print $2 "@" $3 }' | while read -r module; do
		grep -qF "pkg:golang/$module" "$out/sbom-$a.cdx.json" || fail "bill of materials" "$module is not in sbom-$a.cdx.json"
	done
done
say "bill of materials" "$(grep -c '"type": "library"' "$out/sbom-arm64.cdx.json") components, CycloneDX"

GO="$GO" sh scripts/licences.sh >"$out/LICENSES"
say "licences" "$(grep -c '^==== ' "$out/LICENSES") modules"

if tool govulncheck -mode=binary "$out/nmos-authd-arm64" >"$out/govulncheck.txt" 2>&1; then
	say "vulnerabilities" "none known: govulncheck.txt"
elif grep -q 'fetching vulnerabilities' "$out/govulncheck.txt"; then
	rm "$out/govulncheck.txt"
	say "vulnerabilities" "SKIPPED: the Go vulnerability database cannot be reached"
else
	tail -n 40 "$out/govulncheck.txt" >&2
	fail "vulnerabilities" "see above"
fi

sed "s/@VERSION@/$version/" scripts/evidence/vex.json >"$out/vex.cdx.json"
quiet "pages" "$GO" test -count=1 ./scripts/evidence
cp agent/THREATS.md scripts/evidence/CRA.md scripts/evidence/EN303645.md scripts/evidence/R143.md "$out"
say "pages" "each row names a test or a file, or says gap ($(grep -hi "^|.*\bgap\b" "$out"/*.md | wc -l) of $(grep -h "^| " "$out"/*.md | wc -l))"

(cd "$out" && sha256sum -- * >"$work/sums" && mv "$work/sums" SHA256SUMS)
if [ -n "$key" ]; then
	tool minisign -S -s "$key" -t "nmos-authd $version" -m "$out/SHA256SUMS" || fail "signature" "by $key"
	say "signature" "SHA256SUMS.minisig"
else
	say "signature" "SKIPPED: say KEY=, a secret key of minisign"
fi
echo "build/evidence holds $(find "$out" -type f | wc -l) files"
