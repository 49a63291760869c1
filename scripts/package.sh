#!/bin/sh
# Puts the binaries that "make cross" has built into packages: sh scripts/package.sh VERSION SOURCE_DATE NFPM...
# NFPM... is the command that runs nfpm. Environment: MAINTAINER, IPK_ARM64, IPK_ARMV7, IPK_AMD64 (names of OpenWrt's architectures:
# "opkg print-architecture" on the device).
#
# The same sources give the same bits: nothing in a package has a time but that of the sources.
set -eu
version=$1
date=${2:?"when the sources were made is not known; say SOURCE_DATE=2026-01-31T12:00:00Z"}
shift 2
SOURCE_DATE_EPOCH=$(date -u -d "$date" +%s)
MAINTAINER=${MAINTAINER:-nmos-authd <root@localhost>}
out=build/packages
STAGE=$out/stage
export SOURCE_DATE_EPOCH MAINTAINER STAGE

# What git describe says, as Debian and opkg compare versions: v1.2-3-gabc is later than v1.2, v1.2-rc1 is earlier, and abc comes
# before any release.
case $version in
v[0-9]*) VERSION=${version#v} ;;
[0-9]*.*) VERSION=$version ;;
*) VERSION=0~$(date -u -d "$date" +%Y%m%d).$version ;;
esac
VERSION=$(printf %s "$VERSION" | sed -E 's/-(alpha|beta|pre|rc)/~\1/; s/-/+/; s/[-_]/./g')
export VERSION

rm -rf "$out"
doc=$STAGE/share/doc/nmos-authd
mkdir -p "$doc/examples/systemd" "$STAGE/share/nmos-authd"
cp -R platform/cclient platform/clients "$STAGE/share/nmos-authd"
cp agent/wire/PROTOCOL.md agent/httpauth/HTTP.md agent/audit/AUDIT.md agent/observe/OBSERVE.md agent/status/STATUS.md \
	configs/OPERATING.md configs/CONTROLS.md configs/SERVERS.md configs/CERTIFICATES.md "$doc"
for folder in nginx lighttpd caddy envoy haproxy apache traefik keycloak; do
	if [ -d configs/$folder ]; then
		cp -R configs/$folder "$doc/examples"
	fi
done
cp configs/systemd/nmos-authd-certs.* "$doc/examples/systemd"
# The documents stand in other places than in the sources, and lead to each other there. What is not shipped is just named.
find "$STAGE/share" -name '*.md' | while read -r page; do
	sed -E 's,\]\((\.\./)+([a-z]+/)*(PROTOCOL|HTTP|AUDIT|OBSERVE|STATUS)\.md,](/usr/share/doc/nmos-authd/\3.md,g
		s,\]\((\.\./)+platform/(cclient|clients)/,](/usr/share/nmos-authd/\2/,g
		s,\]\((\.\./)+configs/,](/usr/share/doc/nmos-authd/examples/,g
		s,\]\((keycloak|systemd|caddy)/,](examples/\1/,g
		s,\]\(nmos-authd\.toml\),](/etc/nmos-authd/nmos-authd.toml),g
		s,\[([^]]*)\]\((\.\./)+(tinytest|hal|platform/panel)/[^)]*\),\1,g' "$page" >"$page.new"
	mv "$page.new" "$page"
done
mkdir -p "$STAGE/share/man/man1" "$STAGE/share/man/man5"
gzip -9n <configs/man/nmos-authd.1 >"$STAGE/share/man/man1/nmos-authd.1.gz"
gzip -9n <configs/man/nmos-authd.toml.5 >"$STAGE/share/man/man5/nmos-authd.toml.5.gz"
sed -f configs/openwrt/paths.sed configs/nmos-authd.toml >"$STAGE/openwrt.toml"

sh scripts/licences.sh >"$doc/copyright"
gzip -9n <"$doc/copyright" >"$STAGE/copyright.gz"
{
	printf 'nmos-authd (%s) unstable; urgency=medium\n\n  * Built from %s.\n\n' "$VERSION" "$version"
	printf ' -- %s  %s\n' "$MAINTAINER" "$(LC_ALL=C date -u -R -d "$date")"
} | gzip -9n >"$doc/changelog.gz"
chmod -R u=rwX,go=rX "$STAGE"
find "$STAGE" -exec touch -h -d "$date" {} +

# package MACHINE ARCHITECTURE FORMAT
package() {
	export BINARY="build/linux-$1/nmos-authd" ARCH="$2"
	target=$out/nmos-authd_${VERSION}_$2.$3
	$nfpm package --config configs/nfpm/nfpm.yaml --packager "$3" --target "$target" >/dev/null
	printf '%9d bytes  %s\n' "$(wc -c <"$target")" "$target"
}
nfpm=$*
package arm64 arm64 deb
package armv7 armhf deb
package amd64 amd64 deb
package arm64 "${IPK_ARM64:-aarch64_generic}" ipk
package armv7 "${IPK_ARMV7:-arm_cortex-a7_neon-vfpv4}" ipk
package amd64 "${IPK_AMD64:-x86_64}" ipk
rm -rf "$STAGE"
