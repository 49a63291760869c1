################################################################################
#
# nmos-authd
#
################################################################################

# The archive of "make dist" says the version, and holds all that is installed: nothing is downloaded.
NMOS_AUTHD_SITE = $(BR2_EXTERNAL_NMOS_AUTHD_PATH)/dl
NMOS_AUTHD_SITE_METHOD = file
NMOS_AUTHD_SOURCE = $(notdir $(wildcard $(NMOS_AUTHD_SITE)/nmos-authd-*.tar.gz))
NMOS_AUTHD_VERSION = $(patsubst nmos-authd-%.tar.gz,%,$(NMOS_AUTHD_SOURCE))
NMOS_AUTHD_LICENSE = Apache-2.0, BSD-3-Clause, MIT
NMOS_AUTHD_LICENSE_FILES = LICENSE modules/LICENSES
NMOS_AUTHD_GOMOD = nmosauthd
BR_NO_CHECK_HASH_FOR += $(NMOS_AUTHD_SOURCE)

# With two of them nobody could say which is the later one.
ifeq ($(BR2_PACKAGE_NMOS_AUTHD),y)
ifneq ($(words $(NMOS_AUTHD_SOURCE)),1)
$(error put the archive that "make dist" makes into $(NMOS_AUTHD_SITE), and no other)
endif
endif

# The project's own Makefile knows the flags by which the binary is small, and where the archive has the modules.
define NMOS_AUTHD_BUILD_CMDS
	$(HOST_GO_TARGET_ENV) $(MAKE) -C $(@D) GO=$(GO_BIN) VERSION=$(NMOS_AUTHD_VERSION) all
endef

define NMOS_AUTHD_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/build/nmos-authd $(TARGET_DIR)/usr/bin/nmos-authd
	test -e $(TARGET_DIR)/etc/nmos-authd/nmos-authd.toml || \
		$(INSTALL) -D -m 0644 $(@D)/configs/nmos-authd.toml $(TARGET_DIR)/etc/nmos-authd/nmos-authd.toml
endef

define NMOS_AUTHD_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(@D)/configs/sysvinit/nmos-authd $(TARGET_DIR)/etc/init.d/S45nmos-authd
endef

define NMOS_AUTHD_INSTALL_INIT_SYSTEMD
	for unit in nmos-authd.service nmos-authd.socket nmos-authd-http.socket nmos-authd-admin.socket nmos-authd-view.socket; do \
		$(INSTALL) -D -m 0644 $(@D)/configs/systemd/$$unit $(TARGET_DIR)/usr/lib/systemd/system/$$unit || exit 1; \
	done
	$(INSTALL) -D -m 0644 $(@D)/configs/tmpfiles.d/nmos-authd.conf $(TARGET_DIR)/usr/lib/tmpfiles.d/nmos-authd.conf
endef

define NMOS_AUTHD_USERS
	nmos-authd -1 nmos-authd -1 * - - - NMOS authorization
endef

define NMOS_AUTHD_PERMISSIONS
	/var/lib/nmos-authd d 700 nmos-authd nmos-authd - - - - -
endef

$(eval $(golang-package))
