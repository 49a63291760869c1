.DEFAULT_GOAL := install
PKG_BUILD_DIR = $(WORK)/$(PKG_NAME)-$(PKG_VERSION)

# As there, the commands are expanded once more than they are written.
define BuildPackage
install:
	test '$(PKG_VERSION)' = '$(WANT)'
	$(call Build/Prepare)
	for f in $(PKG_LICENSE_FILES); do test -s $(PKG_BUILD_DIR)/$$$$f || exit 1; done
	$(call Build/Configure)
	$(call Build/Compile)
	$(call Package/$(1)/install,$(WORK)/root)
	test -e $(WORK)/root$(strip $(call Package/$(1)/conffiles))
endef

version: ; @echo $(PKG_VERSION)
