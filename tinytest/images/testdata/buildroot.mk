# What of Buildroot the external tree touches: the infrastructure sets $(@D), unpacks, and runs the package's commands in this order.
BR2_PACKAGE_NMOS_AUTHD = y
INSTALL = install
GO_BIN = go
HOST_GO_TARGET_ENV = GOOS=linux GOARCH=arm64 CGO_ENABLED=1
golang-package = $(eval defined := yes)

include $(BR2_EXTERNAL_NMOS_AUTHD_PATH)/external.mk

$(WORK)/build/nmos-authd/.stamp:
	test '$(defined)' = yes
	test '$(NMOS_AUTHD_VERSION)' = '$(WANT)' && test '$(NMOS_AUTHD_SITE_METHOD)' = file
	mkdir -p $(@D) $(TARGET_DIR)
	tar -xzf $(NMOS_AUTHD_SITE)/$(NMOS_AUTHD_SOURCE) --strip-components=1 -C $(@D)
	cd $(@D) && for f in $(NMOS_AUTHD_LICENSE_FILES); do test -s $$f || exit 1; done
	$(NMOS_AUTHD_BUILD_CMDS)
	$(NMOS_AUTHD_INSTALL_TARGET_CMDS)
	$(NMOS_AUTHD_INSTALL_INIT_SYSV)
	$(NMOS_AUTHD_INSTALL_INIT_SYSTEMD)

define print
$(NMOS_AUTHD_USERS)
$(NMOS_AUTHD_PERMISSIONS)
endef
export print
tables: ; @printf '%s\n' "$$print"
