GO_ARCH := arm64
ifeq ($(GO_PKG),)
$(error GO_PKG is not set)
endif
Build/Compile = $(error the package leaves this to golang-package.mk)
