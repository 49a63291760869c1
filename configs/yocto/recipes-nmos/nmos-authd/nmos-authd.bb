SUMMARY = "NMOS authorization (AMWA IS-10)"
DESCRIPTION = "Answers the software of an NMOS device, over a Unix socket, whether a request may be served."
HOMEPAGE = "https://specs.amwa.tv/is-10/"
LICENSE = "Apache-2.0 & BSD-3-Clause & MIT"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

# The archive of "make dist" lies in the folder files beside this recipe; nothing is downloaded.
NMOS_AUTHD_VERSION ?= "0.2.0"
PV = "${NMOS_AUTHD_VERSION}"
SRC_URI = "file://nmos-authd-${PV}.tar.gz"

GO_IMPORT = "nmosauthd"
inherit go useradd systemd update-rc.d

do_configure[noexec] = "1"

# The project's own Makefile knows the flags by which the binary is small, and where the archive has the modules.
do_compile() {
	oe_runmake -C ${S} GO=${GO} VERSION=${PV} all
}

do_install() {
	install -D -m 0755 ${S}/build/nmos-authd ${D}${bindir}/nmos-authd
	install -D -m 0644 ${S}/configs/nmos-authd.toml ${D}${sysconfdir}/nmos-authd/nmos-authd.toml
	install -D -m 0644 ${S}/modules/LICENSES ${D}${docdir}/nmos-authd/copyright
	if ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'true', 'false', d)}; then
		for unit in ${SYSTEMD_SERVICE:${PN}} nmos-authd-view.socket; do # the last is not enabled
			install -D -m 0644 ${S}/configs/systemd/$unit ${D}${systemd_system_unitdir}/$unit
		done
		install -D -m 0644 ${S}/configs/tmpfiles.d/nmos-authd.conf ${D}${nonarch_libdir}/tmpfiles.d/nmos-authd.conf
	fi
	if ${@bb.utils.contains('DISTRO_FEATURES', 'sysvinit', 'true', 'false', d)}; then
		install -D -m 0755 ${S}/configs/sysvinit/nmos-authd ${D}${sysconfdir}/init.d/nmos-authd
	fi
}

USERADD_PACKAGES = "${PN}"
USERADD_PARAM:${PN} = "--system --user-group --no-create-home --home-dir ${localstatedir}/lib/nmos-authd --shell /sbin/nologin nmos-authd"

SYSTEMD_SERVICE:${PN} = "nmos-authd.service nmos-authd.socket nmos-authd-http.socket nmos-authd-admin.socket"
INITSCRIPT_NAME = "nmos-authd"
INITSCRIPT_PARAMS = "defaults 45 55"

FILES:${PN} += "${systemd_system_unitdir} ${nonarch_libdir}/tmpfiles.d"
CONFFILES:${PN} = "${sysconfdir}/nmos-authd/nmos-authd.toml"
# The linker has taken the symbols away already.
INSANE_SKIP:${PN} += "already-stripped"
