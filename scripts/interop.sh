#!/bin/sh
# make interop: fetches Keycloak, oidc-provider and globalsign's estserver into build/interop by the ordinary clients of
# Maven, npm and Go, and tests nmos-authd against them. What cannot be fetched is skipped, with the reason.
set -eu
dir=$PWD/build/interop
go=${GO:-go}
keycloak=26.7.3
mkdir -p "$dir"

skip() { echo "skip: $*"; }

have() { # have COMMAND...: succeeds if all are installed
	for c in "$@"; do
		command -v "$c" >/dev/null || { missing=$c && return 1; }
	done
}

# Keycloak: a distribution for Java 17, prepared for a database in memory.
if [ ! -e "$dir/keycloak/ready-$keycloak" ]; then
	rm -rf "$dir/keycloak" "$dir/keycloak.new"
	mkdir -p "$dir/keycloak.new"
	if ! have java mvn curl setpriv; then
		skip "Keycloak needs $missing"
	elif ! timeout 300 mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
		-Dartifact=org.keycloak:keycloak-quarkus-dist:$keycloak:tar.gz -DoutputDirectory="$dir/keycloak.new" \
		>"$dir/keycloak.log" 2>&1 </dev/null; then
		skip "Keycloak cannot be fetched: $(tail -n 1 "$dir/keycloak.log")"
	elif ! { tar -xzf "$dir"/keycloak.new/*.tar.gz -C "$dir/keycloak.new" --strip-components=1 &&
		rm "$dir"/keycloak.new/*.tar.gz &&
		timeout 300 nice "$dir/keycloak.new/bin/kc.sh" build --db=dev-mem >"$dir/keycloak.log" 2>&1; }; then
		skip "Keycloak cannot be prepared: $(tail -n 1 "$dir/keycloak.log")"
	else
		touch "$dir/keycloak.new/ready-$keycloak"
		mv "$dir/keycloak.new" "$dir/keycloak"
	fi
fi

# oidc-provider, as package-lock.json has it.
provider=$dir/oidc-provider
if ! cmp -s tinytest/interop/provider/package-lock.json "$provider/ready"; then
	rm -rf "$provider"
	mkdir -p "$provider"
	cp tinytest/interop/provider/package*.json "$provider"
	if ! have node npm; then
		skip "oidc-provider needs $missing"
	elif [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 20 ]; then
		skip "oidc-provider needs Node.js 20, this is $(node --version)"
	elif ! (cd "$provider" && timeout 180 npm ci --omit=dev --no-audit --no-fund) >"$dir/oidc-provider.log" 2>&1; then
		skip "oidc-provider cannot be fetched: $(tail -n 1 "$dir/oidc-provider.log")"
	else
		cp "$provider/package-lock.json" "$provider/ready"
	fi
fi
cp tinytest/interop/provider/server.mjs "$provider" 2>/dev/null || :

# estserver, of a module that is not ours: it has its own folder and its own list of modules.
est=1.0.6
if [ ! -e "$dir/est/estserver-$est" ]; then
	rm -rf "$dir/est"
	mkdir -p "$dir/est"
	printf 'module scratch\n\ngo 1.26\n\nrequire github.com/globalsign/est v%s\n' "$est" >"$dir/est/go.mod"
	if ! (cd "$dir/est" && timeout 300 $go build -mod=mod -o "estserver-$est.new" github.com/globalsign/est/cmd/estserver) \
		>"$dir/est.log" 2>&1; then
		skip "estserver cannot be fetched: $(tail -n 1 "$dir/est.log")"
	else
		mv "$dir/est/estserver-$est.new" "$dir/est/estserver-$est"
	fi
fi

log=$dir/test.log
if ! NMOS_INTEROP=$dir $go test -count=1 -timeout 25m -v ./tinytest/interop >"$log" 2>&1; then
	grep -v '"audit":1\|INFO ' "$log" | tail -n 150
	exit 1
fi
sed -n 's/^ *FIGURES //p; s/^ *--- \(PASS\|SKIP\): /\1 /p' "$log"
tail -n 1 "$log"
